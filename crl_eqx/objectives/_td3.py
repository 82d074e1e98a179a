from typing import Any, cast, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._agent import Agent, CriticKind
from .._checks import require_count, require_number, require_share
from .._critic import QFunctions
from .._types import Count, PRNGKey, Scalar
from ..replay import Batch
from ._base import AbstractObjective, Metrics, require_next_state, require_of_task
from ._crl import frozen, stop
from ._goals import Goals, require_goals
from ._sac import backup, Success
from ._targets import polyak, q_functions, q_values


class TD3State(eqx.Module):
    """The slow copies, and how many gradient steps were made."""

    actor: Any
    critic: QFunctions
    gradient_steps: Count


@final
class TD3(AbstractObjective):
    """Twin delayed deterministic policy gradients with hindsight goals.

    The reward is 1 where `success(s', g)`, else 0. With slow copies π̄ and Q̄ᵢ of the policy and of
    two critics each critic minimises

    mean (Qᵢ(s, a, g) - r - γ minⱼ Q̄ⱼ(s', clip(π̄(s', g) + ε, ±1), g))²,

    ε normal noise cut off at ±`noise_clip`, and without the term of γ where the environment ended
    the episode in s'. At every `policy_delay`-th gradient step the policy minimises
    -mean Q₁(s, π(s, g), g), and the slow copies Q̄ and π̄ follow. π is the tanh of the policy's
    mean; its spread is not learnt, so collecting should add noise: [`crl_eqx.noisy`][].

    **Arguments:**

    - `success`, `discount`, `polyak_rate`, `goals`: as in
        [`crl_eqx.objectives.SAC`][].
    - `target_noise`, `noise_clip`: of the action that the target looks up.
    - `policy_delay`: gradient steps of the critics for one of the policy.

    ??? cite
        [Addressing Function Approximation Error in Actor-Critic Methods](https://arxiv.org/abs/1802.09477)
    """

    trains: ClassVar[tuple[str, ...]] = ("actor", "critic")
    critic: ClassVar[CriticKind] = "twin-q"
    needs_next_state: ClassVar[bool] = True

    success: Success
    discount: float = eqx.field(static=True, default=0.99)
    polyak_rate: float = eqx.field(static=True, default=0.005)
    target_noise: float = eqx.field(static=True, default=0.2)
    noise_clip: float = eqx.field(static=True, default=0.5)
    policy_delay: int = eqx.field(static=True, default=2)
    goals: Goals = Goals(future=0.8, commanded=0.2)

    def __check_init__(self):
        require_of_task(self.success, f"TD3(success={self.success!r})", "env.success")
        require_goals(self.goals, "TD3")
        require_share(self.discount, f"TD3(discount={self.discount!r})")
        require_share(self.polyak_rate, f"TD3(polyak_rate={self.polyak_rate!r})")
        require_number(self.target_noise, f"TD3(target_noise={self.target_noise!r})")
        require_number(self.noise_clip, f"TD3(noise_clip={self.noise_clip!r})")
        require_count(self.policy_delay, f"TD3(policy_delay={self.policy_delay!r})")

    def passes(self, network: str) -> float:
        # Beside each one's loss its slow copy is asked in s', and q_0 by the policy's loss.
        return 6.0 if network == "q_0" else 4.0

    def init(self, agent: Agent) -> TD3State:
        return TD3State(agent.actor, q_functions(agent, 2, self), jnp.zeros((), jnp.int32))

    def __call__(
        self, agent: Agent, state: TD3State, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        next_state, terminated = require_next_state(batch, "TD3")
        goal_key, noise_key = jax.random.split(key)
        goal = self.goals.draw(batch, key=goal_key)
        fixed = frozen(agent)

        reward = self.success(next_state, goal).astype(jnp.float32)
        slow = eqx.tree_at(lambda a: a.actor, fixed, state.actor)
        noise = self.target_noise * jax.random.normal(noise_key, batch.action.shape)
        noise = jnp.clip(noise, -self.noise_clip, self.noise_clip)
        next_action = jnp.clip(slow.policy(next_state, goal).mode() + noise, -1.0, 1.0)
        next_values = q_values(fixed, next_state, next_action, goal, state.critic)
        next_value = jnp.min(next_values, axis=0)
        target = stop(backup(reward, terminated, next_value, self.discount))
        values = q_values(agent, batch.state, batch.action, goal)
        critic_loss = jnp.mean(jnp.square(values - target[None]))

        action = agent.policy(batch.state, goal).mode()
        first = QFunctions(cast(QFunctions, fixed.critic).q[:1])
        actor_loss = -jnp.mean(q_values(fixed, batch.state, action, goal, first))
        return critic_loss + actor_loss, {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "q_value": jnp.mean(values),
            "reward": jnp.mean(reward),
        }

    def moves(self, state: TD3State) -> dict[str, Bool[Array, ""]]:
        return {"actor": self._is_due(state)}

    def _is_due(self, state: TD3State) -> Bool[Array, ""]:
        return state.gradient_steps % self.policy_delay == self.policy_delay - 1

    def after(self, agent: Agent, state: TD3State) -> TD3State:
        due = self._is_due(state)
        slow, fast = (state.actor, state.critic), (agent.actor, cast(QFunctions, agent.critic))
        moved = polyak(slow, fast, self.polyak_rate)
        pick = lambda new, old: jnp.where(due, new, old) if eqx.is_array(old) else old
        actor, critic = jax.tree.map(pick, moved, slow)
        return TD3State(actor, critic, state.gradient_steps + 1)
