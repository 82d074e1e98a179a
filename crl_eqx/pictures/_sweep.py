"""Figures of several runs: curves, score against depth, gradients along depth."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..store._files import unlinked
from ._figure import save, short_numbers, style


Point = tuple[Any, float, float, float, Sequence[float]]
"""Where, the value, its interval from low to high, and every run's."""


def colours(count: int) -> list[Any]:
    """From dark to light."""
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, max(count, 2))][:count]


@runtime_checkable
class Banded(Protocol):
    """A curve with its uncertainty, each `[points]`."""

    @property
    def at(self) -> Float[np.ndarray, " points"]: ...
    @property
    def value(self) -> Float[np.ndarray, " points"]: ...
    @property
    def low(self) -> Float[np.ndarray, " points"]: ...
    @property
    def high(self) -> Float[np.ndarray, " points"]: ...


def group_curves(curves: Mapping[str, Banded], path: Path, *, x: str, y: str) -> Path:
    """Every group's curve with its band."""
    with style():
        figure = Figure(figsize=(6.5, 3.6), layout="constrained")
        axes = figure.subplots()
        _curves(axes, curves, x, y)
        axes.legend(frameon=False, fontsize=8)
        return save(figure, path, dpi=130)


def _curves(axes: Any, curves: Mapping[str, Banded], x: str, y: str) -> None:
    for (label, band), colour in zip(curves.items(), colours(len(curves)), strict=True):
        if not len(band.at):
            continue
        axes.fill_between(band.at, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(band.at, band.value, color=colour, linewidth=1.8, label=label)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(short_numbers())
    axes.grid(color="#e4e7eb", linewidth=0.7)


def scores(
    points: Sequence[Point],
    path: Path,
    *,
    title: str,
    x: str,
    y: str,
) -> Path:
    """Values with their intervals, and every run as a dot."""
    with style():
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        axes = figure.subplots()
        _scores(axes, points, x, y)
        axes.set_title(title)
        return save(figure, path, dpi=130)


def _scores(axes: Any, points: Sequence[Point], x: str, y: str) -> None:
    places = [str(point[0]) for point in points]
    for place, (_, value, low, high, runs) in zip(places, points, strict=True):
        axes.plot([place] * len(runs), runs, "o", color="#8a94a0", markersize=3, alpha=0.7)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([place, place], [low, high], color="#1f5fa8", linewidth=1.6)
        axes.plot([place], [value], "o", color="#1f5fa8", markersize=6)
    axes.plot(places, [point[1] for point in points], color="#1f5fa8", linewidth=0.8)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(axis="x", rotation=30 if max(map(len, places), default=0) > 6 else 0)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.7)


def comparison(
    curves: Mapping[str, Banded], points: Sequence[Point], path: Path, *, x: str, y: str
) -> Path:
    """Curves, and beside them the last scores: a figure for a paper, as wide as its text."""
    with style():
        figure = Figure(figsize=(6.75, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _curves(left, curves, "environment steps", y)
        left.legend(frameon=False, fontsize=7)
        _scores(right, points, x, y)
        figure.savefig(unlinked(path), format="pdf", metadata={"CreationDate": None})
        return path


def block_map(axes: Any, steps: Sequence[int], values: Float[np.ndarray, "time blocks"]) -> Any:
    """Blocks upwards, time to the right; the logarithm as colour. **Returns:** the mesh."""
    logs = np.log10(np.maximum(values, 1e-12)).T
    # Rows need not be equally far apart: each is shown until the next.
    last = steps[-1] - steps[-2] if len(steps) > 1 else 1
    edges = [*steps, steps[-1] + last]
    axes.xaxis.set_major_formatter(short_numbers())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return axes.pcolormesh(edges, np.arange(len(logs) + 1) + 0.5, logs, cmap="magma")


def gradient_map(
    rows: Mapping[str, tuple[Sequence[int], Float[np.ndarray, "time blocks"]]], path: Path
) -> Path:
    """One panel per group: gradient norms of the residual blocks (upwards) over training."""
    with style():
        figure = Figure(figsize=(2.6 * len(rows) + 0.8, 2.8), layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, (label, (steps, norms)) in zip(panels, rows.items(), strict=True):
            image = block_map(axes, steps, norms)
            axes.set_title(label)
            axes.set_xlabel("environment steps")
            figure.colorbar(image, ax=axes, shrink=0.8)
        panels[0].set_ylabel("block, log₁₀ of its gradient norm")
        return save(figure, path, dpi=130)
