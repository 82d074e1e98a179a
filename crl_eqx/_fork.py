"""A process that was forked from one that had used JAX cannot use it: it would wait for ever."""

import os

from ._errors import UserError


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


def refuse_in_forked_process(call: str) -> None:
    """**Raises:** `UserError` in a process in which JAX would hang; `call` is its user's."""
    if _lost:
        raise UserError(
            f"`{call}` in a process forked from one that had used JAX would wait for ever, as "
            f"JAX's threads do not survive a fork: start workers with "
            f"`multiprocessing.get_context('spawn')`, or `AsyncVectorEnv(..., context='spawn')`."
        )
