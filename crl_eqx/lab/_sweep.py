"""A sweep: one configuration, and the choices in which its runs differ."""

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from .._checks import require_count
from .._errors import UserError
from ..config import (
    as_config,
    CONFIG,
    Config,
    file_name,
    read_config,
    replaced,
    SWEEP,
    write_config,
)
from ..run import (
    check,
    collector_dir,
    copy_task_files,
    draw_run,
    Outcome,
    refuse_link,
    resolved,
    train_together,
)
from ..run_files import (
    alone,
    is_trusting,
    prepare_run_dir,
    remember,
    require_trust,
    with_absolute_path,
)


Finish = Callable[[Outcome, Config], int]
"""What to do when a run has ended; an exit code other than 0 ends the sweep."""


VARIANT = "variant"
"""What of a run's choices names its variant."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Every combination of some choices on top of one configuration, each a run of its own.

    ```python
    sweep = Sweep(Config(env="ant"), {"depth": (4, 16), "seed": (0, 1, 2)})
    begin_sweep(sweep, Path("runs/ant"), console)
    train_sweep(sweep, Path("runs/ant"), console)    # and again, to go on after a stop
    ```

    **Raises:** `UserError` if an axis is not a choice, or its values are missing or repeated.
    """

    config: Config
    axes: Mapping[str, tuple[Any, ...]]
    """The values of each choice, by the choice's name; the last one changes fastest."""
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Sets of choices that go together, by a name of their own, each combined with all axes: for
    comparisons that are no grid, such as ablations."""

    def __post_init__(self):
        for name, values in self.axes.items():
            if not values or len(set(values)) < len(values):
                raise UserError(
                    f"`Sweep(axes={{{name!r}: {values!r}}})` must name distinct values, at least "
                    f"one."
                )
        _ = self.runs  # names that are no choices are refused here

    @property
    def runs(self) -> dict[str, Config]:
        """Every run's configuration, by the name of its directory, such as `depth_4_seed_0`."""
        found = {}
        for name, choices in self.choices.items():
            own = {axis: value for axis, value in choices.items() if axis != VARIANT}
            of_variant = self.variants.get(choices.get(VARIANT, ""), {})
            found[name] = replaced(self.config, **of_variant | own)
        return found

    @property
    def choices(self) -> dict[str, dict[str, Any]]:
        """What tells the runs apart, by the name of their directory: the value of every axis, and
        under `variant` which one it is."""
        found = {}
        for variant in self.variants or (None,):
            for values in itertools.product(*self.axes.values()):
                own = dict(zip(self.axes, values, strict=True))
                parts = [f"{axis}_{file_name(str(value))}" for axis, value in own.items()]
                named = {} if variant is None else {VARIANT: variant}
                found["_".join([*named.values(), *parts])] = named | own
        return found


def load_sweep(run_dir: Path) -> Sweep:
    """What `begin_sweep` wrote. **Raises:** `UserError` if it is not there, or not readable."""
    path = run_dir / SWEEP
    if not path.is_file():
        raise UserError(f"`{run_dir}` is no sweep: it has no {SWEEP}.")
    written = read_config(path, _Written)
    return Sweep(as_config(written.config, path), written.axes, written.variants)


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """`sweep.json`."""

    config: dict[str, Any]
    axes: dict[str, tuple[Any, ...]]
    variants: dict[str, dict[str, Any]] = {}


def _save(sweep: Sweep, run_dir: Path) -> None:
    variants = {name: dict(choices) for name, choices in sweep.variants.items()}
    written = dict(config=sweep.config, axes=dict(sweep.axes), variants=variants)
    write_config(written, run_dir / SWEEP)


def begin_sweep(sweep: Sweep, run_dir: Path, console: Console) -> Sweep:
    """Makes the directory of a new sweep, with all that its runs share, and returns the sweep as it
    was written there.

    **Raises:** `UserError` if a run's choices do not fit one another, or the directory cannot be
    made or is in use.
    """
    for config in sweep.runs.values():
        check(config)
    prepare_run_dir(run_dir)
    for name in sweep.runs:
        prepare_run_dir(run_dir / name, within=run_dir)
    # What `auto` means here is kept for all runs, wherever they are made.
    sweep = dataclasses.replace(sweep, config=with_absolute_path(resolved(sweep.config)))
    _save(sweep, run_dir)
    copy_task_files(sweep.config, run_dir, console.print)
    remember(sweep.config, run_dir)
    return sweep


