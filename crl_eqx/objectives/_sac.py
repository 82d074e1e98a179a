from collections.abc import Callable
from typing import cast, ClassVar, final, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._agent import Agent, CriticKind
from .._checks import require_share
from .._critic import QFunctions
from .._types import Flag, Goal, PRNGKey, Scalar, State
from ..replay import Batch
from ._base import (
    AbstractObjective,
    Metrics,
    require_entropy,
    require_next_state,
    require_of_task,
)
from ._crl import frozen, stop
from ._goals import Goals, require_goals
from ._targets import polyak, q_functions, q_values, soft_policy_loss


Success: TypeAlias = Callable[[State, Goal], Flag]
"""Whether a state satisfies a goal: `env.success`."""


def backup(
    reward: Float[Array, " batch"],
    terminated: Bool[Array, " batch"],
    next_value: Float[Array, " batch"],
    discount: float,
) -> Float[Array, " batch"]:
    """r + γ V(s'), and r alone where the environment ended the episode. The time limit is no such
    end: the state reached there still has a value."""
    return reward + discount * jnp.where(terminated, 0.0, next_value)


@final
class SAC(AbstractObjective):
    """Soft actor-critic with hindsight goals: the baseline of sparse rewards.

    The reward is 1 where `success(s', g)`, else 0, for the goal g that the step is trained on. With
    two critics Qᵢ, their slow copies Q̄ᵢ and ã' ~ π(s', g) each critic minimises

    mean (Qᵢ(s, a, g) - r - γ (minⱼ Q̄ⱼ(s', ã', g) - α log π(ã'|s', g)))²,

    without the term of γ where the environment ended the episode in s'. The policy minimises
    mean(α log π(ã|s, g) - minᵢ Qᵢ(s, ã, g)), and α keeps its entropy at
    `target_entropy_per_action · action_size`.

    **Arguments:**

    - `success`: the task's rule, `env.success`.
    - `discount`: γ.
    - `polyak_rate`: how far the slow copies follow at every gradient step.
    - `target_entropy_per_action`: in nats.
    - `goals`: which goals a step is trained on, a [`crl_eqx.objectives.Goals`][].

    ??? cite
        [Soft Actor-Critic](https://arxiv.org/abs/1801.01290);
        [Hindsight Experience Replay](https://arxiv.org/abs/1707.01495)
    """

    critic: ClassVar[CriticKind] = "twin-q"
    needs_next_state: ClassVar[bool] = True

    success: Success
    discount: float = eqx.field(static=True, default=0.99)
    polyak_rate: float = eqx.field(static=True, default=0.005)
    target_entropy_per_action: float = -0.5
    goals: Goals = Goals(future=0.8, commanded=0.2)

    def __check_init__(self):
        require_of_task(self.success, f"SAC(success={self.success!r})", "env.success")
        require_goals(self.goals, "SAC")
        require_entropy(self.target_entropy_per_action, "SAC")
        require_share(self.discount, f"SAC(discount={self.discount!r})")
        require_share(self.polyak_rate, f"SAC(polyak_rate={self.polyak_rate!r})")

    def passes(self, network: str) -> float:
        # Beside its loss the policy acts in s'; Q̄ is asked there, and Q by the policy's loss.
        return 4.0 if network == "actor" else 6.0

    def init(self, agent: Agent) -> QFunctions:
        """The slow copies of the critics."""
        return q_functions(agent, 2, self)

    def __call__(
        self, agent: Agent, state: QFunctions, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        next_state, terminated = require_next_state(batch, "SAC")
        goal_key, next_key, action_key = jax.random.split(key, 3)
        goal = self.goals.draw(batch, key=goal_key)
        fixed = frozen(agent)

        reward = self.success(next_state, goal).astype(jnp.float32)
        next_action, next_log_prob = fixed.policy(next_state, goal).sample_and_log_prob(
            key=next_key
        )
        next_value = jnp.min(q_values(fixed, next_state, next_action, goal, state), axis=0)
        soft = next_value - jnp.exp(fixed.log_alpha) * next_log_prob
        target = stop(backup(reward, terminated, soft, self.discount))
        values = q_values(agent, batch.state, batch.action, goal)
        critic_loss = jnp.mean(jnp.square(values - target[None]))

        target_entropy = self.target_entropy_per_action * batch.action.shape[-1]
        policy_loss, policy_metrics = soft_policy_loss(
            agent, batch.state, goal, target_entropy, key=action_key
        )
        return critic_loss + policy_loss, policy_metrics | {
            "critic_loss": critic_loss,
            "q_value": jnp.mean(values),
            "reward": jnp.mean(reward),
        }

    def after(self, agent: Agent, state: QFunctions) -> QFunctions:
        return polyak(state, cast(QFunctions, agent.critic), self.polyak_rate)
