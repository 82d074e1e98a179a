"""PPO: on-policy, without a replay."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._agent import Agent, CriticKind
from .._checks import require_number, require_share
from .._critic import ValueFunction
from .._errors import UserError
from .._types import Action, Goal, PRNGKey, Scalar, State
from ..replay import Transition
from ._base import AbstractObjective, Metrics, ObjectiveState, require_critic, require_of_task
from ._crl import stop
from ._sac import Success


class RolloutBatch(eqx.Module):
    """Steps of the policy's own, each with what it was worth: what PPO learns from."""

    state: State
    action: Action
    """Before the tanh."""
    goal: Goal
    """The one that was commanded."""
    log_prob: Float[Array, "*batch"]
    """Of `action`, under the policy that chose it."""
    advantage: Float[Array, "*batch"]
    value_target: Float[Array, "*batch"]

    @property
    def future_goal(self) -> Goal:
        """The goal to look at the networks with: here the commanded one."""
        return self.goal


def generalized_advantage(
    reward: Float[Array, "time envs"],
    value: Float[Array, "time envs"],
    next_value: Float[Array, "time envs"],
    terminated: Bool[Array, "time envs"],
    ends: Bool[Array, "time envs"],
    *,
    discount: float,
    gae_lambda: float,
) -> Float[Array, "time envs"]:
    """A_t = δ_t + γ λ A_{t+1}, δ_t = r_t + γ V(s_{t+1}) - V(s_t), cut where an episode `ends`.

    Where the environment itself ended it, V(s_{t+1}) counts as 0, but not where the time limit or
    the end of the rollout did. `next_value` is of the state that was reached, not of a fresh start.

    ??? cite
        [High-Dimensional Continuous Control Using Generalized Advantage Estimation](https://arxiv.org/abs/1506.02438)
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value
    goes_on = jnp.where(ends, 0.0, discount * gae_lambda)

    def body(later, step):
        delta, goes_on = step
        advantage = delta + goes_on * later
        return advantage, advantage

    start = jnp.zeros_like(delta[0])
    return jax.lax.scan(body, start, (delta, goes_on), reverse=True)[1]


@final
class PPO(AbstractObjective):
    """Proximal policy optimisation on the commanded goals, with sparse rewards: the on-policy
    baseline. [`crl_eqx.OnPolicyStep`][] trains by it.

    The reward is 1 where `success(s', g)`, else 0. With A the generalised advantage, made to have
    mean 0 and deviation 1 in the batch, and ρ = π(a|s, g) / π_old(a|s, g) the policy minimises
    -mean min(ρ A, clip(ρ, 1 ± `clip_range`) A) - `entropy_weight` · entropy, and the value function
    mean (V(s, g) - V_old(s, g) - A)². No goal is relabelled. Actions and their densities are taken
    before the tanh, where none is lost at the edge.

    **Arguments:**

    - `success`: the task's rule, `env.success`.
    - `discount`: γ.
    - `gae_lambda`: λ of the advantage; 0 looks one step ahead, 1 to the end.
    - `clip_range`: clip range of the probability ratio.
    - `entropy_weight`: in nats.

    ??? cite
        [Proximal Policy Optimization Algorithms](https://arxiv.org/abs/1707.06347)
    """

    trains: ClassVar[tuple[str, ...]] = ("actor", "critic")
    critic: ClassVar[CriticKind] = "value"
    needs_next_state: ClassVar[bool] = True

    success: Success
    discount: float = eqx.field(static=True, default=0.99)
    gae_lambda: float = eqx.field(static=True, default=0.95)
    clip_range: float = eqx.field(static=True, default=0.2)
    entropy_weight: float = eqx.field(static=True, default=0.003)

    def __check_init__(self):
        require_of_task(self.success, f"PPO(success={self.success!r})", "env.success")
        require_share(self.discount, f"PPO(discount={self.discount!r})")
        require_share(self.gae_lambda, f"PPO(gae_lambda={self.gae_lambda!r})")
        require_number(self.clip_range, f"PPO(clip_range={self.clip_range!r})", positive=True)
        require_number(self.entropy_weight, f"PPO(entropy_weight={self.entropy_weight!r})")

    def init(self, agent: Agent) -> None:
        require_critic(agent, ValueFunction, self)

    def with_advantages(self, agent: Agent, steps: Transition) -> tuple[RolloutBatch, Metrics]:
        """Steps `[time, envs]` that follow one another, and what each was worth to `agent`, which
        took them."""
        assert steps.next_state is not None and steps.terminated is not None
        reward = self.success(steps.next_state, steps.goal).astype(jnp.float32)
        value = agent.value(steps.state, steps.action, steps.goal)
        next_value = agent.value(steps.next_state, steps.action, steps.goal)
        last = jnp.ones_like(steps.terminated[:1])  # what follows the rollout is not known
        ends = jnp.concatenate([steps.episode[1:] != steps.episode[:-1], last])
        advantage = generalized_advantage(
            reward,
            value,
            next_value,
            steps.terminated,
            ends,
            discount=self.discount,
            gae_lambda=self.gae_lambda,
        )
        log_prob = agent.policy(steps.state, steps.goal).unsquashed_log_prob(steps.action)
        batch = RolloutBatch(
            steps.state, steps.action, steps.goal, log_prob, advantage, value + advantage
        )
        return batch, {"reward": jnp.mean(reward), "value": jnp.mean(value)}

    def __call__(
        self, agent: Agent, state: ObjectiveState, batch: Any, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        del state, key  # it remembers nothing and draws nothing
        if not isinstance(batch, RolloutBatch):
            raise UserError(
                "`PPO` learns from a policy's own latest steps, not from stored ones: "
                "`OnPolicyStep` trains by it."
            )
        policy = agent.policy(batch.state, batch.goal)
        log_ratio = policy.unsquashed_log_prob(batch.action) - batch.log_prob
        ratio = jnp.exp(log_ratio)
        spread = jnp.std(batch.advantage) + 1e-8
        advantage = (batch.advantage - jnp.mean(batch.advantage)) / spread
        low, high = 1 - self.clip_range, 1 + self.clip_range
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, low, high) * advantage)
        entropy = jnp.mean(policy.unsquashed_entropy())
        actor_loss = -jnp.mean(gain) - self.entropy_weight * entropy
        value = agent.value(batch.state, batch.action, batch.goal)
        critic_loss = jnp.mean(jnp.square(value - stop(batch.value_target)))
        return actor_loss + critic_loss, {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "entropy": entropy,
            "kl": jnp.mean(ratio - 1 - log_ratio),
            "clipped_fraction": jnp.mean(jnp.abs(ratio - 1) > self.clip_range),
        }
