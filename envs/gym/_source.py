"""Where Gymnasium environments come from: a name, a function or a vector environment."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import VectorEnv

from ..._errors import first_line, UserError
from .._mj import mjtJoint
from ._host import Store
from ._simulators import SinglesStore, TogetherStore


ROBOTICS = "gymnasium_robotics"


class Source(NamedTuple):
    """A store of environments, and what one of them says about itself."""

    call: str
    """As the user wrote it."""
    store: Store
    observations: Any
    actions: Any
    """The spaces of one environment."""
    limit: int | None
    """Steps after which Gymnasium itself would truncate."""
    threshold: float | None
    control_dt: float | None


def source(
    env: str | Callable[[], gymnasium.Env] | None,
    vector: Callable[[int], VectorEnv] | None,
    options: Mapping[str, Any],
) -> Source:
    """**Raises:** `UserError` if there is no such environment."""
    if (env is None) == (vector is None) or (options and not isinstance(env, str)):
        raise UserError(
            "`GymnasiumGoalEnv` needs a name (with options, if any), a function that makes an "
            "environment, or `vector=...`: exactly one of the three."
        )
    spec = _spec(env) if isinstance(env, str) else None
    _repair_robotics()
    if vector is not None:
        return _from_vector(vector)
    if spec is None:
        if not callable(env):
            raise UserError(
                f"`GymnasiumGoalEnv({env!r})` needs a name, or a function that makes a new "
                f"environment at every call: one is made for each that runs at once."
            )
        found = _from_function("GymnasiumGoalEnv(...)", env)
        found.store.give_back(found.store.take(2))  # raises if it gives the same one twice
        return found
    call = f"GymnasiumGoalEnv({env!r})"

    def make() -> gymnasium.Env:
        return gymnasium.make(spec, max_episode_steps=-1, disable_env_checker=True, **options)

    try:
        found = _from_function(call, make)
    except (TypeError, gymnasium.error.Error, ImportError) as error:
        reason = first_line(error).rstrip(".")
        raise UserError(f"`{call}` cannot be made: {reason}.") from error
    return found._replace(limit=spec.max_episode_steps)


def _from_function(call: str, make: Callable[[], gymnasium.Env]) -> Source:
    env = make()
    spaces = env.observation_space, env.action_space
    limit = None if env.spec is None else env.spec.max_episode_steps
    store = SinglesStore(make, env)
    return Source(call, store, *spaces, limit, _threshold(env.unwrapped), _dt(env.unwrapped))


def _from_vector(make: Callable[[int], VectorEnv]) -> Source:
    envs = make(1)
    spaces = envs.single_observation_space, envs.single_action_space
    limit = None if envs.spec is None else envs.spec.max_episode_steps
    store = TogetherStore(make, envs)
    return Source("GymnasiumGoalEnv(vector=...)", store, *spaces, limit, None, None)


def _threshold(inner: Any) -> float | None:
    """A goal environment's own threshold of success."""
    if hasattr(inner, "rotation_threshold"):
        return None  # success also depends on an angle
    if type(inner).__module__.startswith(f"{ROBOTICS}.envs.maze."):
        return 0.45  # in its code, but without a name
    found = getattr(inner, "distance_threshold", None)
    return None if found is None else float(found)


def _dt(inner: Any) -> float | None:
    found = getattr(inner, "dt", None)
    return float(found) if isinstance(found, int | float) else None


def _spec(name: str) -> Any:
    module, _, inner = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever its code raises
            reason = first_line(error).rstrip(".")
            raise UserError(
                f"`GymnasiumGoalEnv({name!r})`: importing `{module}` raised "
                f"{type(error).__name__}: {reason}."
            ) from error
        name = inner
    try:
        return gymnasium.spec(name)
    except (gymnasium.error.Error, ImportError) as error:
        robotics = _with_robotics()
        if robotics and name in gymnasium.registry:
            return gymnasium.spec(name)
        reason = first_line(error).rstrip(".")
        hint = "" if robotics else "; gymnasium-robotics is not installed"
        raise UserError(f"`GymnasiumGoalEnv({name!r})`: {reason}{hint}.") from error


def _with_robotics() -> bool:
    """Registers gymnasium-robotics, if it is installed: Fetch, the mazes, the hands."""
    if importlib.util.find_spec(ROBOTICS) is None:
        return False
    gymnasium.register_envs(importlib.import_module(ROBOTICS))
    return True


def _repair_robotics() -> None:
    """Lets gymnasium-robotics 1.4 recognize the joints of MuJoCo 3.17.

    It asks `np.int32(2) in (mjtJoint.mjJNT_HINGE, mjtJoint.mjJNT_SLIDE)`, but MuJoCo's constants no
    longer say that they equal NumPy's numbers. Its helpers get plain numbers instead.
    """
    equal = np.int32(int(mjtJoint.mjJNT_SLIDE)) in (mjtJoint.mjJNT_SLIDE,)
    if equal or ROBOTICS not in sys.modules:
        return
    helpers: Any = importlib.import_module(f"{ROBOTICS}.utils.mujoco_utils")
    helpers.mujoco = _PlainJoints()


class _PlainJoints:
    """The module `mujoco`, with the types of joints as plain numbers."""

    def __init__(self):
        numbers = {name: int(value) for name, value in mjtJoint.__members__.items()}
        self.mjtJoint = type("mjtJoint", (), numbers)

    def __getattr__(self, name: str) -> Any:
        return getattr(mujoco, name)
