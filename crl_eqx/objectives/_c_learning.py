from typing import Any, cast, ClassVar, final, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._agent import Agent, CriticKind
from .._checks import require_number, require_share
from .._critic import QFunctions
from .._errors import UserError
from .._types import Goal, PRNGKey, Scalar, State
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


Variant: TypeAlias = Literal["td", "nce"]


def is_future(logits: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """-log σ(logits): the cross-entropy of 'this goal lies in the future'."""
    return jax.nn.softplus(-logits)


def is_not(logits: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """-log(1 - σ(logits)): the cross-entropy of 'it does not'."""
    return jax.nn.softplus(logits)


@final
class CLearning(AbstractObjective):
    """C-learning: a classifier C(s, a, g) = σ(f(s, a, g)) of goals that lie in the future, learnt
    by looking one step ahead.

    With g' = what the next state achieves, g₋ a goal of another step's future, ã' ~ π(s', g₋),
    slow copies f̄ of the critics and w = min(exp(minⱼ f̄ⱼ(s', ã', g₋)), `max_weight`) each critic
    minimises (`variant="td"`)

    mean[(1 - γ) H(f(s, a, g'), 1) + γ w H(f(s, a, g₋), 1) + H(f(s, a, g₋), 0)],

    H the binary cross-entropy. Where the environment ended the episode in s', that state is taken
    to last: the first weight is 1 and the second 0. `variant="nce"` looks its positives up in the
    data, mean[H(f(s, a, g₊), 1) + H(f(s, a, g₋), 0)], g₊ of the step's own future. The policy
    minimises mean(α log π(ã|s, g) - minᵢ fᵢ(s, ã, g)).

    **Arguments:**

    - `achieved_goal`: the part of a state that is a goal, `env.achieved_goal`.
    - `variant`: `"td"` or `"nce"`.
    - `discount`, `polyak_rate`, `target_entropy_per_action`: as in
        [`crl_eqx.objectives.SAC`][].
    - `max_weight`: where w is cut off.
    - `goals`: which goals the policy trains on, a [`crl_eqx.objectives.Goals`][].

    ??? cite
        [C-Learning: Learning to Achieve Goals via Recursive Classification](https://arxiv.org/abs/2011.08909)
    """

    critic: ClassVar[CriticKind] = "twin-q"
    needs_next_state: ClassVar[bool] = True

    achieved_goal: Any
    variant: Variant = eqx.field(static=True, default="td")
    discount: float = eqx.field(static=True, default=0.99)
    polyak_rate: float = eqx.field(static=True, default=0.005)
    max_weight: float = eqx.field(static=True, default=20.0)
    target_entropy_per_action: float = -0.5
    goals: Goals = Goals(future=0.5, random=0.5)

    def __check_init__(self):
        if self.variant not in ("td", "nce"):
            raise UserError(f'`CLearning(variant={self.variant!r})` must be "td" or "nce".')
        call = f"CLearning(achieved_goal={self.achieved_goal!r})"
        require_of_task(self.achieved_goal, call, "env.achieved_goal")
        require_goals(self.goals, "CLearning")
        require_entropy(self.target_entropy_per_action, "CLearning")
        require_share(self.discount, f"CLearning(discount={self.discount!r})")
        require_share(self.polyak_rate, f"CLearning(polyak_rate={self.polyak_rate!r})")
        require_number(self.max_weight, f"CLearning(max_weight={self.max_weight!r})", positive=True)

    def passes(self, network: str) -> float:
        # Q of positives and of negatives, and by the policy's loss; "td" asks both in s', too.
        of_both = 3.0 if network == "actor" else 8.0
        return of_both + float(self.variant == "td")

    def init(self, agent: Agent) -> QFunctions:
        """The slow copies of the critics."""
        return q_functions(agent, 1, self)

    def __call__(
        self, agent: Agent, state: QFunctions, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        goal_key, next_key, action_key = jax.random.split(key, 3)
        fixed = frozen(agent)
        others = jnp.roll(batch.future_goal, 1, axis=0)
        negative = q_values(agent, batch.state, batch.action, others)
        if self.variant == "td":
            next_state, terminated = require_next_state(batch, "CLearning")
            reached = self.achieved_goal(next_state)
            positive = q_values(agent, batch.state, batch.action, reached)
            weight = self._weight(fixed, state, next_state, others, key=next_key)
            now = jnp.where(terminated, 1.0, 1.0 - self.discount)
            later = jnp.where(terminated, 0.0, self.discount * weight)
            terms = now[None] * is_future(positive) + later[None] * is_future(negative)
            terms = terms + is_not(negative)
        else:
            positive = q_values(agent, batch.state, batch.action, batch.future_goal)
            weight = jnp.ones(())
            terms = is_future(positive) + is_not(negative)
        critic_loss = jnp.mean(terms)

        goal = self.goals.draw(batch, key=goal_key)
        target_entropy = self.target_entropy_per_action * batch.action.shape[-1]
        policy_loss, policy_metrics = soft_policy_loss(
            agent, batch.state, goal, target_entropy, key=action_key
        )
        return critic_loss + policy_loss, policy_metrics | {
            "critic_loss": critic_loss,
            "logits_positive": jnp.mean(positive),
            "logits_negative": jnp.mean(negative),
            "importance_weight": jnp.mean(weight),
        }

    def _weight(
        self,
        fixed: Agent,
        slow: QFunctions,
        next_state: State,
        goal: Goal,
        *,
        key: PRNGKey,
    ) -> Float[Array, " batch"]:
        """w = C / (1 - C) = exp(f) of the next state and the policy's action there."""
        action = fixed.policy(next_state, goal).sample(key=key)
        logits = jnp.min(q_values(fixed, next_state, action, goal, slow), axis=0)
        return stop(jnp.minimum(jnp.exp(logits), self.max_weight))

    def after(self, agent: Agent, state: QFunctions) -> QFunctions:
        return polyak(state, cast(QFunctions, agent.critic), self.polyak_rate)
