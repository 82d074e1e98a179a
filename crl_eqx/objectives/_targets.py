"""Slowly following copies, from which Bellman backups take their targets."""

from typing import Any, TypeVar

import equinox as eqx
import jax

from .._actor_critic import ActorCritic
from .._checks import as_number
from .._errors import UserError


Tree = TypeVar("Tree")


def polyak(target: Tree, network: Tree, rate: float) -> Tree:
    """target + rate · (network - target), weight by weight."""
    move = lambda old, new: old + rate * (new - old) if eqx.is_inexact_array(old) else old
    return jax.tree.map(move, target, network)


def copied(tree: Tree) -> Tree:
    """With its own arrays, so that neither is consumed when the other is donated."""
    return jax.tree.map(lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf, tree)


def require_critics(agent: Any, owner: str, least: int = 1) -> None:
    """**Raises:** `UserError` unless it is an `ActorCritic` with that many critics."""
    if not isinstance(agent, ActorCritic):
        raise UserError(
            f"`{owner}` cannot train a {type(agent).__name__}: `ActorCritic.create` makes its "
            f"agents."
        )
    if len(agent.critics) < least:
        raise UserError(
            f"`{owner}` needs an agent with at least {least} critics, and this one has "
            f"{len(agent.critics)}: `ActorCritic.create(env, num_critics={least})`."
        )


def require_share(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless it lies in [0, 1]."""
    if not 0 <= as_number(value) <= 1:
        raise UserError(f"`{call}` must lie in [0, 1].")
