"""The runs of a sweep as jobs of a cluster, by submitit."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .._errors import UserError
from ..config import CONFIG, Config
from ..run_files import is_trusting
from ._jobs import awaited, job_command, programs
from ._results import read_result
from ._sweep import Sweep


Cluster: TypeAlias = Literal["slurm", "local", "debug"]
"""Submitit's: `local` starts processes here, `debug` works in this one; both are for trying."""

FOLDER = "jobs"
"""Where a sweep keeps what its jobs print."""

BEFORE_THE_END = 120  # seconds between the signal and the end of a job: time to save


@dataclasses.dataclass(frozen=True)
class Resources:
    """What each job asks for; None is the cluster's default."""

    partition: str | None = None
    minutes: int = 24 * 60
    """After which a job is stopped, saved and queued again."""
    gpus: int | None = None
    cpus: int | None = None
    memory_gb: int | None = None
    account: str | None = None


def submit_sweep(
    sweep: Sweep,
    run_dir: Path,
    resources: Resources | None = None,
    *,
    together: bool = False,
    cluster: Cluster = "slurm",
) -> dict[str, Any]:
    """Submits a job for every run that is not complete, or for all seeds `together` of which one is
    not, and returns: they go on without us. A job that is preempted or out of time saves and is
    queued again. Submitting again goes on with what failed, and with what had to wait for the
    agents that collect for it.

    **Returns:** submitit's jobs by the name of their run.

    **Raises:** `UserError` if submitit or Slurm is not there, or Slurm refuses.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError as error:
        raise UserError(
            "Slurm jobs are submitted by submitit: in a checkout, `pip install -e '.[slurm]'`."
        ) from error
    runs = sweep.runs
    groups = programs(runs, together=together)
    is_done = lambda names: all(_is_done(run_dir, name, runs[name]) for name in names)
    waiting = [names for names in groups if not is_done(names) and is_done(awaited(runs, names))]
    folder = run_dir / FOLDER
    try:
        # Submitit's own limit, three, is for jobs that do not get on.
        always = {"slurm_max_num_timeout": 1_000_000} if cluster == "slurm" else {}
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **always)
        executor.update_parameters(**_parameters(resources or Resources(), run_dir, cluster))
        flags = ("--trust",) if is_trusting() else ()
        found: dict[str, Any] = {}
        for names in waiting:
            job = executor.submit(Job(str(run_dir.resolve()), names, flags))
            found |= {name: job for name in names}
        return found
    except (RuntimeError, FailedJobError, OSError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"Nothing runs `{run_dir}` on {cluster}: {why}.") from error


def _is_done(run_dir: Path, name: str, asked: Config) -> bool:
    return (run_dir / name / CONFIG).is_file() and read_result(run_dir / name, name, asked).done


def _parameters(asked: Resources, run_dir: Path, cluster: Cluster) -> dict[str, Any]:
    """In submitit's words."""
    found: dict[str, Any] = {"name": run_dir.name, "timeout_min": asked.minutes}
    for name, value in (
        ("gpus_per_node", asked.gpus),
        ("cpus_per_task", asked.cpus),
        ("mem_gb", asked.memory_gb),
    ):
        if value is not None:
            found[name] = value
    if cluster == "slurm":
        found["slurm_signal_delay_s"] = BEFORE_THE_END
        for name, value in (
            ("slurm_partition", asked.partition),
            ("slurm_account", asked.account),
        ):
            if value is not None:
                found[name] = value
    return found


class Job:
    """One program of a sweep, in a process of its own: submitit calls it, and `checkpoint` before
    it takes the machine away."""

    def __init__(self, run_dir: str, names: Sequence[str], flags: tuple[str, ...] = ()):
        self.run_dir, self.names, self.flags = run_dir, tuple(names), flags

    def __call__(self) -> int:
        command = job_command(Path(self.run_dir), self.names, self.flags)
        self._process = subprocess.Popen(command)
        while (code := self._process.poll()) is None:
            time.sleep(0.2)
        if code:
            raise RuntimeError(f"{', '.join(self.names)} ended with exit code {code}.")
        return code

    def checkpoint(self) -> Any:
        """Lets the run save, and asks for it to be queued again."""
        import submitit

        # Called by a signal, perhaps in the middle of `poll`, whose lock a `wait` would wait for.
        os.kill(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process.pid, 0)
        return submitit.helpers.DelayedSubmission(Job(self.run_dir, self.names, self.flags))
