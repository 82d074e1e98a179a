"""What an inspection of a Gymnasium environment shows."""

import dataclasses
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from ..._errors import UserError
from ._host import Simulators
from ._simulators import GOAL_KEYS
from ._source import Source


STARTS, STEPS = 3, 8
"""How many episodes, of how many steps, are inspected."""


@dataclasses.dataclass(frozen=True)
class Look:
    """Sizes and bounds, and some rows of what is observed, with random actions."""

    observed: int
    """Numbers of the observation alone."""
    goal: int
    """Numbers of a goal; 0 if the environment has none."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: Float[np.ndarray, "rows numbers"]

    @property
    def is_goal_env(self) -> bool:
        return self.goal > 0

    @property
    def size(self) -> int:
        """Numbers of a row: the observation, then the achieved goal and the desired one."""
        return self.observed + 2 * self.goal


def look_at(found: Source) -> Look:
    """**Raises:** `UserError` if its observations or actions are not numbers."""
    low, high = _bounds(found.call, found.actions)
    observed, goal = _sizes(found.call, found.observations)
    simulators = found.store.take(1)
    rows = _rows(simulators, low, high)
    found.store.give_back(simulators)
    return Look(observed, goal, low, high, rows)


def _bounds(call: str, actions: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not isinstance(actions, spaces.Box):
        raise UserError(
            f"`{call}` has the actions {actions}: they must be numbers in a `Box`, as the policy "
            f"is a continuous one."
        )
    low, high = actions.low.reshape(-1), actions.high.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        widths = high.astype(np.float32) - low.astype(np.float32)  # ±3.4e38 is no bound either
    if not np.isfinite(widths).all():
        raise UserError(
            f"`{call}` has the actions {actions}: their bounds and the distance between them must "
            f"be finite numbers of float32, as [-1, 1] is spread over them; "
            f"`gymnasium.wrappers.RescaleAction` or `ClipAction` can set bounds."
        )
    return tuple(map(float, low)), tuple(map(float, high))


def _sizes(call: str, observations: Any) -> tuple[int, int]:
    if isinstance(observations, spaces.Box):
        return _size(observations), 0
    parts: Any = getattr(observations, "spaces", None)
    if isinstance(parts, dict) and all(isinstance(parts.get(k), spaces.Box) for k in GOAL_KEYS):
        observed, achieved, desired = (_size(parts[key]) for key in GOAL_KEYS)
        if achieved == desired > 0:
            return observed, desired
    raise UserError(
        f"`{call}` has the observations {observations}: they must be numbers in a `Box`, or the "
        f"three `Box`es {', '.join(GOAL_KEYS)} of a goal environment."
    )


def _size(space: spaces.Box) -> int:
    return int(np.prod(space.shape, dtype=int))


def _rows(simulators: Simulators, low, high) -> Float[np.ndarray, "rows numbers"]:
    """Always the same ones, for the same environment."""
    numbers, first, rows = np.random.default_rng(0), np.zeros(1, int), []
    for seed in range(STARTS):
        rows.append(simulators.reset(first, np.array([seed])))
        for _ in range(STEPS):
            found, over = simulators.step(first, numbers.uniform(low, high, (1, len(low))))
            rows.append(found)
            if over[0]:
                break
    return np.concatenate(rows).astype(np.float32)


def places_of(
    part: Float[np.ndarray, "rows part"], whole: Float[np.ndarray, "rows whole"]
) -> list[int]:
    """Where `part` stands in `whole`, in all rows alike, as first indices.

    A part that never changes could be a coincidence, and counts as absent.
    """
    size = part.shape[1]
    if (part == part[0]).all():
        return []
    firsts = range(whole.shape[1] - size + 1)
    return [i for i in firsts if np.array_equal(whole[:, i : i + size], part)]
