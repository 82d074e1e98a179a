"""Learning curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ._figure import GREY, save, short_numbers, style


Rows: TypeAlias = Sequence[Mapping[str, Any]]
"""What `metrics.jsonl` holds, line by line."""

CURVE, SPLIT, UNSEEN = "#1f5fa8", "#c2571a", "#2e7d4f"


class Panel(NamedTuple):
    """One set of axes: a title, and the metrics it shows, each with a label and a colour."""

    title: str
    curves: tuple[tuple[str, str, str], ...]
    low: float | None = None
    high: float | None = None


def _evaluated(title: str, name: str, low: float | None = 0.0, high: float | None = None) -> Panel:
    curves = (
        (f"eval/{name}", "all goals", CURVE),
        (f"eval_split/{name}", "far goals", SPLIT),
        (f"eval_unseen/{name}", "unseen goals", UNSEEN),
    )
    return Panel(title, curves, low, high)


PANELS = (
    _evaluated("success rate", "success_rate", 0.0, 1.0),
    _evaluated("time at goal (steps)", "time_at_goal"),
    _evaluated("final distance", "final_distance"),
    Panel("critic loss", (("train/critic_loss", "", CURVE),)),
    Panel("categorical accuracy", (("train/categorical_accuracy", "", CURVE),), 0.0),
    Panel("policy entropy (nats)", (("train/entropy", "", CURVE),)),
)


def learning_curve(runs: Mapping[str, Rows] | Sequence[Rows], path: Path, *, title: str) -> Path:
    """Draws how one run went, or the mean of several seeds of it.

    The band is the standard error: over the episodes of an evaluation for a single run, over seeds
    for several, each of which also has a thin line. A seed that ended before others, as one that
    reached its target does, counts with its last value from there on.
    """
    seeds = list(runs.values() if isinstance(runs, Mapping) else runs)
    with style():
        figure = Figure(figsize=(9, 5), layout="constrained")
        for axes, panel in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
            _draw_panel(axes, panel, seeds)
        over = f", mean of {len(seeds)} seeds ± standard error" if len(seeds) > 1 else ""
        figure.suptitle(title + over, x=0.01, ha="left", fontsize=11, weight="bold")
        return save(figure, path, dpi=160)


def _draw_panel(axes: Axes, panel: Panel, seeds: Sequence[Rows]) -> None:
    drawn = [_draw_curve(axes, name, label, c, seeds) for name, label, c in panel.curves]
    axes.set_title(panel.title)
    axes.grid(color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(short_numbers())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("environment steps")
    axes.set_xlim(left=0)
    if panel.high is None:
        axes.set_ylim(bottom=panel.low)
    else:
        axes.set_ylim(panel.low, panel.high * 1.03)
    if not any(drawn):
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", color=GREY)
    elif sum(drawn) > 1:
        axes.legend(frameon=False, fontsize=8, loc="best")


def _draw_curve(axes: Axes, name: str, label: str, colour: str, seeds: Sequence[Rows]) -> bool:
    """Whether there was anything to draw."""
    curves = [curve for rows in seeds if len(curve := _curve(rows, name))]
    if not curves:
        return False
    if len(curves) == 1:
        steps, mean, error = curves[0].T
    else:
        steps, mean, error = _over_seeds(curves)
        for curve in curves:
            axes.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=0.6, alpha=0.4)
    axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    marker = "o" if len(steps) <= 30 else None
    axes.plot(steps, mean, color=colour, linewidth=1.6, marker=marker, markersize=3, label=label)
    return True


def _curve(rows: Rows, name: str) -> Float[np.ndarray, "rows 3"]:
    """Steps, value and standard error (0 where none is known) of the rows that have the metric."""
    points = [
        (row["env_steps"], row[name], row.get(f"{name}_se") or 0.0)
        for row in rows
        if row.get(name) is not None and np.isfinite(row[name])
    ]
    return np.array(points, float).reshape(-1, 3)


def _over_seeds(curves: Sequence[Float[np.ndarray, "_ 3"]]):
    """Steps, mean and standard error over the seeds that had begun, each of which keeps its last
    value: a mean over those that still go on would fall when the best are done."""
    steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    values = np.stack([np.interp(steps, c[:, 0], c[:, 1], left=np.nan) for c in curves])
    count = np.sum(np.isfinite(values), axis=0)
    mean = np.nansum(values, axis=0) / count
    squares = np.nansum((values - mean[None]) ** 2, axis=0)
    return steps, mean, np.sqrt(squares / np.maximum(count - 1, 1) / count)
