"""Does a run take as long as `crl-eqx doctor` says?

    python bench/forecast.py                 # four runs of one to three minutes on one core
    python bench/forecast.py --only reacher

Predicts each run from some seconds of it, and then makes it, evaluations, health rows and
checkpoints included. `off` is how far the prediction is from the truth, relative to it; `within`
whether the truth lies in the range that was told.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import write
from _measure import rounded, wide_console
from rich import box
from rich.console import Console
from rich.table import Table

from crl_eqx.config import Config, PRESETS, replaced
from crl_eqx.lab import forecast
from crl_eqx.run import train


MAZE = {
    "total_env_steps": 500_000,
    "width": 64,
    "eval_every": 100_000,
    "eval_episodes": 64,
    "stop_at_success": None,
    "pictures": False,
}
RUNS: dict[str, Config] = {
    **{
        f"point_u_maze, depth {depth}": replaced(PRESETS["cpu-demo"], depth=depth, **MAZE)
        for depth in (4, 16, 32)
    },
    "reacher": replaced(
        PRESETS["laptop"], env="reacher", total_env_steps=200_000, eval_every=50_000, pictures=False
    ),
}


def measure(name: str, config: Config) -> dict[str, Any]:
    """One run, predicted and made."""
    found = forecast(config)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train(config, Path(folder) / "run", Console(quiet=True))
        took = time.perf_counter() - begun
    return {
        "run": name,
        "predicted_seconds": found.seconds(),
        "low_seconds": found.seconds(found.low),
        "high_seconds": found.seconds(found.high),
        "seconds": took,
        "off": found.seconds() / took - 1,
    }


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table("run", "predicted s", "range", "took s", "off", "within", box=box.SIMPLE)
    for row in rows:
        low, high = row["low_seconds"], row["high_seconds"]
        table.add_row(
            row["run"],
            f"{row['predicted_seconds']:.0f}",
            f"{low:.0f} to {high:.0f}",
            f"{row['seconds']:.0f}",
            f"{row['off']:+.0%}",
            "yes" if low <= row["seconds"] <= high else "no",
        )
    console.print(table)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", default="", help="runs whose name has this")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    options = parser.parse_args()
    rows = [measure(name, config) for name, config in RUNS.items() if options.only in name]
    show(rows, wide_console())
    print(write("forecast", rounded(rows), directory=options.out))


if __name__ == "__main__":
    main()
