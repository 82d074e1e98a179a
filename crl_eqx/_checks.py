"""What a number must be, said in the words of whoever gave it."""

import math
from typing import Any

import numpy as np

from ._errors import UserError


LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def fits_float32(x: float) -> bool:
    """Whether float32, in which everything is computed, makes neither infinity nor 0 of it."""
    return x == 0 or SMALLEST <= abs(x) <= LARGEST


def require_whole(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a whole number."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or np.ndim(value):
        raise UserError(f"`{call}` must be a whole number.")


def require_count(value: Any, call: str, *, least: int = 1, most: int | None = None) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a whole number
    from `least` to `most`."""
    require_whole(value, call)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most:,}"
        raise UserError(f"`{call}` must be {bounds}.")


def as_number(value: Any) -> float:
    """NaN, which meets no demand, where it is none."""
    try:
        return math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def require_discount(value: Any, call: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, lies in (0, 1]."""
    if not 0 < as_number(value) <= 1:
        raise UserError(f"`{call}` must lie in (0, 1].")


def require_number(value: Any, call: str, *, positive: bool = False) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a finite number
    that is not negative, or, if so asked, positive, and that float32 can hold."""
    number = as_number(value)
    if not fits_float32(number) or number < 0 or (positive and number == 0):
        kind = "positive" if positive else "0 or positive"
        raise UserError(f"`{call}` must be {kind}, and a finite number of float32.")
