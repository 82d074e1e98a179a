"""All that a run's rows tell, on one sheet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .._verdict import VERDICTS
from ._figure import save, short_numbers, style
from ._sweep import block_map, colours


Rows: TypeAlias = Sequence[Mapping[str, Any]]


class Panel(NamedTuple):
    """One chart: the metrics in it, solid, dashed and dotted."""

    title: str
    metrics: tuple[str, ...]
    log: bool = False


PANELS = (
    Panel("success rate", ("eval/success_rate", "eval_split/success_rate")),
    Panel("steps at the goal", ("eval/time_at_goal",)),
    Panel("final distance", ("eval/final_distance",)),
    Panel("critic loss", ("train/critic_loss",)),
    Panel("policy loss", ("train/actor_loss",)),
    Panel("categorical accuracy", ("train/categorical_accuracy",), log=True),
    Panel("positives' energy over negatives'", ("health/logit_gap",)),
    Panel("temperature α", ("train/alpha",), log=True),
    Panel("entropy of the policy", ("train/entropy",)),
    Panel(
        "gradient: policy, critic", ("train/actor_grad_norm", "train/critic_grad_norm"), log=True
    ),
    Panel(
        "update to weight: policy, critic",
        ("health/actor_update_to_weight", "health/critic_update_to_weight"),
        log=True,
    ),
    Panel("effective rank: φ, ψ", ("health/sa_repr_rank", "health/g_repr_rank")),
    Panel("mean cosine: φ, ψ", ("health/sa_repr_mean_cosine", "health/g_repr_mean_cosine")),
    Panel("uniformity: φ, ψ", ("health/sa_repr_uniformity", "health/g_repr_uniformity")),
    Panel("alignment of φ and ψ", ("health/alignment",)),
    Panel("goals that the replay covers", ("health/coverage",)),
    Panel("saturated actions", ("health/action_saturated_fraction",)),
    Panel("environment steps per second", ("time/env_steps_per_second",), log=True),
)

_COLUMNS = 3
_STYLES = "-", "--", ":"
_VERDICT_COLOURS = ("#7bb662", "#d9dde2", "#f0c808", "#e8871e", "#c8553d", "#8c2f39", "#3d0c11")


def monitors(runs: Mapping[str, Rows], path: Path) -> Path:
    """A chart for each metric that the runs wrote; for one run also the maps of its gradients and
    activations by block. At the bottom each run's verdicts over time.

    **Arguments:**

    - `runs`: rows of metrics by the name of their run.
    """
    known = {name for rows in runs.values() for row in rows for name in row}
    panels = [panel for panel in PANELS if known & {*panel.metrics}]
    maps = sorted(n for n in known if n.endswith(("_block_grad_norms", "_activation_scales")))
    maps = maps if len(runs) == 1 else []
    lines = -(-(len(panels) + len(maps)) // _COLUMNS)
    height = 0.35 * len(runs) + 0.5
    with style():
        figure = Figure(figsize=(10, 2.1 * lines + height), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(2.1 * lines, height))
        upper, lower = parts
        grid = upper.subplots(lines, _COLUMNS, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _chart(axes, panel, runs)
        (rows,) = runs.values() if maps else (None,)
        for axes, name in zip(grid[len(panels) :], maps, strict=False):
            _map(upper, axes, name, rows or ())
        for axes in grid[len(panels) + len(maps) :]:
            axes.set_axis_off()
        if len(runs) > 1:
            handles = [
                Patch(color=colour, label=name)
                for name, colour in zip(runs, colours(len(runs)), strict=True)
            ]
            upper.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False)
        _verdicts(lower.subplots(), runs)
        return save(figure, path, dpi=110)


def _series(rows: Rows, name: str) -> tuple[list[int], list[Any]]:
    found = [(row["env_steps"], row[name]) for row in rows if name in row]
    return [at for at, _ in found], [value for _, value in found]


def _chart(axes: Any, panel: Panel, runs: Mapping[str, Rows]) -> None:
    for rows, colour in zip(runs.values(), colours(len(runs)), strict=True):
        for metric, line in zip(panel.metrics, _STYLES, strict=False):
            at, values = _series(rows, metric)
            if panel.log:  # which has no place for a zero
                values = [value if value > 0 else np.nan for value in values]
            axes.plot(at, values, line, color=colour, linewidth=1.3)
            _, errors = _series(rows, f"{metric}_se")
            if len(errors) == len(values) > 0:
                low, high = np.subtract(values, errors), np.add(values, errors)
                axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_title(panel.title)
    if panel.log:
        axes.set_yscale("log")
    axes.xaxis.set_major_formatter(short_numbers())
    axes.grid(color="#e4e7eb", linewidth=0.7)


def _map(figure: Any, axes: Any, name: str, rows: Rows) -> None:
    at, values = _series(rows, name)
    image = block_map(axes, at, np.array(values, float))
    axes.set_title("log₁₀ " + name.removeprefix("health/").replace("_", " "))
    figure.colorbar(image, ax=axes, shrink=0.9)


def _verdicts(axes: Any, runs: Mapping[str, Rows]) -> None:
    shown = set()
    for place, rows in enumerate(runs.values()):
        at, words = _series(rows, "health/verdict")
        for start, end, word in zip([0, *at], at, words, strict=False):
            colour = _VERDICT_COLOURS[VERDICTS.index(word)] if word in VERDICTS else "#ffffff"
            axes.barh(place, end - start, left=start, color=colour, height=0.7)
            shown.add(word)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.xaxis.set_major_formatter(short_numbers())
    axes.set_xlabel("environment steps")
    pairs = zip(VERDICTS, _VERDICT_COLOURS, strict=True)
    handles = [Patch(color=colour, label=word) for word, colour in pairs if word in shown]
    if handles:
        axes.legend(handles=handles, ncols=4, fontsize=8, frameon=False, loc="lower left",
                    bbox_to_anchor=(0, 1))  # fmt: skip
