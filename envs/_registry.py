"""Tasks by name."""

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._env import AbstractGoalEnv
from .._errors import UserError
from .._fork import not_forked
from ._gymnasium import has_gymnasium, is_gymnasium, PREFIX, without_gymnasium
from ._maze import Maze, MAZES
from ._mujoco import AbstractMujocoEnv, LONGEST
from ._options import misfit, options_of, read_options, require_known
from ._own import is_own, own_builder
from .tasks.ant import Ant
from .tasks.ant_ball import AntBall
from .tasks.ant_maze import AntMaze
from .tasks.ant_maze_gen import AntMazeGen
from .tasks.ant_push import AntPush
from .tasks.arm_binpick import ArmBinpick
from .tasks.arm_grasp import ArmGrasp
from .tasks.arm_push import ArmPush
from .tasks.arm_reach import ArmReach
from .tasks.cheetah import Cheetah
from .tasks.humanoid import Humanoid
from .tasks.humanoid_maze import HumanoidMaze
from .tasks.point_maze import PointMaze
from .tasks.pusher import Pusher
from .tasks.reacher import Reacher


def _layouts(*mazes: str) -> list[str]:
    """The layouts of these mazes, far goals included."""
    return [layout for layout in MAZES if layout.split("_")[0] in mazes and "single" not in layout]


_POINT = _layouts("u", "u4", "big", "hardest")
_HUMANOID = _layouts("u", "big", "hardest")

# Control steps per episode: four times what walking the longest path takes.
_POINT_STEPS = {"u": 120, "u4": 150, "big": 200, "hardest": 250}


def _point_maze(layout: str) -> Callable[..., AbstractMujocoEnv]:
    steps = _POINT_STEPS[layout.split("_")[0]]
    return functools.partial(PointMaze, layout, episode_length=steps)


_GEN = re.compile(r"(ant_(?:u|u2|u3|u4|u5)_maze)_gen_((?:\d+f)+)")
_NEAR = "1f2f3f"


def _builder(name: str) -> Callable[..., AbstractMujocoEnv] | None:
    """What builds the task of that name; every set of distances makes a `_gen_` task."""
    if gen := _GEN.fullmatch(name):
        layout, distances = gen[1].removeprefix("ant_"), gen[2].split("f")[:-1]
        return functools.partial(AntMazeGen, layout, [int(k) for k in distances])
    return _BUILDERS.get(name)


