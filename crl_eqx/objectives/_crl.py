from collections.abc import Callable
from typing import Any, final, get_args, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import losses
from .._agent import Agent
from .._errors import UserError
from .._replay import Batch
from .._types import Goal, PRNGKey, Repr, Scalar, State
from ..energy import AbstractEnergy
from ._base import AbstractObjective, AchievedGoal, Metrics


PolicyGoals: TypeAlias = Literal["future", "rolled", "commanded"]

stop = jax.lax.stop_gradient


def _logit_metrics(logits: Float[Array, "batch batch"]) -> Metrics:
    n = logits.shape[0]
    positive = jnp.mean(jnp.diag(logits))
    right = jnp.argmax(logits, axis=1) == jnp.arange(n)
    return {
        "categorical_accuracy": jnp.mean(right.astype(logits.dtype)),
        "logits_positive": positive,
        "logits_negative": (jnp.sum(logits) - n * positive) / max(n * (n - 1), 1),
        "logsumexp": jnp.mean(jax.nn.logsumexp(logits, axis=1)),
    }


@final
class CRL(AbstractObjective):
    """Contrastive RL: classify which goal lies in whose future; act so that the goal does.

    The policy minimises mean(α log π(ã|s, g) - f(s, ã, g)); the temperature α keeps its entropy at
    `target_entropy_per_action · action_size`. ψ(g) is computed once and serves both losses.

    **Arguments:**

    - `loss`: one of [`crl_eqx.losses`][], or any function of the logits.
    - `logsumexp_penalty`: weight of mean(logsumexp²).
    - `target_entropy_per_action`: in nats.
    - `policy_goals`: the goals that the policy trains on. `"future"`: each step's own future;
        `"rolled"`: with `rolled_probability` the batch's goals rolled by one, so that the policy
        meets goals of other trajectories; `"commanded"`: those of the rollout.

    ??? cite
        [Contrastive Learning as Goal-Conditioned RL](https://arxiv.org/abs/2206.07568)
    """

    loss: losses.Loss = eqx.field(static=True, default=losses.infonce)
    logsumexp_penalty: float = 0.1
    target_entropy_per_action: float = -0.5
    policy_goals: PolicyGoals = eqx.field(static=True, default="future")
    rolled_probability: float = 0.5

    def __check_init__(self):
        if self.policy_goals not in get_args(PolicyGoals):
            raise UserError(
                f"`CRL(policy_goals={self.policy_goals!r})` must be one of {get_args(PolicyGoals)}."
            )

    def __call__(
        self, agent: Agent, batch: Batch, achieved_goal: AchievedGoal, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        goal = achieved_goal(batch.future_state)
        goal_key, action_key = jax.random.split(key)
        policy_goal, of_policy = self._policy_goals(batch, goal, key=goal_key)
        policy, sa_repr, g_repr = agent.forward(batch.state, batch.action, goal, policy_goal)
        critic_loss, critic_metrics = self.critic_loss(agent.energy, sa_repr, g_repr)
        actor_loss, log_prob = self.actor_loss(
            agent, batch.state, policy, of_policy(agent, g_repr), key=action_key
        )
        alpha_loss = self.alpha_loss(agent, batch, log_prob)
        return critic_loss + actor_loss + alpha_loss, critic_metrics | {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "alpha_loss": alpha_loss,
            "alpha": jnp.exp(agent.log_alpha),
            "entropy": -jnp.mean(log_prob),
        }

    def critic_loss(
        self, energy: AbstractEnergy, sa_repr: Repr, g_repr: Repr
    ) -> tuple[Scalar, Metrics]:
        """The contrastive loss and its penalty; moves φ, ψ and what the energy learns."""
        logits = energy.pairwise(sa_repr, g_repr)
        penalty = losses.logsumexp_penalty(logits, self.loss)
        return self.loss(logits) + self.logsumexp_penalty * penalty, _logit_metrics(logits)

    def _policy_goals(
        self, batch: Batch, goal: Goal, *, key: PRNGKey
    ) -> tuple[Goal, Callable[[Agent, Repr], Repr]]:
        """The goals, and how their representations follow from those of the batch's own."""
        match self.policy_goals:
            case "future":
                return goal, lambda agent, g_repr: g_repr
            case "commanded":
                return batch.goal, lambda agent, g_repr: agent.g_repr(batch.goal)
            case "rolled":
                shape = goal.shape[:-1]
                rolled = jax.random.bernoulli(key, self.rolled_probability, shape)[:, None]
                pick = lambda x: jnp.where(rolled, jnp.roll(x, 1, axis=0), x)
                return pick(goal), lambda agent, g_repr: pick(g_repr)

    def actor_loss(
        self, agent: Agent, state: State, policy: Any, g_repr: Repr, *, key: PRNGKey
    ) -> tuple[Scalar, Float[Array, " batch"]]:
        """mean(α log π - f) of `policy` in `state`; moves π only. The critic's weights are
        constants here, so that no gradient with respect to them is computed, only the one through
        the action."""
        action, log_prob = policy.sample_and_log_prob(key=key)
        critic = jax.tree.map(lambda x: stop(x) if eqx.is_array(x) else x, agent)
        value = critic.energy(critic.sa_repr(state, action), stop(g_repr))
        return jnp.mean(jnp.exp(critic.log_alpha) * log_prob - value), log_prob

    def alpha_loss(self, agent: Agent, batch: Batch, log_prob: Float[Array, " batch"]) -> Scalar:
        """exp(log α) · mean(-log π - target): α rises while the entropy is below its target."""
        target = self.target_entropy_per_action * batch.action.shape[-1]
        return jnp.exp(agent.log_alpha) * jnp.mean(stop(-log_prob - target))
