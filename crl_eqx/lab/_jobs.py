"""The runs of a sweep, trained: in turn, some at a time, or seeds together."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from .._checks import require_count
from .._errors import TrainingError, UserError
from ..config import CONFIG, Config
from ..run import (
    ask_for_determinism,
    check_alike,
    draw_run,
    other_runs,
    Outcome,
    train_together,
)
from ..run_files import is_trusting, require_trust
from ._sweep import load_sweep, Sweep


Finish = Callable[[Outcome, Config], int]
"""What to do when a run has ended; an exit code other than 0 ends the sweep."""

FAILURE = 1
"""The exit code of a program one of whose runs failed."""


def train_sweep(
    sweep: Sweep,
    run_dir: Path,
    console: Console,
    *,
    jobs: int = 1,
    together: bool = False,
    refill_replay: bool = False,
    finish: Finish = lambda outcome, config: outcome.exit_code,
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Trains the runs in turn, or `jobs` at a time in processes of their own, resuming those
    already begun; what is done is not repeated.

    **Arguments:**

    - `together`: whether seeds of otherwise equal runs are trained in one program, as
        [`crl_eqx.run.train_together`][] does; `jobs` then counts programs.
    - `finish`: what becomes of a run that has ended, by default nothing. With several `jobs` each
        draws its own pictures, as `train_runs` does, and `finish` is not called.
    - `watch`: called several times a second while `jobs` are at work, and after every run.

    A run whose numbers become not finite fails, and the others go on: one that diverges is a
    result, too. Those that wait for its agent are left out.

    **Returns:** 0, the exit code of the first run that was stopped or refused, or 1 if one failed.
    """
    require_count(jobs, f"train_sweep(jobs={jobs!r})")
    runs = sweep.runs
    groups = programs(runs, together=together)
    if jobs > 1:
        flags = ["--trust"] * is_trusting() + ["--refill-replay"] * refill_replay
        needed = {names: awaited(runs, names) for names in groups}
        return _in_processes(needed, run_dir, console, jobs, flags, watch)
    failed: set[str] = set()
    for names in groups:
        if lost := awaited(runs, names) & failed:
            console.print(_left_out(names, lost), highlight=False)
            failed |= {*names}
            continue
        console.print(_label(names), highlight=False)
        configs = {run_dir / name: runs[name] for name in names}
        code = _train(configs, console, refill_replay, finish)
        watch()
        if code == FAILURE:
            failed |= {*names}
        elif code:
            return code
    return FAILURE if failed else 0


def programs(runs: Mapping[str, Config], *, together: bool) -> list[tuple[str, ...]]:
    """The names of the runs, divided into those that one program trains: each alone, or all seeds
    `together`; those whose agents others await come first."""
    groups: list[tuple[Config, list[str]]] = []
    for name, config in runs.items():
        alike = dataclasses.replace(config, seed=0)
        found = next((names for other, names in groups if together and other == alike), None)
        if found is None:
            groups.append((alike, [name]))
        else:
            found.append(name)
    found = [tuple(names) for _, names in groups]
    return sorted(found, key=lambda names: bool(awaited(runs, names)))  # who awaits none first


def check_programs(runs: Mapping[str, Config], *, together: bool) -> None:
    """**Raises:** `UserError` if seeds cannot be trained `together`."""
    for names in programs(runs, together=together):
        check_alike([runs[name] for name in names])


def awaited(runs: Mapping[str, Config], names: Sequence[str]) -> set[str]:
    """Those of a sweep's `runs` whose agents `names` collect or begin with: they must be trained
    before. A run of another sweep may be called as one of `names`; none waits for itself."""
    found = {path.name for name in names for path in other_runs(runs[name], Path(name))}
    return (found & runs.keys()) - {*names}


