"""Trajectories in memory, from which batches are drawn."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._checks import require_discount, require_key
from .._errors import first_line, UserError
from .._fork import not_forked
from .._types import PRNGKey
from ..relabel import future_index
from ._transition import AbstractData, AchievedGoal, Batch, whole_state


def _numbers(value: Any, name: str) -> np.ndarray:
    """As NumPy's float32, finite or not. **Raises:** `UserError` in the caller's words, with
    `name`."""
    if np.ma.is_masked(value):
        raise UserError(
            f"`Trajectories({name})` has masked numbers: leave those steps out, and say `lengths`."
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"`Trajectories({name})` is no array: {first_line(error)}.") from error
    if array.dtype.kind not in "fiub" and array.dtype != jnp.bfloat16:
        raise UserError(f"`Trajectories({name})` must hold real numbers, not {array.dtype}.")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _require_finite(array: np.ndarray, name: str) -> np.ndarray:
    """**Raises:** `UserError` in the caller's words, with `name`, unless all numbers are finite."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise UserError(
            f"`Trajectories({name})` must be finite in float32: at {bad[0].tolist()} it holds "
            f"{array[tuple(bad[0])]}."
        )
    return array


def _padded(parts: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """`[n, t, size]` out of n arrays `[their own length, size]`, zeros after their ends, and their
    lengths."""
    named = [(part, f"{name}[{i}]") for i, part in enumerate(parts)]
    arrays = [_require_finite(_numbers(part, name), name) for part, name in named]
    for i, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise UserError(
                f"`Trajectories({name})` must be arrays [length, size] of one size: {name}[0] is "
                f"{list(arrays[0].shape)}, and {name}[{i}] is {list(array.shape)}."
            )
    lengths = np.array([len(array) for array in arrays], int)
    padded = np.zeros((len(arrays), lengths.max(initial=0), arrays[0].shape[1]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def _axes(value: Any) -> int | None:
    """None if it is no array, such as a list of lists of unequal lengths."""
    try:
        return np.ndim(value)
    except ValueError:
        return None


def _as_block(value: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """`[n, t, size]`, and the lengths where a list says them itself."""
    if isinstance(value, list | tuple) and value and all(_axes(part) == 2 for part in value):
        return _padded(value, name)
    return _numbers(value, name), None


def _whole_lengths(lengths: Any, n: int, t: int) -> np.ndarray:
    try:
        found = np.asarray(lengths)
    except ValueError:  # a ragged list
        found = np.empty(0, object)
    whole = found.dtype.kind in "iu" or (found.dtype.kind == "f" and (found % 1 == 0).all())
    if found.shape != (n,) or not whole or found.min(initial=0) < 0 or found.max(initial=0) > t:
        raise UserError(
            f"`Trajectories(lengths={lengths})` must be {n} whole numbers from 0 to {t}, one for "
            f"each trajectory."
        )
    return found.astype(int)


class Trajectories(AbstractData):
    """`n` trajectories of up to `t` steps.

    **Arguments:**

    - `states`: `[n, t, state]`, or a list of n arrays `[length, state]`, whose lengths may differ.
    - `actions`: `[n, t, action]` or such a list, or None: then φ takes the state alone.
    - `lengths`: `[n]`, how many steps of each trajectory are real; default all of them. What lies
        beyond is not looked at.
    - `discount`: of the distribution of futures, in (0, 1].
    - `achieved_goal`: the part of a state that is a goal, default all of it.

    **Raises:** `UserError` when shapes disagree, a number is not real and finite, a length is not
    a whole number of steps, or no trajectory has two steps.
    """

    states: Float[Array, "n t state"]
    actions: Float[Array, "n t action"]
    lengths: Int[Array, " n"]
    discount: float = eqx.field(static=True)
    achieved_goal: AchievedGoal

    @not_forked
    def __init__(
        self,
        states: Any,
        actions: Any = None,
        lengths: Any = None,
        *,
        discount: float = 0.99,
        achieved_goal: AchievedGoal = whole_state,
    ):
        require_discount(discount, f"Trajectories(discount={discount!r})")
        states, own_lengths = _as_block(states, "states")
        if states.ndim != 3:
            raise UserError(
                f"`Trajectories(states)` must be [n, t, state] or a list of [length, state], not "
                f"{states.shape}."
            )
        n, t, _ = states.shape
        if actions is None:
            actions, action_lengths = np.zeros((n, t, 0), np.float32), None
        else:
            actions, action_lengths = _as_block(actions, "actions")
        if actions.ndim != 3 or actions.shape[:2] != (n, t):
            raise UserError(
                f"`Trajectories(actions=...)` must be [{n}, {t}, action] like the states, not "
                f"{actions.shape}."
            )
        if own_lengths is not None and action_lengths is not None:
            for i in np.flatnonzero(own_lengths != action_lengths):
                raise UserError(
                    f"`Trajectories`: states[{i}] has {own_lengths[i]} steps, and actions[{i}] has "
                    f"{action_lengths[i]}."
                )
        whole = np.full(n, t) if own_lengths is None else own_lengths
        if lengths is not None:
            found = _whole_lengths(lengths, n, t)
            if (found > whole).any():
                raise UserError(
                    f"`Trajectories(lengths={lengths})`: the trajectories have only "
                    f"{whole.tolist()} steps."
                )
            whole = found
        if action_lengths is not None:
            for i in np.flatnonzero(action_lengths < whole):
                raise UserError(
                    f"`Trajectories`: states[{i}] has {whole[i]} steps, and actions[{i}] only "
                    f"{action_lengths[i]}."
                )
        if whole.max(initial=0) < 2:
            raise UserError("`Trajectories`: no trajectory has two steps, so none has a future.")
        # What lies beyond is never drawn, and often NaN.
        real = (np.arange(t) < whole[:, None])[..., None]
        states, actions = np.where(real, states, 0), np.where(real, actions, 0)
        self.states = jnp.asarray(_require_finite(states, "states"))
        self.actions = jnp.asarray(_require_finite(actions, "actions"))
        self.lengths = jnp.asarray(whole, jnp.int32)
        self.discount, self.achieved_goal = float(discount), achieved_goal
        self._check_goals()

    def _check_goals(self) -> None:
        goals = jnp.isfinite(self._goals()).all(axis=-1)
        real = np.arange(self.states.shape[1]) < np.asarray(self.lengths)[:, None]
        for row, time in np.argwhere(real & ~np.asarray(goals)):
            raise UserError(
                f"`Trajectories(achieved_goal=...)` gives goals that are not finite, the first of "
                f"them for states[{row}, {time}]."
            )

    def _goals(self) -> Array:
        call = "`Trajectories(achieved_goal=...)`"
        if not callable(self.achieved_goal):
            raise UserError(f"{call} must be a function of states, not {self.achieved_goal!r}.")
        try:
            # An environment's method brings its arrays with it.
            goals = eqx.filter_jit(lambda goal, states: goal(states))(
                self.achieved_goal, self.states
            )
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            told = first_line(error).rstrip(".")
            raise UserError(f"{call} cannot be computed: {told}.") from error
        if getattr(goals, "shape", ())[:-1] != self.states.shape[:-1]:
            found = list(getattr(goals, "shape", ()))
            raise UserError(
                f"{call} gives {found} for states {list(self.states.shape)}: it must act on the "
                f"last axis, as `lambda state: state[..., :2]` does."
            )
        return goals

    @not_forked
    def sample(self, shape: tuple[int, ...], *, key: PRNGKey) -> Batch:
        require_key(key, "Trajectories.sample(..., key=...)")
        step_key, future_key = jax.random.split(key)
        steps_before = jnp.cumsum(jnp.maximum(self.lengths - 1, 0))
        index = jax.random.randint(step_key, shape, 0, steps_before[-1])
        row = jnp.searchsorted(steps_before, index, side="right")
        time = index - jnp.where(row > 0, steps_before[row - 1], 0)
        future = future_index(self.lengths[row], time, discount=self.discount, key=future_key)
        state = self.states[row, time]
        goal = self.achieved_goal(self.states[row, future])
        return Batch(state, self.actions[row, time], state[..., :0], goal)
