"""How far the runs of a sweep are."""

from pathlib import Path

from rich.table import Table

from ..config import CONFIG
from ._results import METRIC, read_result
from ._sweep import Sweep


def table(sweep: Sweep, run_dir: Path) -> Table:
    """A line for each run: steps, its last success rate, its verdict, minutes at work."""
    columns = "run", "steps", "success", "health", "minutes", ""
    shown = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, config in sweep.runs.items():
        told = name.replace("_", " ")
        if not (run_dir / name / CONFIG).is_file():
            shown.add_row(told, "", "", "", "", "waiting")
            continue
        run = read_result(run_dir / name, name, config)
        curve = run.curve(METRIC)
        verdicts = [row["health/verdict"] for row in run.rows if "health/verdict" in row]
        shown.add_row(
            told,
            f"{run.env_steps:,} of {config.total_env_steps:,}",
            f"{curve[-1, 1]:.2f}" if len(curve) else "",
            verdicts[-1] if verdicts else "",
            f"{60 * run.hours():.1f}",
            "failed" if run.failure else "done" if run.done else "begun",
        )
    return shown
