"""Signals to a run: save and stop, or save and go on."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


def _there(*names: str) -> list[signal.Signals]:
    """Windows has only a few of them."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


STOPS = _there("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2", "SIGXCPU", "SIGALRM")
"""Save and stop: Ctrl-C, a scheduler's end, a terminal that closed, one that is free, a limit of
CPU time (`ulimit -t`), an alarm."""
SAVES = _there("SIGUSR1")
"""Save and go on: what schedulers send some minutes before the end."""


XCPU = getattr(signal, "SIGXCPU", None)
"""The system repeats it every second."""

ECHO = 1.0
"""Seconds in which the same signal again is the same stop: a terminal, or a scheduler, stops a
sweep and its runs, and the sweep hands on what it hears."""


class StopRequest:
    """Whether, and by which signal, the run was asked to stop, or to save."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        self.heard = 0.0
        self.save = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + signal, the shell's convention: 130 for Ctrl-C, 143 for SIGTERM."""
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens for `STOPS` and `SAVES` while the context is open; a second stop, after a second or
    by another signal, does not wait.

    Only the main thread may listen: in any other the run continues to its end.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number, frame):
        del frame
        if number in SAVES:
            request.save = True
            return
        now = time.monotonic()
        if number == request.signal and now - request.heard < ECHO:
            return
        if request and number != XCPU:
            raise KeyboardInterrupt
        request.signal, request.heard = signal.Signals(number), now

    previous = {number: signal.signal(number, ask) for number in (*STOPS, *SAVES)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
