from collections.abc import Callable
from typing import Any, cast, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import losses
from .._agent import Agent, CriticKind
from .._checks import require_kind, require_number
from .._critic import Critic
from .._diagonal import diagonal
from .._types import Goal, PRNGKey, Repr, Scalar, State
from ..energy import AbstractEnergy
from ..nn import call_together, crl_passes
from ..replay import Batch
from ._base import AbstractObjective, Metrics, ObjectiveState, require_critic, require_entropy
from ._goals import Goals, require_goals


stop = jax.lax.stop_gradient


def frozen(agent: Any) -> Any:
    """`agent`, whose weights are constants: only gradients through its inputs are computed."""
    return jax.tree.map(lambda x: stop(x) if eqx.is_array(x) else x, agent)


def temperature_loss(
    log_alpha: Scalar, log_prob: Float[Array, " batch"], target_entropy: float
) -> Scalar:
    """exp(log α) · mean(-log π - target): α rises while the entropy is below its target."""
    return jnp.exp(log_alpha) * jnp.mean(stop(-log_prob - target_entropy))


def _logit_metrics(logits: Float[Array, "batch batch"]) -> Metrics:
    n = logits.shape[0]
    positive = jnp.mean(diagonal(logits))
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
    - `goals`: which goals the policy trains on, a [`crl_eqx.objectives.Goals`][].

    ??? cite
        [Contrastive Learning as Goal-Conditioned RL](https://arxiv.org/abs/2206.07568)
    """

    critic: ClassVar[CriticKind] = "contrastive"

    loss: losses.Loss = eqx.field(static=True, default=losses.infonce)
    logsumexp_penalty: float = 0.1
    target_entropy_per_action: float = -0.5
    goals: Goals = Goals(future=1.0)

    def __check_init__(self):
        require_kind(
            self.loss,
            Callable,
            f"CRL(loss={self.loss!r})",
            "a function, as `crl_eqx.losses.infonce`",
        )
        call = f"CRL(logsumexp_penalty={self.logsumexp_penalty!r})"
        require_number(self.logsumexp_penalty, call)
        require_goals(self.goals, "CRL")
        require_entropy(self.target_entropy_per_action, "CRL")

    def passes(self, network: str) -> float:
        return crl_passes(network, commanded=self.goals.commanded > 0)

    def init(self, agent: Agent) -> None:
        require_critic(agent, Critic, self)

    def __call__(
        self, agent: Agent, state: ObjectiveState, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        del state  # it remembers nothing
        goal = batch.future_goal
        goal_key, action_key = jax.random.split(key)
        policy_goal, of_policy = self._policy_goals(batch, goal, key=goal_key)
        policy, sa_repr, g_repr = _outputs(agent, batch, policy_goal)
        critic_loss, critic_metrics = self.critic_loss(contrastive(agent).energy, sa_repr, g_repr)
        actor_loss, log_prob = self.actor_loss(
            agent, batch.state, policy, of_policy(agent, g_repr), key=action_key
        )
        target_entropy = self.target_entropy_per_action * batch.action.shape[-1]
        alpha_loss = temperature_loss(agent.log_alpha, log_prob, target_entropy)
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
        """As `Goals.draw`, but ψ of the batch's own goals, which the critic's loss has computed, is
        used again: the goals, and how their representations follow from those."""
        if self.goals.future == 1:
            return goal, lambda agent, g_repr: g_repr
        if self.goals.commanded == 1:
            told = self.goals.commanded_of(batch)
            return told, lambda agent, g_repr: _g_repr(agent, told)
        drawn = jax.random.uniform(key, (*goal.shape[:-1], 1))
        random, future = self.goals.random, self.goals.future
        rolled, commanded = drawn < random, drawn >= random + future
        roll = lambda x: jnp.where(rolled, jnp.roll(x, 1, axis=0), x)
        if self.goals.commanded == 0:
            return roll(goal), lambda agent, g_repr: roll(g_repr)
        told = self.goals.commanded_of(batch)
        # ψ of the commanded goals is computed on top, for all rows: shapes are fixed.
        pick = lambda x, other: jnp.where(commanded, other, roll(x))
        of_policy = lambda agent, g_repr: pick(g_repr, _g_repr(agent, told))
        return pick(goal, told), of_policy

    def actor_loss(
        self, agent: Agent, state: State, policy: Any, g_repr: Repr, *, key: PRNGKey
    ) -> tuple[Scalar, Float[Array, " batch"]]:
        """mean(α log π - f) of `policy` in `state`; moves π only. The critic's weights are
        constants here, so that no gradient with respect to them is computed, only the one through
        the action."""
        action, log_prob = policy.sample_and_log_prob(key=key)
        fixed = frozen(agent)
        critic = contrastive(fixed)
        sa_repr = critic.sa_repr(fixed.normalized_state(state), action)
        value = critic.energy(sa_repr, stop(g_repr))
        return jnp.mean(jnp.exp(fixed.log_alpha) * log_prob - value), log_prob


def contrastive(agent: Agent) -> Critic:
    """The agent's critic, of which `init` has seen that it is one."""
    return cast(Critic, agent.critic)


def _outputs(agent: Agent, batch: Batch, policy_goal: Goal) -> tuple[Any, Repr, Repr]:
    """The policy for `policy_goal`, φ and ψ: at once, where nothing stands between the critic and
    its encoders."""
    critic, seen = contrastive(agent), agent.normalized_state(batch.state)
    goal, policy_goal = map(agent.normalized_goal, (batch.future_goal, policy_goal))
    if type(critic) is not Critic:
        sa_repr = critic.sa_repr(seen, batch.action)
        return agent.actor(seen, policy_goal), sa_repr, critic.g_repr(goal)
    policy, sa_repr, g_repr = call_together(
        (agent.actor, critic.sa_encoder, critic.g_encoder),
        ((seen, policy_goal), (seen, batch.action), (goal,)),
    )
    return policy, sa_repr, g_repr


def _g_repr(agent: Agent, goal: Goal) -> Repr:
    return contrastive(agent).g_repr(agent.normalized_goal(goal))