def _label(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _left_out(names: Sequence[str], failed: set[str]) -> str:
    return f"{_label(names)}: left out, as {_label(sorted(failed))} failed"


def train_runs(
    run_dir: Path, names: Sequence[str], console: Console, *, refill_replay: bool = False
) -> int:
    """One run of the sweep in `run_dir`, or several seeds together, begun or gone on with, and
    drawn when they have ended. What `python -m crl_eqx.lab RUN_DIR NAME ...` does, on any machine
    that sees the directory.

    **Returns:** 0, the exit code of a run that was stopped, or 1 if one failed: its numbers were
    not finite.

    **Raises:** `UserError` if the sweep has no such run, or names the code of a task that the
    user neither began it with nor trusts.
    """
    sweep = load_sweep(run_dir)
    ask_for_determinism(sweep.config)
    runs = sweep.runs
    for name in names:
        if name not in runs:
            raise UserError(f"`{run_dir}` has no run {name!r}; there are {', '.join(runs)}.")
    require_trust(sweep.config, run_dir)
    configs = {run_dir / name: runs[name] for name in names}

    def draw(outcome: Outcome, config: Config) -> int:
        if not outcome.exit_code:
            say = lambda sentence: console.print(sentence, markup=False, soft_wrap=True)
            draw_run(config, outcome.run_dir, say)
        return outcome.exit_code

    return _train(configs, console, refill_replay, draw)


def _train(
    configs: Mapping[Path, Config], console: Console, refill_replay: bool, finish: Finish
) -> int:
    """One program. If one of its seeds fails the others go on, each alone.

    **Returns:** 0, the exit code of the first run that was stopped, or `FAILURE`.
    """
    begun = [directory for directory in configs if (directory / CONFIG).exists()]
    try:
        outcomes = train_together(configs, console, begun=begun, refill_replay=refill_replay)
    except TrainingError as error:
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        if len(configs) == 1:
            return FAILURE
        worst = 0
        for directory, config in configs.items():  # those that have ended are only finished
            code = _train({directory: config}, console, refill_replay, finish)
            if code not in (0, FAILURE):
                return code
            worst = max(worst, code)
        return worst
    codes = [finish(outcome, configs[outcome.run_dir]) for outcome in outcomes]
    return next(filter(None, codes), 0)


def job_command(run_dir: Path, names: Sequence[str], flags: Sequence[str] = ()) -> list[str]:
    """Trains runs in a process that saves and stops when ours has ended, even by SIGKILL: who
    starts again then finds nobody at work."""
    own = ["--leave-with", str(os.getpid()), *flags]
    return [sys.executable, "-m", "crl_eqx.lab", *own, str(run_dir), *names]


def _in_processes(
    needed: Mapping[tuple[str, ...], set[str]],
    run_dir: Path,
    console: Console,
    jobs: int,
    flags: Sequence[str],
    watch: Callable[[], None],
) -> int:
    """Runs by what must be trained before them. A stop reaches the children, too: each saves and
    ends, and no other is begun."""
    waiting, running, first = list(needed), {}, 0
    failed: set[str] = set()
    with _listening(signal.SIGINT, signal.SIGTERM) as heard:
        while waiting or running:
            while heard:
                waiting.clear()
                number = heard.pop(0)
                for process in running.values():
                    process.send_signal(number)
            while lost := [names for names in waiting if needed[names] & failed]:
                for names in lost:
                    console.print(_left_out(names, needed[names] & failed), highlight=False)
                    waiting.remove(names)
                    failed |= {*names}
            while len(running) < jobs:
                untrained = {name for names in (*waiting, *running) for name in names}
                ready = [names for names in waiting if not needed[names] & untrained]
                if not ready:
                    break
                names = ready[0]
                waiting.remove(names)
                command = job_command(run_dir, names, flags)
                with open(run_dir / names[0] / "console.log", "ab") as log:
                    running[names] = subprocess.Popen(command, stdout=log, stderr=log)
                console.print(f"{_label(names)}: begun", highlight=False)
            watch()
            if not running:
                continue
            names = next(iter(running))
            process = running[names]
            try:
                code = process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                running[names] = running.pop(names)  # behind the others
                continue
            del running[names]
            log = f"{names[0]}/console.log"
            said = "done" if code == 0 else f"ended with exit code {code}, see {log}"
            console.print(f"{_label(names)}: {said}", highlight=False)
            if code == FAILURE:
                failed |= {*names}
            elif code:
                first = first or (code if code > 0 else 128 - code)
                waiting.clear()
    return first or (FAILURE if failed else 0)


@contextlib.contextmanager
def _listening(*numbers: int) -> Iterator[list[int]]:
    """While open, these signals do nothing but to be in the list, in which they came. Only the main
    thread can listen to them."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: signal.signal(number, lambda n, _: heard.append(n)) for number in numbers}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
