"""Draws the success rates of several runs into one picture.

    python docs/make_curves.py runs/arm_reach runs/pusher_easy    # docs/pictures/new_tasks.png
    python docs/make_curves.py RUN... --out FILE.png
    python docs/make_curves.py bench/results/curves-*.json

A run is what `crl-eqx train --run-dir` has written, of one seed or of several, or one of those that
`bench/curves.py` has kept; its band is the standard error over the episodes of an evaluation, or
over seeds. `crl-eqx train` itself draws all curves of one task.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from crl_eqx.config import load_config
from crl_eqx.pictures._curve import _curve, _over_seeds, Rows
from crl_eqx.pictures._figure import save, style
from crl_eqx.run_files import read_metrics


OUT = Path(__file__).parent / "pictures" / "new_tasks.png"
METRICS = {"eval/success_rate": "success rate", "eval/time_at_goal": "control steps at the goal"}


class Run(NamedTuple):
    """The rows of each of its seeds."""

    name: str
    task: str
    seeds: list[Rows]


def _trained(run: Path) -> Run:
    seeds = sorted(run.glob("seed_*")) or [run]
    task = load_config(seeds[0] / "config.json").env
    return Run(run.name, task, [read_metrics(seed / "metrics.jsonl") for seed in seeds])


def _kept(file: Path) -> list[Run]:
    found: dict[str, Run] = {}
    for row in json.loads(file.read_text())["rows"]:
        run = found.setdefault(row["run"], Run(row["run"], row["task"], []))
        run.seeds.append(row["evaluations"])
    return list(found.values())


def read(paths: list[Path]) -> list[Run]:
    """Of directories of runs, and of files of kept ones."""
    each = (_kept(path) if path.suffix == ".json" else [_trained(path)] for path in paths)
    return [run for runs in each for run in runs]


def draw(runs: list[Run], out: Path, metric: str) -> Path:
    # By task, and where two runs are of the same, by what their directories are called.
    tasks = {run.task for run in runs}
    alike, one_task = len(tasks) < len(runs), len(tasks) == 1 < len(runs)
    with style():
        figure = Figure(figsize=(6.5, 3), layout="constrained")
        axes = figure.subplots()
        for run in runs:
            curves = [_curve(rows, metric) for rows in run.seeds]
            steps, rate, error = _over_seeds(curves) if len(curves) > 1 else curves[0].T
            label = f"{run.task}, {run.name}" if alike else run.task
            label = run.name if one_task else label
            (line,) = axes.plot(steps, rate, "o-", markersize=3, label=label)
            low, high = rate - error, rate + error
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        top = 1.03 if metric == "eval/success_rate" else None
        axes.set(title=METRICS[metric], xlabel="environment steps", ylim=(0, top), xlim=(0, None))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(color="#e4e7eb", linewidth=0.7)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return save(figure, out, dpi=130)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=OUT, help="default: docs/pictures")
    parser.add_argument("--metric", choices=METRICS, default="eval/success_rate")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="default: all that there are")
    args = parser.parse_args()
    runs = [run for run in read(args.runs) if args.tasks is None or run.task in args.tasks]
    if not runs:
        parser.error(f"there is no run of {', '.join(args.tasks or ['any task'])}")
    print(f"written to {draw(runs, args.out, args.metric).name}")


if __name__ == "__main__":
    main()
