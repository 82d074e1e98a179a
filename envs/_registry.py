"""Tasks by name."""

import difflib
import functools
from typing import Any

from .._errors import UserError
from ._mujoco import AbstractMujocoEnv
from .point_maze import PointMaze


_EVAL = "_eval"

# Control steps per episode: about twice what the longest path takes.
_POINT_STEPS = {"u": 100, "u4": 150, "big": 200, "hardest": 250}

_BUILDERS = {
    f"point_{maze}_maze{split}": functools.partial(
        PointMaze, f"{maze}_maze{split}", episode_length=steps
    )
    for maze, steps in _POINT_STEPS.items()
    for split in ("", _EVAL)
    if (maze, split) != ("hardest", _EVAL)
}


def names() -> tuple[str, ...]:
    """All tasks, `_eval` splits included."""
    return tuple(_BUILDERS)


def eval_split(name: str) -> str | None:
    """The task with the far goals of task `name`, if it has one."""
    return name + _EVAL if name + _EVAL in _BUILDERS else None


def make(name: str, *, physics: str | None = None, **options: Any) -> AbstractMujocoEnv:
    """Builds the task `name`."""
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, _BUILDERS, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`names()` lists all of them."
        raise UserError(f"`make({name!r})`: no such task. {hint}")
    return _BUILDERS[name](physics=physics, **options)
