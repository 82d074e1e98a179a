"""What objectives that look one step ahead share: slowly following copies, and a soft policy."""

from typing import cast, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._agent import Agent
from .._critic import QFunctions
from .._errors import UserError
from .._types import Action, Goal, PRNGKey, Scalar, State
from ._base import AbstractObjective, Metrics, require_critic
from ._crl import frozen, temperature_loss


Tree = TypeVar("Tree")


def polyak(target: Tree, network: Tree, rate: float) -> Tree:
    """target + rate · (network - target), weight by weight."""
    move = lambda old, new: old + rate * (new - old) if eqx.is_inexact_array(old) else old
    return jax.tree.map(move, target, network)


def q_functions(agent: Agent, least: int, objective: AbstractObjective) -> QFunctions:
    """The agent's critic. **Raises:** `UserError` unless it is that many `QFunctions`."""
    require_critic(agent, QFunctions, objective)
    critic = cast(QFunctions, agent.critic)
    if len(critic.q) < least:
        raise UserError(
            f"`{type(objective).__name__}` needs an agent with at least {least} Q functions, and "
            f"this one has {len(critic.q)}: `Agent.create(env, critic='twin-q')` makes two."
        )
    return critic


def q_values(
    agent: Agent, state: State, action: Action, goal: Goal, critic: QFunctions | None = None
) -> Float[Array, "critics batch"]:
    """What each of the agent's Q functions says, or of `critic`'s, such as targets."""
    critic = cast(QFunctions, agent.critic) if critic is None else critic
    return critic.values(agent.normalized_state(state), action, agent.normalized_goal(goal))


def soft_policy_loss(
    agent: Agent, state: State, goal: Goal, target_entropy: float, *, key: PRNGKey
) -> tuple[Scalar, Metrics]:
    """mean(α log π - min Q), which moves π only, and the loss of α that keeps π's entropy at its
    target."""
    fixed = frozen(agent)
    action, log_prob = agent.policy(state, goal).sample_and_log_prob(key=key)
    value = fixed.value(state, action, goal)
    actor_loss = jnp.mean(jnp.exp(fixed.log_alpha) * log_prob - value)
    alpha_loss = temperature_loss(agent.log_alpha, log_prob, target_entropy)
    return actor_loss + alpha_loss, {
        "actor_loss": actor_loss,
        "alpha_loss": alpha_loss,
        "alpha": jnp.exp(agent.log_alpha),
        "entropy": -jnp.mean(log_prob),
    }
