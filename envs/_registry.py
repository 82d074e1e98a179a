"""Tasks by name."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

from .._env import AbstractGoalEnv
from .._errors import UserError
from ._gymnasium import has_gymnasium, is_gymnasium, PREFIX, without_gymnasium
from ._mujoco import AbstractMujocoEnv
from .ant import Ant
from .ant_maze import AntMaze
from .point_maze import PointMaze
from .reacher import Reacher


_MAZES = ("u", "u4", "big", "hardest")
_WITH_SPLIT = ("u", "u4", "big")
_LAYOUTS = [f"{maze}_maze" for maze in _MAZES] + [f"{maze}_maze_eval" for maze in _WITH_SPLIT]

# Control steps per episode: four times what walking the longest path takes.
_POINT_STEPS = {"u": 120, "u4": 150, "big": 200, "hardest": 250}


def _point_maze(layout: str) -> Callable[..., AbstractMujocoEnv]:
    steps = _POINT_STEPS[layout.split("_")[0]]
    return functools.partial(PointMaze, layout, episode_length=steps)


_BUILDERS: dict[str, Callable[..., AbstractMujocoEnv]] = {
    **{f"point_{layout}": _point_maze(layout) for layout in _LAYOUTS},
    "reacher": Reacher,
    "ant": Ant,
    **{f"ant_{layout}": functools.partial(AntMaze, layout) for layout in _LAYOUTS},
}


@dataclasses.dataclass(frozen=True)
class Task:
    """One line of the table of tasks."""

    name: str
    description: str
    state_size: int
    action_size: int
    goal_size: int
    episode_length: int
    control_dt: float | None
    """Seconds per step, where it is known."""
    threshold: float
    """Success is a distance below this, in the goal's units."""
    eval_split: str | None


def names() -> tuple[str, ...]:
    """All tasks, `_eval` splits included."""
    return tuple(_BUILDERS)


def eval_split(name: str) -> str | None:
    """The task that has only the far goals of task `name`, if there is one."""
    split = f"{name}_eval"
    return split if split in _BUILDERS else None


def make(name: str, *, physics: str | None = None, **options: Any) -> AbstractGoalEnv:
    """Builds a task.

    **Arguments:**

    - `name`: one of `names()`, or `gym:` and the name of an environment of Gymnasium.
    - `physics`: `"native"` (MuJoCo's C engine on threads) or `"mjx"` (MuJoCo in JAX); by default
        `"native"` where JAX runs on a CPU, else `"mjx"`.
    - `options`: the task's own, such as `episode_length`; each task's class documents them, and
        `crl_eqx.envs.gym.GymnasiumGoalEnv` those of Gymnasium's.

    **Raises** `UserError` if there is no such task, physics or option.
    """
    if is_gymnasium(name):
        return _make_gymnasium(name, physics, options)
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, _BUILDERS, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`names()` lists all of them."
        raise UserError(f"`make({name!r})`: no such task. {hint}")
    known = [*inspect.signature(_BUILDERS[name]).parameters]
    for option in set(options) - set(known):
        raise UserError(
            f"`make({name!r}, {option}={options[option]!r})`: no such option. "
            f"This task knows {', '.join(known)}."
        )
    return _BUILDERS[name](physics=physics, **options)


def _make_gymnasium(name: str, physics: str | None, options: dict[str, Any]) -> AbstractGoalEnv:
    if not has_gymnasium():
        raise without_gymnasium(f"make({name!r})")
    if physics is not None:
        raise UserError(
            f"`make({name!r}, physics={physics!r})`: Gymnasium's tasks bring their own physics."
        )
    from .gym import GymnasiumGoalEnv  # slow to import, and optional

    return GymnasiumGoalEnv(name.removeprefix(PREFIX), **options)


def task(name: str) -> Task:
    """One task with its sizes. **Raises** `UserError` as `make` does."""
    return _task(name, make(name))


def tasks() -> tuple[Task, ...]:
    """All tasks with their sizes, for tables."""
    return tuple(_task(name, make(name, physics="native")) for name in names())


def _task(name: str, env: Any) -> Task:
    module = inspect.getmodule(type(env))
    return Task(
        name=name,
        description=(module.__doc__ or "").strip() if module else "",
        state_size=env.state_size,
        action_size=env.action_size,
        goal_size=env.goal_size,
        episode_length=env.episode_length,
        control_dt=env.control_dt,
        threshold=env.threshold,
        eval_split=eval_split(name),
    )
