"""`crl-eqx`, the command line."""

import contextlib
import io
import os
import sys
import warnings
from typing import Any


class Unbroken:
    """A standard stream that goes silent when its reader is gone (`| head -1`) or its disk is
    full: neither ends a run."""

    def __init__(self, stream: Any):
        self._stream = stream
        self.lost: OSError | None = None
        """Why something could not be written, unless its reader just went away."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._surviving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._surviving():
            self._stream.flush()

    @contextlib.contextmanager
    def _surviving(self):
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.lost = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def main() -> None:
    from .cli import run

    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"  # and no line of our code
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, io.StringIO())
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, Unbroken(stream))
    code = run(sys.argv[1:])
    sys.stdout.flush()
    if isinstance(sys.stdout, Unbroken) and (lost := sys.stdout.lost):
        print(f"Not all could be printed: {lost.strerror}.", file=sys.stderr)
        code = code or 2
    sys.exit(code)


if __name__ == "__main__":
    main()
