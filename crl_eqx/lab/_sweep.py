"""A sweep: one configuration, and the choices in which its runs differ."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from .._errors import UserError
from ..run import (
    alone,
    as_config,
    check,
    CONFIG,
    Config,
    file_name,
    keep_files,
    Outcome,
    prepare_run_dir,
    read_config,
    refuse_link,
    remember,
    replaced,
    resolved,
    SWEEP,
    train,
    with_whole_path,
    write_config,
)


Finish = Callable[[Outcome, Config], int]
"""What to do when a run has ended; an exit code other than 0 ends the sweep."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Every combination of some choices on top of one configuration, each a run of its own.

    ```python
    sweep = Sweep(Config(env="ant"), {"depth": (4, 16), "seed": (0, 1, 2)})
    begin_sweep(sweep, Path("runs/ant"), console)
    train_sweep(sweep, Path("runs/ant"), console)    # and again, to go on after a stop
    ```

    **Raises:** `UserError` if an axis names no choice, or no or equal values.
    """

    config: Config
    axes: Mapping[str, tuple[Any, ...]]
    """The values of each choice, by the choice's name; the last one changes fastest."""

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
        for values in itertools.product(*self.axes.values()):
            choices = dict(zip(self.axes, values, strict=True))
            name = "_".join(f"{name}_{file_name(str(value))}" for name, value in choices.items())
            found[name] = replaced(self.config, **choices)
        return found


def load_sweep(run_dir: Path) -> Sweep:
    """What `begin_sweep` wrote. **Raises:** `UserError` if it is not there, or not readable."""
    path = run_dir / SWEEP
    written = read_config(path, _Written)
    return Sweep(as_config(written.config, path), written.axes)


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """`sweep.json`."""

    config: dict[str, Any]
    axes: dict[str, tuple[Any, ...]]


def _save(sweep: Sweep, run_dir: Path) -> None:
    write_config(dict(config=sweep.config, axes=dict(sweep.axes)), run_dir / SWEEP)


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
    sweep = dataclasses.replace(sweep, config=with_whole_path(resolved(sweep.config)))
    _save(sweep, run_dir)
    keep_files(sweep.config, run_dir, console.print)
    remember(sweep.config, run_dir)
    return sweep


def resume_sweep(sweep: Sweep, run_dir: Path) -> None:
    """Writes down a changed budget or logging for all runs. **Raises:** `UserError`, before
    anything changes, if one of them is in use."""
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
    refill_replay: bool = False,
    finish: Finish = lambda outcome, config: outcome.exit_code,
) -> int:
    """Makes the runs one after the other, and goes on with those that were begun.

    **Returns:** 0, or the exit code of the run that was stopped.
    """
    for name, config in sweep.runs.items():
        console.print(name.replace("_", " "), highlight=False)
        directory = run_dir / name
        begun = (directory / CONFIG).exists()
        outcome = train(config, directory, console, resume=begun, refill_replay=refill_replay)
        if code := finish(outcome, config):
            return code
    return 0
