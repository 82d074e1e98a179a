"""Trajectories over the critic's energy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from .._acting import Acting, deterministic
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._types import PRNGKey
from ..envs import Maze
from ._energy_map import energy_map, far_goal, Field
from ._figure import GREY, INK, save, style
from ._scene import maze_bounds, Record, record


REACHED, MISSED, GOAL, CHOSEN = "#1b4f9c", "#d9480f", "#e03e36", "#ffd43b"
_ENERGY = LinearSegmentedColormap.from_list(
    "energy", ["#e4e2ee", "#c3d3ee", "#a5d3df", "#bfe0b4", "#fbeb9e"]
)


def trajectories(
    env: AbstractGoalEnv,
    agent: Agent,
    path: Path,
    *,
    num_episodes: int = 32,
    acting: Acting = deterministic,
    key: PRNGKey,
    title: str,
) -> Path:
    """Draws fresh episodes over the energy of the critic.

    The background is f(s, π(s, g), g) for one goal g (in a maze the one with the longest way, else
    that of the first episode) at states s that differ from a fresh start in their x and y alone.
    It is left out where x and y cannot be changed alone, as for the tip of an arm, and for agents
    without a critic.
    """
    play_key, energy_key = jax.random.split(key)
    played = record(acting(agent), env, num_episodes, key=play_key)
    maze: Maze | None = getattr(env, "maze", None)
    with style():
        bounds = maze_bounds(env)
        bounds = _square(played) if bounds is None else bounds
        width, height = bounds[1] - bounds[0]
        figure = Figure(figsize=(6, 4.75 * height / width + 1.1), layout="constrained")
        axes = figure.subplots()
        if env.goal_size == 1:
            _draw_over_time(axes, played)
        else:
            axes.set_aspect("equal")
            axes.set_xlim(*bounds[:, 0])
            axes.set_ylim(*bounds[:, 1])
            axes.set_xlabel("x")
            axes.set_ylabel("y")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
            chosen = far_goal(played, maze)
            field = None
            if agent.critic is not None:
                goal = played.goal[0, chosen]
                field = energy_map(env, agent, goal, bounds, maze, key=energy_key)
            if field is not None:
                _draw_energy(figure, axes, field)
            _draw_walls(axes, maze)
            _draw_paths(axes, played, None if field is None else chosen)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
        figure.legend(loc="outside lower center", ncols=5, frameon=False, handletextpad=0.4)
        return save(figure, path, dpi=150)


def _square(played: Record) -> Float[np.ndarray, "2 2"]:
    """Lowest and highest x, y of a square that holds everything."""
    points = np.concatenate([played.position, played.goal_position]).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    half = max(0.55 * float(np.max(high - low)), 1e-3)
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half])


def _draw_energy(figure: Figure, axes: Axes, field: Field) -> None:
    seen = field.energy[field.inside]
    levels = MaxNLocator(14).tick_values(seen.min(), seen.max())
    grid = field.x, field.y, np.clip(field.energy, levels[0], levels[-1])
    filled = axes.contourf(*grid, levels=levels, cmap=_ENERGY)
    axes.contour(*grid, levels=levels, colors="white", linewidths=0.6, linestyles="solid")
    bar = figure.colorbar(filled, cax=axes.inset_axes((1.02, 0, 0.03, 1)))
    bar.set_label("critic's energy for the goal in yellow")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _draw_walls(axes: Axes, maze: Maze | None) -> None:
    for wall in maze.walls if maze is not None else ():
        (x, y), (half_x, half_y) = wall.centre, wall.half_size
        corner = x - half_x, y - half_y
        axes.add_patch(Rectangle(corner, 2 * half_x, 2 * half_y, color=GREY, linewidth=0, zorder=2))


def _draw_paths(axes: Axes, played: Record, chosen: int | None) -> None:
    """Ways, starts and goals; the goal of the episode `chosen` is the one in yellow."""
    _draw_ways(axes, played, lambda way: way.T)
    starts, goals = played.position[0], np.unique(played.goal_position[0], axis=0)
    axes.plot(*starts.T, "o", markersize=4, color="white", markeredgecolor=INK, zorder=5)
    axes.plot([], [], "o", markersize=5, color="white", markeredgecolor=INK, label="start")
    look: dict[str, Any] = dict(color=GOAL, markeredgecolor="white", markeredgewidth=0.8)
    axes.plot(*goals.T, "*", markersize=13, zorder=7, label="goal", **look)
    if chosen is not None:
        goal = played.goal_position[0, chosen]
        axes.plot(*goal, "*", markersize=17, color=CHOSEN, markeredgecolor=INK, zorder=8)


def _draw_ways(axes: Axes, played: Record, drawn: Callable[[np.ndarray], Any]) -> None:
    """One line per episode; `drawn` makes horizontal and vertical numbers of its positions."""
    for wanted, colour, word in ((True, REACHED, "reached"), (False, MISSED, "missed")):
        episodes = np.flatnonzero(played.reached == wanted)
        label: str | None = f"{word} ({len(episodes)})"
        for episode in episodes:
            way = drawn(played.position[: played.length[episode] + 1, episode])
            axes.plot(*way, color=colour, linewidth=1.1, alpha=0.75, zorder=4, label=label)
            label = None


def _draw_over_time(axes: Axes, played: Record) -> None:
    """Goals of one number: how it changes from step to step."""
    _draw_ways(axes, played, lambda way: (np.arange(len(way)), way[:, 0]))
    goals = played.goal_position[0, :, 0]
    end = np.full_like(goals, len(played.position) - 1)
    axes.plot(end, goals, "*", color=GOAL, markersize=11, markeredgecolor="white", label="goal")
    axes.set_xlabel("step")
    axes.set_ylabel("achieved goal")
