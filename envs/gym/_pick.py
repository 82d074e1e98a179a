"""Which numbers of an observation are the state, and which are the goal."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..._checks import whole_numbers
from ..._errors import UserError
from ._inspection import Inspection, places_of


Pick: TypeAlias = Sequence[int] | Callable[[Array], Array]
"""Indices of an array's last axis, or a JAX function of it that acts on any leading axes."""


def picker(pick: Pick | None, name: str) -> Callable[[Array], Array]:
    """**Raises:** `UserError` that names the argument `name`."""
    if pick is None:
        return lambda x: x
    if callable(pick):
        return pick
    indices = whole_numbers(pick, f"GymnasiumGoalEnv({name}={pick!r})")
    return lambda x: x[..., np.array(indices, int)]


def with_achieved(seen: Inspection, pick: Pick | None):
    """A function that makes a state from a goal environment's row, one that finds the achieved goal
    in the state, and, if that goal is part of the observation, the places of both in the row."""
    observed, goal = seen.observed, seen.goal
    state, place = picker(pick, "state"), slice(observed, observed + goal)
    if not callable(pick):
        kept = np.arange(observed) if pick is None else _places(pick, observed)
        firsts = places_of(seen.rows[:, place], seen.rows[:, kept])
        if len(firsts) == 1:  # if several look alike so far, none can be trusted
            found = slice(firsts[0], firsts[0] + goal)
            twins = kept[found], np.arange(observed, observed + goal)
            return (lambda row: state(row[..., :observed])), (lambda x: x[..., found]), twins

    def both(row):
        parts = state(row[..., :observed]), row[..., place]
        return jnp.concatenate(parts, axis=-1)

    return both, (lambda x: x[..., -goal:]), None


def _places(pick: Sequence[int], size: int) -> Int[np.ndarray, " n"]:
    """**Raises:** `UserError` unless all are among `size` numbers."""
    places = np.array(whole_numbers(pick, f"GymnasiumGoalEnv(state={pick!r})"), int)
    if not ((-size <= places) & (places < size)).all():
        raise UserError(
            f"`GymnasiumGoalEnv(state={[*pick]})` must lie between 0 and {size - 1}, the "
            f"indices of the observed numbers."
        )
    return places
