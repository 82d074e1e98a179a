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
class Inspection:
    """Sizes and bounds, and some rows that were observed under random actions."""

    observed: int
    """How many numbers the observation alone has."""
    goal: int
    """How many numbers a goal has; 0 if the environment has none."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: Float[np.ndarray, "rows numbers"]

    @property
    def is_goal_env(self) -> bool:
        return self.goal > 0

    @property
    def size(self) -> int:
        """How many numbers a row has: the observation, then the achieved and the desired goal."""
        return self.observed + 2 * self.goal


def inspect_environment(found: Source) -> Inspection:
    """**Raises:** `UserError` if its observations or actions are not numbers."""
    low, high = _bounds(found.call, found.actions)
    observed, goal = _sizes(found.call, found.observations)
    simulators = found.store.take(1)
    rows = _rows(simulators, low, high)
    found.store.give_back(simulators)
    return Inspection(observed, goal, low, high, rows)


def _bounds(call: str, actions: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not isinstance(actions, spaces.Box):
        raise UserError(
            f"`{call}` has the actions {actions}: they must be numbers in a `Box`, because the "
            f"policy is continuous."
        )
    low, high = actions.low.reshape(-1), actions.high.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        widths = high.astype(np.float32) - low.astype(np.float32)  # ±3.4e38 is not a bound either
    if not np.isfinite(widths).all():
        raise UserError(
            f"`{call}` has the actions {actions}: their bounds and the distance between them must "
            f"be finite numbers of float32, because [-1, 1] is spread over them; "
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
    """Observed rows, always the same ones for the same environment."""
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
    """The first indices at which `part` stands in `whole`, in every row.

    A part that never changes could match by coincidence, and counts as absent.
    """
    size = part.shape[1]
    if (part == part[0]).all():
        return []
    firsts = range(whole.shape[1] - size + 1)
    return [i for i in firsts if np.array_equal(whole[:, i : i + size], part)]
