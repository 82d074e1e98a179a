"""`python -m crl_eqx.lab RUN_DIR NAME ...`: one run of a sweep, or several seeds together, for a
job of its own."""

import dataclasses
import os
import signal
import sys
import threading
import time
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..run_files import trusting
from . import train_runs


@dataclasses.dataclass(frozen=True)
class Job:
    """Trains one run of a sweep, or several of its seeds together, or goes on with them."""

    run_dir: tyro.conf.Positional[Path]
    """The sweep's directory."""
    names: tyro.conf.Positional[tuple[str, ...]]
    """The runs' directories below it."""
    refill_replay: bool = False
    """Fill a damaged replay anew."""
    trust: bool = False
    """Run the code of a task that the directory names, even if it comes from elsewhere."""
    leave_with: int | None = None
    """The process that started this one: save and stop when it has ended, however it ended."""


def _leave_with(parent: int) -> None:
    """SIGTERM to this process once `parent` is no longer the one that it belongs to."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    job = tyro.cli(Job, prog="python -m crl_eqx.lab")
    if job.leave_with is not None:
        _leave_with(job.leave_with)
    try:
        with trusting(job.trust):
            return train_runs(
                job.run_dir, job.names, Console(markup=False), refill_replay=job.refill_replay
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
