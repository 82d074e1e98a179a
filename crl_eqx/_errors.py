"""Callers' mistakes, and errors in code that is not ours."""

import functools
import re
from collections.abc import Callable
from typing import Any


class UserError(ValueError):
    """A mistake that the caller can mend; its message is one sentence that says how.

    The library raises it like any `ValueError`; the command line prints the sentence without a
    traceback and exits with code 2.
    """


class TrainingError(RuntimeError):
    """Training itself went wrong, not its input; the message is one sentence.

    The command line exits with code 1.
    """


def first_line(error: BaseException) -> str:
    """What someone else's error says, in one line."""
    try:
        return (str(error).strip() or repr(error)).splitlines()[0]
    except Exception:  # its own `__str__` fails
        return type(error).__name__


def abridged(sentence: str) -> str:
    """With its longest words, such as a value out of a damaged file, shown by their ends."""
    return re.sub(r"(\S{200})\S{600,}(\S{100})", r"\1...\2", sentence)


_kept: list[Exception] = []


def keeping(callback: Callable[..., Any]) -> Callable[..., Any]:
    """`callback`, for `jax.pure_callback`, whose errors reach their user as JAX's own, with the
    error itself among the lines of a text: it is kept for `kept_error`."""

    @functools.wraps(callback)
    def call(*arguments: Any) -> Any:
        try:
            return callback(*arguments)
        except Exception as error:
            _kept[:] = [error]
            raise

    return call


def kept_error(error: Exception) -> Exception:
    """What went wrong in a callback, if `error` is JAX's report of it; else `error` itself."""
    return _kept[0] if _kept and first_line(_kept[0]) in str(error) else error
