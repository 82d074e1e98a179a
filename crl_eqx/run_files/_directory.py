"""The directory of a run: made, and locked by one process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from .._errors import UserError
from ..config import CONFIG, Config, file_name, SWEEP
from ..store._files import make_writable, refuse_link


def default_run_dir(config: Config) -> Path:
    return Path("runs") / f"{file_name(config.env)}_depth{config.network.depth}"


def prepare_run_dir(run_dir: Path, *, within: Path | None = None) -> None:
    """Makes a directory for a new run, one of several `within` another.

    **Raises:** `UserError` if it cannot be made, is in use, or leads out of the other.
    """
    if within is not None:
        refuse_link(run_dir)
    try:
        if any((run_dir / name).exists() for name in (CONFIG, SWEEP)):
            raise UserError(
                f"`--run-dir {run_dir}` already holds a run: go on with `crl-eqx resume "
                f"{run_dir}`, or name another directory."
            )
        for name in ("metrics.jsonl", "checkpoints", "best"):
            if os.path.lexists(run_dir / name):
                raise UserError(
                    f"`--run-dir {run_dir}` holds `{name}` of a run without its {CONFIG}: name "
                    f"another directory."
                )
        make_writable(run_dir)
    except OSError as error:
        raise UserError(f"`--run-dir {run_dir}` cannot be written: {error.strerror}.") from error


@contextlib.contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Holds a lock that the system drops when the process ends, however it ends."""
    try:
        with filelock.FileLock(run_dir / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(f"`{run_dir}` is in use: another process trains in it.") from error
