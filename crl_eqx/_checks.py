"""What a number must be, said in the caller's words."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import UserError


LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def fits_float32(x: float) -> bool:
    """Whether float32, in which everything is computed, turns it into neither infinity nor 0."""
    return x == 0 or SMALLEST <= abs(x) <= LARGEST


def require_whole(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a whole number."""
    # Static in what is compiled, and so no array.
    if isinstance(value, bool | jax.Array) or not hasattr(value, "__index__") or np.ndim(value):
        raise UserError(f"`{call}` must be a whole number.")


def require_one_of(value: Any, choices: tuple[Any, ...], call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is one of them."""
    if value not in choices:
        raise UserError(f"`{call}` must be one of {choices}.")


def whole_numbers(values: Any, call: str) -> tuple[int, ...]:
    """From Python, or from JSON, which has no whole numbers of its own.

    **Raises:** `UserError` unless `values`, which their user wrote in `call`, are whole numbers.
    """
    try:
        values = [*values]
        whole = tuple(int(x) for x in values)
        odd = any(isinstance(x, bool | str) for x in values)
        good = not odd and all(i == x for i, x in zip(whole, values, strict=True))
    except (TypeError, ValueError, OverflowError):
        whole, good = (), False
    if not good:
        raise UserError(f"`{call}` must be whole numbers.")
    return whole


MOST = 2**31 - 1
"""The largest count, in 32 bits."""


def require_count(value: Any, call: str, *, least: int = 1, most: int = MOST) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a whole number
    from `least` to `most`."""
    require_whole(value, call)
    if value < least:
        raise UserError(f"`{call}` must be at least {least}.")
    if value > most:
        raise UserError(f"`{call}` must be at most {most:,}.")


def require_flag(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"`{call}` must be True or False.")


def require_key(key: Any, call: str) -> None:
    """**Raises:** `UserError` unless `key`, which its user gave to `call`, is one random key."""
    dtype, axes = getattr(key, "dtype", None), getattr(key, "ndim", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    legacy = dtype == np.uint32  # `jax.random.PRNGKey`, whose numbers are one axis
    if not (typed and axes == 0) and not (legacy and axes == 1):
        raise UserError(f"`{call}` needs one random key, such as `key=jax.random.key(0)`.")


def require_repeatable(drawn: Any, again: Any, who: str, what: str) -> None:
    """**Raises:** `UserError` unless a user's function, `who`, drew the same `what` from one key
    twice: compiled once, one with random numbers of its own would repeat them for ever."""
    if not np.array_equal(drawn, again, equal_nan=True):
        raise UserError(
            f"{who} gives another {what} for the same key: what it draws must follow from its "
            f"key alone, by `jax.random`."
        )


def require_kind(value: Any, kind: Any, call: str, example: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is of a kind."""
    if not isinstance(value, kind):
        raise UserError(f"`{call}` needs {example}.")


def as_number(value: Any) -> float:
    """NaN, which passes no check, if it is not a number."""
    try:
        return math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def require_discount(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, lies in (0, 1]."""
    if isinstance(value, jax.Array):
        raise UserError(f"`{call}` must be a number of Python's, no array: it is compiled in.")
    if not 0 < as_number(value) <= 1:
        raise UserError(f"`{call}` must lie in (0, 1].")


def require_number(value: Any, call: str, *, positive: bool = False) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a finite number
    that float32 can hold and not negative (or, if asked, positive)."""
    number = as_number(value)
    if not fits_float32(number) or number < 0 or (positive and number == 0):
        kind = "positive" if positive else "0 or positive"
        raise UserError(f"`{call}` must be {kind}, and a finite number of float32.")


def require_share(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless it lies in [0, 1]."""
    if not 0 <= as_number(value) <= 1:
        raise UserError(f"`{call}` must lie in [0, 1].")
