"""A process forked from one that has used JAX cannot use it: it would hang for ever."""

import functools
import os
from collections.abc import Callable
from typing import Any, cast, TypeVar

from ._errors import UserError


F = TypeVar("F", bound=Callable[..., Any])

_lost = False


def _backends_are_initialized() -> bool:
    from jax._src import xla_bridge  # nothing public tells

    ask = getattr(xla_bridge, "backends_are_initialized", None)
    return ask is None or ask()


def _after_fork() -> None:
    global _lost
    _lost = _lost or _backends_are_initialized()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def is_lost() -> bool:
    """Whether this is such a process."""
    return _lost


def not_forked(function: F) -> F:
    """For public functions that compute: in such a process they raise `UserError` and say what to
    do, instead of hanging."""

    @functools.wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if _lost:
            raise UserError(
                f"`{function.__qualname__}(...)` in a process forked from one that had used JAX "
                f"would wait for ever, as JAX's threads do not survive a fork: start workers with "
                f"`multiprocessing.get_context('spawn')`, or `AsyncVectorEnv(..., "
                f"context='spawn')`."
            )
        return function(*arguments, **keywords)

    return cast(F, checked)