def update_sweep(sweep: Sweep, run_dir: Path) -> None:
    """Writes down what may change on resuming (budget, evaluation, logging, compute) for all runs.

    **Raises:** `UserError`, before anything changes, if one of them is in use.
    """
    for config in sweep.runs.values():
        check(config)
    with contextlib.ExitStack() as held:
        for name in sweep.runs:
            refuse_link(run_dir / name)
            if (run_dir / name).is_dir():
                held.enter_context(alone(run_dir / name))
        _save(sweep, run_dir)


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
        draws its own pictures, as `train_one` does, and `finish` is not called.
    - `watch`: called several times a second while `jobs` are at work, and after every run.

    **Returns:** 0, or the exit code of the first run that was stopped or failed.
    """
    require_count(jobs, f"train_sweep(jobs={jobs!r})")
    groups = programs(sweep, together=together)
    if jobs > 1:
        flags = ["--trust"] * is_trusting() + ["--refill-replay"] * refill_replay
        needed = {names: collectors(sweep, names) for names in groups}
        return _in_processes(needed, run_dir, console, jobs, flags, watch)
    runs = sweep.runs
    for names in groups:
        console.print(_label(names), highlight=False)
        configs = {run_dir / name: runs[name] for name in names}
        codes = [
            finish(outcome, configs[outcome.run_dir])
            for outcome in _train(configs, console, refill_replay)
        ]
        watch()
        if any(codes):
            return next(filter(None, codes))
    return 0


def programs(sweep: Sweep, *, together: bool) -> list[tuple[str, ...]]:
    """The names of the runs, divided into those that one program trains: each alone, or all seeds
    `together`; those whose agents collect for others come first."""
    groups: list[tuple[Config, list[str]]] = []
    for name, config in sweep.runs.items():
        alike = dataclasses.replace(config, seed=0)
        found = next((names for other, names in groups if together and other == alike), None)
        if found is None:
            groups.append((alike, [name]))
        else:
            found.append(name)
    found = [tuple(names) for _, names in groups]
    return sorted(found, key=lambda names: bool(collectors(sweep, names)))  # collectors first


def collectors(sweep: Sweep, names: Sequence[str]) -> set[str]:
    """The runs of the sweep whose agents collect for these, and which must be trained before."""
    runs = sweep.runs
    found = {collector_dir(runs[name], Path(name)) for name in names}
    return {path.name for path in found if path is not None} & runs.keys()


def _label(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def train_runs(
    run_dir: Path, names: Sequence[str], console: Console, *, refill_replay: bool = False
) -> int:
    """One run of the sweep in `run_dir`, or several seeds together, begun or gone on with, and
    drawn when they have ended. What `python -m crl_eqx.lab RUN_DIR NAME ...` does, on any machine
    that sees the directory.

    **Returns:** 0, or the exit code of a run that was stopped.

    **Raises:** `UserError` if the sweep has no such run, or names the code of a task that the
    user neither began it with nor trusts.
    """
    sweep = load_sweep(run_dir)
    runs = sweep.runs
    for name in names:
        if name not in runs:
            raise UserError(f"`{run_dir}` has no run {name!r}; there are {', '.join(runs)}.")
    require_trust(sweep.config, run_dir)
    configs = {run_dir / name: runs[name] for name in names}
    outcomes = _train(configs, console, refill_replay)
    for outcome in outcomes:
        if not outcome.exit_code:
            say = lambda sentence: console.print(sentence, soft_wrap=True)
            draw_run(configs[outcome.run_dir], outcome.run_dir, say)
    return next((outcome.exit_code for outcome in outcomes if outcome.exit_code), 0)


def _train(
    configs: Mapping[Path, Config], console: Console, refill_replay: bool = False
) -> list[Outcome]:
    begun = [directory for directory in configs if (directory / CONFIG).exists()]
    return train_together(configs, console, begun=begun, refill_replay=refill_replay)


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
    with _handing_on(signal.SIGTERM, waiting, running):
        while waiting or running:
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
            names = next(iter(running))
            process = running.pop(names)
            try:
                code = process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                running[names] = process  # behind the others
                continue
            except KeyboardInterrupt:  # of a terminal, which interrupts the children as well
                running[names] = process
                waiting.clear()
                continue
            log = f"{names[0]}/console.log"
            said = "done" if code == 0 else f"ended with exit code {code}, see {log}"
            console.print(f"{_label(names)}: {said}", highlight=False)
            if code:
                first = first or (code if code > 0 else 128 - code)
                waiting.clear()
    return first


@contextlib.contextmanager
def _handing_on(
    number: int, waiting: list[Any], running: dict[Any, subprocess.Popen[bytes]]
) -> Iterator[None]:
    """While open, this signal goes to the children. Only the main thread can listen to one."""

    def hand_on(number: int, _: Any) -> None:
        waiting.clear()
        for process in running.values():
            process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, hand_on)
    try:
        yield
    finally:
        signal.signal(number, before)
