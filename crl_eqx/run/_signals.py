"""Ctrl-C and SIGTERM ask a run to save and stop; a second one does not ask."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Whether, and by which signal, the run was asked to stop."""

    def __init__(self):
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + signal, the shell's convention: 130 for Ctrl-C, 143 for SIGTERM."""
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Listens for SIGINT and SIGTERM while the context is open."""
    request = StopRequest()

    def ask(number, frame):
        del frame
        if request:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    listened = signal.SIGINT, signal.SIGTERM
    previous = {number: signal.signal(number, ask) for number in listened}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