_BUILDERS: dict[str, Callable[..., AbstractMujocoEnv]] = {
    **{f"point_{layout}": _point_maze(layout) for layout in _POINT},
    "reacher": Reacher,
    "pusher_easy": functools.partial(Pusher, "easy"),
    "pusher_hard": functools.partial(Pusher, "hard"),
    "cheetah": Cheetah,
    "ant": Ant,
    **{f"ant_{layout}": functools.partial(AntMaze, layout) for layout in MAZES},
    "ant_ball": AntBall,
    "ant_push": AntPush,
    "humanoid": Humanoid,
    **{f"humanoid_{layout}": functools.partial(HumanoidMaze, layout) for layout in _HUMANOID},
    "arm_reach": ArmReach,
    "arm_grasp": ArmGrasp,
    **{f"arm_push_{level}": functools.partial(ArmPush, level) for level in ("easy", "hard")},
    **{f"arm_binpick_{level}": functools.partial(ArmBinpick, level) for level in ("easy", "hard")},
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
    """Seconds per step, if known."""
    threshold: float
    """Success is a distance below this, in the goal's units."""
    eval_split: str | None


def names() -> tuple[str, ...]:
    """All tasks, including `_eval` splits; of the `_gen_` tasks, only those with near goals."""
    near = [f"ant_{maze}_maze_gen_{_NEAR}" for maze in ("u", "u2", "u3", "u4", "u5")]
    last = [*_BUILDERS].index("ant_ball")
    return (*[*_BUILDERS][:last], *near, *[*_BUILDERS][last:])


def eval_split(name: str) -> str | None:
    """The task that has only the far goals of task `name`, if there is one."""
    if _GEN.fullmatch(name):
        stem, _, distances = name.rpartition("_")
        layout = stem.removeprefix("ant_").removesuffix("_gen")
        longest = max(int(k) for k in distances.split("f")[:-1])
        farther = range(longest + 1, len(Maze.named(layout, 1.0).path()))
        return f"{stem}_{''.join(f'{k}f' for k in farther)}" if farther else None
    split = f"{name}_eval"
    return split if split in _BUILDERS else None


@not_forked
def make(name: str, /, *, physics: str | None = None, **options: Any) -> AbstractGoalEnv:
    """Builds a task.

    **Arguments:**

    - `name`: one of `names()`; an `ant_*_maze_gen_*` with other distances; `FILE.py:FUNCTION`, for
        a function in your own file that takes `physics` and returns a `MujocoGoalEnv`; or `gym:`
        and the name of a Gymnasium environment.
    - `physics`: `"native"` (MuJoCo's C engine on threads), `"mjx"` (MuJoCo in JAX) or `"warp"`
        (MuJoCo Warp, needs the extra `warp`); by default what is likely the fastest here for a few
        hundred environments. `default_physics(num_envs)` says which it is for more.
    - `options`: the task's own, such as `episode_length`. `task_options(name)` lists them. Each
        task's class documents them; `crl_eqx.envs.gym.GymnasiumGoalEnv` documents those of
        Gymnasium's tasks.

    **Raises:** `UserError` if there is no such task, physics or option.
    """
    if not isinstance(name, str):
        raise UserError(f"`make({name!r})` needs the name of a task, such as 'ant'.")
    builder = _any_builder(name)
    for option, value in options.items():
        require_known(builder, option, f"`make({name!r}, {option}={value!r})`")
    for option, parameter in options_of(builder).items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise UserError(f"`make({name!r})` needs the option `{option}`, which has no default.")
    if not is_gymnasium(name):
        options["physics"] = physics
    elif physics is not None:
        raise UserError(
            f"`make({name!r}, physics={physics!r})`: Gymnasium's tasks bring their own physics."
        )
    env = _built(name, builder, options)
    length = env.episode_length
    if not isinstance(length, int | np.integer) or not 1 <= length <= LONGEST:
        raise UserError(
            f"`{name}`: episodes of {length!r} steps; they must take from 1 to {LONGEST:,}."
        )
    return env


def _built(name: str, builder: Callable[..., Any], options: dict[str, Any]) -> AbstractGoalEnv:
    """**Raises:** `UserError` for a value of the wrong kind: the task's own, which says more, or
    else what its annotation says."""
    wanted = {option: misfit(builder, option, value) for option, value in options.items()}
    wrong = [
        f"`make({name!r}, {option}={options[option]!r})` must be {kind}."
        for option, kind in wanted.items()
        if kind is not None
    ]
    try:
        env = builder(**options)
    except UserError:
        raise
    except Exception as error:
        if not wrong:
            raise
        raise UserError(wrong[0]) from error
    if wrong:
        raise UserError(wrong[0])
    return env


def task_options(name: str) -> Mapping[str, inspect.Parameter]:
    """What `make(name, ...)` takes besides `physics`, with types and defaults.

    **Raises:** `UserError` if there is no such task.
    """
    return options_of(_any_builder(name))


def options_from_words(
    name: str, words: Sequence[str], *, flag: str = "--env-option"
) -> dict[str, Any]:
    """Options for `make(name, ...)` from words such as `torque=gym` or `without_goals=[[2, 5]]`.

    **Raises:** `UserError`, which names `flag`, if the task has no such option or the value has the
    wrong type.
    """
    return read_options(_any_builder(name), words, flag, name)


def _any_builder(name: str) -> Callable[..., AbstractGoalEnv]:
    """What builds one of our tasks, one of Gymnasium's or one of the user's."""
    if is_gymnasium(name):
        return _gymnasium_builder(name)
    if is_own(name):
        return own_builder(name)
    builder = _builder(name)
    if builder is None:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = "`crl-eqx envs` and `names()` list all of them."
        hint = f"Did you mean {' or '.join(near)}?" if near else hint
        hint = f"A task of your own is `{name}:FUNCTION`." if name.endswith(".py") else hint
        raise UserError(f"`make({name!r})`: no such task. {hint}")
    return builder


def _gymnasium_builder(name: str) -> Callable[..., AbstractGoalEnv]:
    if not has_gymnasium():
        raise without_gymnasium(f"make({name!r})")
    from .gym import GymnasiumGoalEnv  # slow to import, and optional

    return functools.partial(GymnasiumGoalEnv, name.removeprefix(PREFIX))


def task(name: str, env: AbstractGoalEnv | None = None) -> Task:
    """One task with its sizes; `env` is what `make` gave, if it was already called.

    **Raises:** `UserError` as `make` does.
    """
    return _task(name, make(name) if env is None else env)


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
