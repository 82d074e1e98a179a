"""Which goals a policy trains on."""

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class MixesGoals(Protocol):
    """An objective that says how often it trains on a goal of the step's own future, of another
    step's future, and on the one that was commanded; the three add up to 1."""

    @property
    def p_future(self) -> float: ...
    @property
    def p_random(self) -> float: ...
    @property
    def p_commanded(self) -> float: ...


def check_mixture(objective: MixesGoals) -> None:
    """**Raises:** `UserError` unless the three are shares of a whole."""
    names = ("p_future", "p_random", "p_commanded")
    shares = {name: getattr(objective, name) for name in names}
    words = ", ".join(f"{name}={share}" for name, share in shares.items())
    check_shares(shares, f"`{type(objective).__name__}({words})`")


def mixed_goals(objective: MixesGoals, batch: Batch, *, key: PRNGKey) -> Goal:
    """For every step a goal of its own future, of another step's (the batch's rolled by one), or
    the one that was commanded, as often as the objective says."""
    drawn = jax.random.uniform(key, (*batch.state.shape[:-1], 1))
    rolled = jnp.roll(batch.future_goal, 1, axis=0)
    goal = jnp.where(drawn < objective.p_random, rolled, batch.future_goal)
    return jnp.where(drawn >= objective.p_random + objective.p_future, batch.goal, goal)
