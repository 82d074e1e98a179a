"""`crl-eqx report` and `crl-eqx compare`."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from .._errors import UserError
from ..lab import compare as write_comparison, METRIC, report as write_report
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Report:
    """What some runs say, as a page and as Markdown: of a sweep or a ladder, in its directory, or
    of runs that were made separately."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of sweeps, or of runs."""
    out: Path | None = None
    """Where to write; default the sweep's own directory, or with several `comparison`."""
    metric: str = METRIC
    """What to compare: any number that evaluations write, such as eval/time_at_goal."""
    price_per_hour: float = 0.0
    """Of the machine, in any currency; with it the report says what each run cost."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Puts runs side by side that were made separately: a table of all runs as CSV, and a figure
    for a paper as PDF."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of runs, or of sweeps."""
    out: Path = Path("comparison")
    """Where to write."""
    metric: str = METRIC
    """What to compare: any number that evaluations write, such as eval/time_at_goal."""


def report(arguments: Sequence[str], console: Console) -> int:
    options = parse(Report, "report", arguments)
    _require_runs(options.runs, "report")
    if not 0 <= options.price_per_hour < math.inf:
        raise UserError(f"`--price-per-hour {options.price_per_hour:g}` must be 0 or positive.")
    out = options.out or (Path("comparison") if len(options.runs) > 1 else options.runs[0])
    price = options.price_per_hour
    page = write_report(*options.runs, out=out, metric=options.metric, price_per_hour=price)
    text = (out / "report.md").read_text()
    console.print(text, highlight=False, soft_wrap=True)
    console.print(f"page             {page}", highlight=False, soft_wrap=True)
    return 0


def compare(arguments: Sequence[str], console: Console) -> int:
    options = parse(Compare, "compare", arguments)
    _require_runs(options.runs, "compare")
    table, figure = write_comparison(*options.runs, out=options.out, metric=options.metric)
    console.print(table.read_text(), highlight=False, soft_wrap=True)
    for told in (f"table            {table}", f"figure           {figure}"):
        console.print(told, highlight=False, soft_wrap=True)
    return 0


def _require_runs(runs: Sequence[Path], command: str) -> None:
    if not runs:
        raise UserError(f"`crl-eqx {command} DIR ...` needs the directory of a run or a sweep.")
