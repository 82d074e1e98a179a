"""`crl-eqx report`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from ..lab import report as write_report
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Report:
    """What the runs of a sweep or a ladder say, as a page and as Markdown in its directory."""

    sweep: tyro.conf.Positional[Path]
    """Directory of the sweep."""
    metric: str = "eval/success_rate"
    """What to compare: any number that evaluations write, such as eval/time_at_goal."""


def report(arguments: Sequence[str], console: Console) -> int:
    options = parse(Report, "report", arguments)
    page = write_report(options.sweep, metric=options.metric)
    console.print(
        (options.sweep / "report.md").read_text(), markup=False, highlight=False, soft_wrap=True
    )
    console.print(f"page             {page}", highlight=False, soft_wrap=True)
    return 0
