"""Your own task on your own MuJoCo model."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import require_count, require_number, require_repeatable, whole_numbers
from .._errors import UserError
from .._fork import not_forked
from .._types import Flag, PRNGKey, State
from ._custom_model import compiled_model, joint_indices, SENSOR, start_of
from ._layout import Part
from ._mj import MjModel, MjSpec
from ._mujoco import AbstractMujocoEnv, Draw, LONGEST, never, Rules
from ._names import sensor_indices
from ._physics import AbstractPhysics, PhysicsState, select_physics


class JointsState(NamedTuple):
    """The layout of the state if the goal is about joints."""

    qpos: Part
    qvel: Part
    activations: Part


class BodyState(NamedTuple):
    """The layout of the state if the goal is about a body."""

    qpos: Part
    qvel: Part
    activations: Part
    body: Part


class MujocoGoalEnv(AbstractMujocoEnv):
    """Bring some joints, a body, or any numbers of the state of a MuJoCo model to a goal.

    The state is qpos, then qvel, then the actuators' activations, if the model has any (muscles,
    `<position timeconst>`), then, if the goal is about a body, that body's x, y, z. What a `delay`
    holds back is part of the physics, but not of the state. An action in [-1, 1] is spread over
    each actuator's `ctrlrange`; where there is none it is the control itself. Success is a
    Euclidean distance below `threshold`.

    ```python
    env = MujocoGoalEnv(
        "my_arm.xml",
        body="hand",
        draw_goal=lambda key: jax.random.uniform(key, (3,), minval=-0.3, maxval=0.3),
        threshold=0.05,
        episode_length=200,
        substeps=5,
    )
    ```

    A body named `target` with `mocap="true"` shows the goal in pictures, if the model has one.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    _draw_goal: Callable[[PRNGKey], Array] = eqx.field(static=True)
    _draw_start: Callable[[PRNGKey], tuple[Array, Array]] = eqx.field(static=True)
    _ends: Callable[[State], Flag] = eqx.field(static=True)

    @not_forked
    def __init__(
        self,
        model: str | Path | MjSpec | MjModel,
        *,
        joints: Sequence[str] = (),
        body: str | None = None,
        goal_indices: Sequence[int | float] = (),
        draw_goal: Callable[[PRNGKey], Array],
        threshold: float,
        episode_length: int,
        substeps: int | float = 1,
        start: str | None = None,
        draw_start: Callable[[PRNGKey], tuple[Array, Array]] | None = None,
        ends: Callable[[State], Flag] = never,
        levels: Sequence[tuple[str, float]] = (),
        physics: str | None = None,
    ):
        """**Main arguments:**

        - `model`: a file (in a task `FILE.py:FUNCTION`, its path is relative to that file's folder,
            if it is there), a specification to compile, or, if the goal is not about a body, a
            compiled model.
        - `joints`, `body` or `goal_indices`: what the achieved goal is, one of the three: the names
            of joints (their qpos), the name of a body (its x, y, z), or the numbers of the state
            (qpos, then qvel).
        - `draw_goal`: a function from a random key to a goal.
        - `threshold`, `episode_length`: success is a distance below `threshold`; an episode takes
            `episode_length` control steps.

        **Other arguments:**

        - `substeps`: physics steps per control step.
        - `start`: the name of a keyframe of the model; episodes begin with its pose and velocity.
            By default they begin at rest in the model's reference pose.
        - `draw_start`: instead of `start`, a function from a random key to qpos and qvel.
        - `ends`: a function that says whether a state (with any leading axes) ends the episode.
        - `levels`: further thresholds, such as `[("easy", 0.2)]`.
        - `physics`: as in `make`.

        **Raises:** `UserError` if MuJoCo cannot read the model, a name or number is not in it, a
        size is wrong, or not exactly one of `joints`, `body` and `goal_indices` is given.
        """
        require_number(threshold, f"MujocoGoalEnv(threshold={threshold!r})", positive=True)
        require_count(
            episode_length, f"MujocoGoalEnv(episode_length={episode_length!r})", most=LONGEST
        )
        levels = _checked_levels(levels)
        for name, function in dict(draw_goal=draw_goal, draw_start=draw_start, ends=ends).items():
            if function is not None and not callable(function):
                raise UserError(f"`MujocoGoalEnv({name}={function!r})` must be a function.")
        goal_indices = whole_numbers(goal_indices, f"MujocoGoalEnv(goal_indices={goal_indices!r})")
        if bool(joints) + (body is not None) + bool(goal_indices) != 1:
            raise UserError(
                "`MujocoGoalEnv` needs one of `joints=[...]`, `body=...` and `goal_indices=[...]`."
            )
        compiled = compiled_model(model, body)
        self.physics = select_physics(physics, compiled, substeps)
        moving = compiled.nq + compiled.nv
        qpos = Part(0, compiled.nq, "m, rad", "MuJoCo's positions")
        qvel = Part(compiled.nq, moving, "m/s, rad/s", "MuJoCo's velocities")
        seen = moving + compiled.na
        act = Part(moving, seen, "", "of actuators that have one, in MuJoCo's order")
        if body is None:
            layout = JointsState(qpos, qvel, act)
            goal_indices = goal_indices or joint_indices(compiled, joints)
            _check_indices(goal_indices, moving)
        else:
            place = Part(seen, seen + 3, "m", f"x, y, z of {body}")
            layout, goal_indices = BodyState(qpos, qvel, act, place), place.indices
        self.rules = Rules(layout, goal_indices, float(threshold), episode_length, levels)
        self._ends, self._draw_goal = ends, draw_goal
        if draw_start is None:
            draw_start = start_of(compiled, start)
        elif start is not None:
            raise UserError(f"`start={start!r}` and `draw_start` both say how episodes begin.")
        self._draw_start = draw_start
        self._check_draws()
        self._check_ends()

    def draw(self, *, key: PRNGKey) -> Draw:
        start_key, goal_key = jax.random.split(key)
        return Draw(*self._draw_start(start_key), self._draw_goal(goal_key))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        parts = [physics_state.qpos, physics_state.qvel, self.physics.activations(physics_state)]
        if isinstance(self.layout, BodyState):
            parts.append(physics_state.sensordata[sensor_indices(self.model, SENSOR)])
        return jnp.concatenate(parts)

    def fallen(self, state: State) -> Flag:
        return self._ends(state)

    def _check_ends(self) -> None:
        flag = jax.eval_shape(self._ends, jnp.zeros(self.state_size))
        if getattr(flag, "shape", None) != () or flag.dtype != jnp.bool_:
            raise UserError(
                f"`ends` of `MujocoGoalEnv` gives {flag!r} for one state; it must give one bool."
            )

    def _check_draws(self) -> None:
        """Checks some of them, as they are drawn."""
        with jax.ensure_compile_time_eval():
            keys = jax.random.split(jax.random.key(0), 2)
            starts = [self._draw_start(key) for key in keys]
            if not all(isinstance(start, tuple | list) and len(start) == 2 for start in starts):
                raise UserError("`draw_start` of `MujocoGoalEnv` must give qpos and qvel.")
            draws = [
                Draw(*start, self._draw_goal(key)) for start, key in zip(starts, keys, strict=True)
            ]
        self._check_keys(keys[0], draws[0])
        sizes = dict(qpos=self.model.nq, qvel=self.model.nv, goal=self.goal_size)
        for name, array in ((name, getattr(draw, name)) for name in sizes for draw in draws):
            which = "draw_goal" if name == "goal" else "draw_start"
            said = f"`{which}` of `MujocoGoalEnv` gives a {name}"
            size, shape = sizes[name], getattr(array, "shape", None)
            if shape != (size,) or array.dtype != jnp.float32:
                given = repr(array) if shape is None else f"of shape {shape} and type {array.dtype}"
                raise UserError(
                    f"{said} {given}; this model and goal need shape ({size},) and float32."
                )
            if not np.isfinite(array).all():
                raise UserError(f"{said} that is not finite: {np.asarray(array)}.")

    def _check_keys(self, key: PRNGKey, drawn: Draw) -> None:
        with jax.ensure_compile_time_eval():
            again = Draw(*self._draw_start(key), self._draw_goal(key))
        for which, names in dict(draw_start=("qpos", "qvel"), draw_goal=("goal",)).items():
            for name in names:
                first, second = getattr(drawn, name), getattr(again, name)
                require_repeatable(first, second, f"`{which}` of `MujocoGoalEnv`", name)


def _checked_levels(levels: Any) -> tuple[tuple[str, float], ...]:
    try:
        found = tuple(levels)
        names = [name for name, _ in found]
        good = all(re.fullmatch(r"(?!se$)[a-zA-Z]\w*(?<!_se)", name) for name in names)
        for _, value in found:
            require_number(value, f"MujocoGoalEnv(levels={levels!r})", positive=True)
    except (TypeError, ValueError):
        found, names, good = (), [], False
    if not good or len({*names}) < len(names):
        raise UserError(
            f"`MujocoGoalEnv(levels={levels!r})` must be distinct names of letters and digits, "
            f"each with a positive and finite distance."
        )
    return tuple((name, float(value)) for name, value in found)


def _check_indices(indices: Sequence[int], size: int) -> None:
    if not all(0 <= i < size for i in indices):
        raise UserError(
            f"`goal_indices={[*indices]}` must lie between 0 and {size - 1}: the state has {size} "
            f"numbers, qpos and qvel."
        )
