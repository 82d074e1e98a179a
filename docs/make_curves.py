"""Draws the success rates of several runs into one picture.

    python docs/make_curves.py runs/arm_reach runs/pusher_easy    # docs/pictures/new_tasks.png
    python docs/make_curves.py RUN... --out FILE.png

A run is what `crl-eqx train --run-dir` has written, of one seed or of several; its band is the
standard error over the episodes of an evaluation, or over seeds. `crl-eqx train` itself draws all
curves of one task.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from crl_eqx.config import load_config
from crl_eqx.pictures._curve import _curve, _over_seeds
from crl_eqx.pictures._figure import save, style
from crl_eqx.run_files import read_metrics


OUT = Path(__file__).parent / "pictures" / "new_tasks.png"
METRICS = {"eval/success_rate": "success rate", "eval/time_at_goal": "control steps at the goal"}


def _seeds(run: Path) -> list[Path]:
    return sorted(run.glob("seed_*")) or [run]


def draw(runs: list[Path], out: Path, metric: str) -> Path:
    tasks = [load_config(_seeds(run)[0] / "config.json").env for run in runs]
    # By task, and where two runs are of the same, by what their directories are called.
    alike, one_task = len(set(tasks)) < len(tasks), len(set(tasks)) == 1 < len(tasks)
    with style():
        figure = Figure(figsize=(6.5, 3), layout="constrained")
        axes = figure.subplots()
        for run, task in zip(runs, tasks, strict=True):
            curves = [_curve(read_metrics(s / "metrics.jsonl"), metric) for s in _seeds(run)]
            steps, rate, error = _over_seeds(curves) if len(curves) > 1 else curves[0].T
            label = run.name if one_task else f"{task}, {run.name}" if alike else task
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
    args = parser.parse_args()
    print(f"written to {draw(args.runs, args.out, args.metric).name}")


if __name__ == "__main__":
    main()
