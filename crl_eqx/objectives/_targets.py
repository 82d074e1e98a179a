"""What objectives that look one step ahead share: slowly following copies, and a soft policy."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._actor_critic import ActorCritic
from .._errors import UserError
from .._types import Goal, PRNGKey, Scalar, State
from ._base import Metrics, require_agent
from ._crl import frozen, temperature_loss


Tree = TypeVar("Tree")


def polyak(target: Tree, network: Tree, rate: float) -> Tree:
    """target + rate · (network - target), weight by weight."""
    move = lambda old, new: old + rate * (new - old) if eqx.is_inexact_array(old) else old
    return jax.tree.map(move, target, network)


def require_critics(agent: Any, owner: str, least: int = 1) -> None:
    """**Raises:** `UserError` unless it is an `ActorCritic` with that many critics."""
    require_agent(agent, ActorCritic, owner, "`ActorCritic.create`")
    if len(agent.critics) < least:
        raise UserError(
            f"`{owner}` needs an agent with at least {least} critics, and this one has "
            f"{len(agent.critics)}: `ActorCritic.create(env, num_critics={least})`."
        )


def soft_policy_loss(
    agent: ActorCritic, state: State, goal: Goal, target_entropy: float, *, key: PRNGKey
) -> tuple[Scalar, Metrics]:
    """mean(α log π - min Q), which moves π only, and the loss of α that keeps π's entropy at its
    target."""
    fixed = frozen(agent)
    action, log_prob = agent.policy(state, goal).sample_and_log_prob(key=key)
    value = fixed.critic(state, action, goal)
    actor_loss = jnp.mean(jnp.exp(fixed.log_alpha) * log_prob - value)
    alpha_loss = temperature_loss(agent.log_alpha, log_prob, target_entropy)
    return actor_loss + alpha_loss, {
        "actor_loss": actor_loss,
        "alpha_loss": alpha_loss,
        "alpha": jnp.exp(agent.log_alpha),
        "entropy": -jnp.mean(log_prob),
    }
