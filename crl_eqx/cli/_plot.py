"""`crl-eqx plot RUN ...`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..lab import read_results
from ..run import require_writable
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draws all metrics of a run, or of several over one another, on one sheet."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of runs, or of sweeps."""
    out: Path | None = None
    """The picture; default plots/monitors.png of the run, or with several monitors.png here."""


def plot(arguments: Sequence[str], console: Console) -> int:
    from ..pictures._monitors import monitors  # slow to import

    options = parse(Plot, "plot", arguments)
    if not options.runs:
        raise UserError("`crl-eqx plot DIR ...` needs the directory of a run or a sweep.")
    found = [run for run in read_results(*options.runs).runs if run.rows]
    short = {Path(run.name).name for run in found}
    runs = {
        Path(run.name).name if len(short) == len(found) else run.name: run.rows for run in found
    }
    if not runs:
        raise UserError(f"`{options.runs[0]}` has no metrics yet.")
    alone = len(options.runs) == len(runs) == 1
    default = options.runs[0] / "plots" / "monitors.png" if alone else Path("monitors.png")
    path = options.out or default
    if path.suffix != ".png" or path.is_dir():
        raise UserError(f"`--out {path}` must be a file that ends in .png.")
    require_writable(path.parent, "name another file with `--out`")
    console.print(monitors(runs, path), highlight=False, soft_wrap=True)
    return 0
