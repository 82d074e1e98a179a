"""Figures of several runs: curves, score against depth, gradients along depth."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ._figure import save, style


Curve = Float[np.ndarray, "points 2"]


def colours(count: int) -> list[Any]:
    """From dark to light."""
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, max(count, 2))][:count]


def group_curves(
    groups: Mapping[str, Sequence[Curve]], path: Path, *, title: str, x: str, y: str
) -> Path:
    """For every group the mean over its runs and their range; a thin line for each run."""
    with style():
        figure = Figure(figsize=(6.5, 3.6), layout="constrained")
        axes = figure.subplots()
        for (label, curves), colour in zip(groups.items(), colours(len(groups)), strict=True):
            curves = [curve for curve in curves if len(curve)]
            if not curves:
                continue
            at = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
            values = [
                np.interp(at, c[:, 0], c[:, 1], left=math.nan, right=math.nan) for c in curves
            ]
            table = np.ma.masked_invalid(np.stack(values))
            for curve in curves:
                axes.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=0.5, alpha=0.5)
            low, high = table.min(axis=0), table.max(axis=0)
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, table.mean(axis=0), color=colour, linewidth=1.8, label=label)
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(color="#e4e7eb", linewidth=0.7)
        axes.legend(frameon=False, fontsize=8)
        return save(figure, path, dpi=130)


def scores(
    points: Sequence[tuple[Any, float, float, float, Sequence[float]]],
    path: Path,
    *,
    title: str,
    x: str,
    y: str,
) -> Path:
    """`(x, value, low, high, runs)` each: the value with its interval, and every run as a dot."""
    with style():
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        axes = figure.subplots()
        places = [str(point[0]) for point in points]
        for place, (_, value, low, high, runs) in zip(places, points, strict=True):
            axes.plot([place] * len(runs), runs, "o", color="#8a94a0", markersize=3, alpha=0.7)
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([place, place], [low, high], color="#1f5fa8", linewidth=1.6)
            axes.plot([place], [value], "o", color="#1f5fa8", markersize=6)
        axes.plot(places, [point[1] for point in points], color="#1f5fa8", linewidth=0.8)
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.7)
        return save(figure, path, dpi=130)


def gradient_map(
    rows: Mapping[str, tuple[Sequence[int], Float[np.ndarray, "time blocks"]]], path: Path
) -> Path:
    """One panel per group: gradient norms of the residual blocks (upwards) over training."""
    with style():
        figure = Figure(figsize=(2.6 * len(rows) + 0.8, 2.8), layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, (label, (steps, norms)) in zip(panels, rows.items(), strict=True):
            logs = np.log10(np.maximum(norms, 1e-12)).T
            extent = (steps[0], max(steps[-1], steps[0] + 1), 0.5, len(logs) + 0.5)
            image = axes.imshow(logs, aspect="auto", origin="lower", extent=extent, cmap="magma")
            axes.set_title(label)
            axes.set_xlabel("environment steps")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            figure.colorbar(image, ax=axes, shrink=0.8)
        panels[0].set_ylabel("block, log₁₀ of its gradient norm")
        return save(figure, path, dpi=130)
