"""Which goals a policy trains on."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from .._errors import UserError
from .._types import Goal, PRNGKey
from ..replay import Batch


def check_shares(shares: Mapping[str, float], call: str) -> None:
    """**Raises:** `UserError`, which begins with `call`, unless they are shares of a whole."""
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"{call}: {name} = {share} must lie in [0, 1].")
    total = math.fsum(shares.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise UserError(f"{call}: these shares must add up to 1, and add up to {total:g}.")


def mixed_goals(
    batch: Batch, *, p_future: float, p_random: float, p_commanded: float, key: PRNGKey
) -> Goal:
    """For every step a goal of its own future, of another step's (the batch's rolled by one), or
    the one that was commanded, with these probabilities."""
    del p_commanded  # the rest
    drawn = jax.random.uniform(key, (*batch.state.shape[:-1], 1))
    rolled = jnp.roll(batch.future_goal, 1, axis=0)
    goal = jnp.where(drawn < p_random, rolled, batch.future_goal)
    return jnp.where(drawn >= p_random + p_future, batch.goal, goal)
