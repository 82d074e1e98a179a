"""A sweep: one configuration, and the choices in which its runs differ."""

import contextlib
import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

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
    check_needs,
    copy_task_files,
    on_this_machine,
    refuse_link,
)
from ..run_files import (
    alone,
    prepare_run_dir,
    remember,
    TASK_FILES,
    with_absolute_path,
)


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
                name = "_".join([*named.values(), *parts])
                if name in found:
                    raise UserError(
                        f"`Sweep(axes=...)` has two runs whose directory would be `{name}`: give "
                        f"values that differ in more than signs."
                    )
                found[name] = named | own
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
    check_needs(sweep.runs.values())
    prepare_run_dir(run_dir)
    for name in sweep.runs:
        prepare_run_dir(run_dir / name, within=run_dir)
    # What `auto` means here is kept for all runs, wherever they are made.
    sweep = dataclasses.replace(sweep, config=with_absolute_path(on_this_machine(sweep.config)))
    _save(sweep, run_dir)
    copy_task_files(sweep.config, run_dir, console.print)
    remember(sweep.config, run_dir)
    return sweep


@contextlib.contextmanager
def undone_if_refused(sweep: Sweep, run_dir: Path) -> Iterator[None]:
    """What `begin_sweep` made is taken away again if a mistake is found before one of its runs has
    begun: so that the same command, mended, is not taken for another sweep."""
    try:
        yield
    except UserError:
        if not any((run_dir / name / CONFIG).is_file() for name in sweep.runs):
            (run_dir / SWEEP).unlink(missing_ok=True)
            shutil.rmtree(run_dir / TASK_FILES, ignore_errors=True)
        raise


def update_sweep(sweep: Sweep, run_dir: Path) -> None:
    """Writes down what may change on resuming (budget, evaluation, logging, compute) for all runs,
    and makes room for those that are new.

    **Raises:** `UserError`, before anything changes, if one of them is in use or does not fit.
    """
    for config in sweep.runs.values():
        check(config)
    with contextlib.ExitStack() as held:
        for name in sweep.runs:
            refuse_link(run_dir / name)
            if (run_dir / name).is_dir():
                held.enter_context(alone(run_dir / name))
        for name in sweep.runs:
            if not (run_dir / name).is_dir():
                prepare_run_dir(run_dir / name, within=run_dir)
        _save(sweep, run_dir)
