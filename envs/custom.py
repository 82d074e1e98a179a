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

from .._checks import LARGEST, require_count, require_number, whole_numbers
from .._errors import UserError
from .._fork import not_forked
from .._types import Flag, PRNGKey, State
from ._layout import Part
from ._mj import MjModel, MjSpec, mjtObj, mjtSensor
from ._mujoco import AbstractMujocoEnv, Draw, LONGEST, never, Rules
from ._names import qpos_indices, sensor_indices
from ._own import is_file, model_file, note_spec
from ._physics import AbstractPhysics, PhysicsState, select_physics


SENSOR = "crl_eqx_achieved_goal"


class JointsState(NamedTuple):
    """The layout of the state where the goal is about joints."""

    qpos: Part
    qvel: Part
    activations: Part


class BodyState(NamedTuple):
    """The layout of the state where the goal is about a body."""

    qpos: Part
    qvel: Part
    activations: Part
    body: Part


class MujocoGoalEnv(AbstractMujocoEnv):
    """Bring some joints, a body, or any numbers of the state of a MuJoCo model to a goal.

    The state is qpos, then qvel, then the actuators' activations, if the model has some (muscles,
    `<position timeconst>`), then, if the goal is about a body, that body's x, y, z. What a `delay`
    holds back is part of the physics, but not of the state.
    Success is a Euclidean distance below `threshold`.

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

        - `model`: a file (in a task of `FILE.py:FUNCTION` its path counts from that file, if it is
            there), a specification to compile, or, if the goal is not about a body, a
            compiled model.
        - `joints`, `body` or `goal_indices`: the names of the joints whose qpos, the name of the
            body whose x, y, z, or the numbers of the state (qpos, then qvel) that are the achieved
            goal; one of the three.
        - `draw_goal`: from a random key to a goal.
        - `threshold`, `episode_length`: distance of success, and control steps.

        **Other arguments:**

        - `substeps`: physics steps per control step.
        - `start`: the name of a keyframe of the model, in whose pose and velocity episodes begin;
            the model's reference pose at rest otherwise.
        - `draw_start`: instead, from a random key to qpos and qvel.
        - `ends`: whether a state (any leading axes) ends the episode.
        - `levels`: further thresholds, such as `[("easy", 0.2)]`.
        - `physics`: as in `make`.

        **Raises** `UserError` if MuJoCo cannot read the model, a name or number is not in it, a
        size is wrong, or not one of `joints`, `body` and `goal_indices` is given.
        """
        require_number(threshold, f"MujocoGoalEnv(threshold={threshold!r})", positive=True)
        require_count(
            episode_length, f"MujocoGoalEnv(episode_length={episode_length!r})", most=LONGEST
        )
        _check_levels(levels)
        for name, function in dict(draw_goal=draw_goal, draw_start=draw_start, ends=ends).items():
            if function is not None and not callable(function):
                raise UserError(f"`MujocoGoalEnv({name}={function!r})` must be a function.")
        goal_indices = whole_numbers(goal_indices, f"MujocoGoalEnv(goal_indices={goal_indices!r})")
        if bool(joints) + (body is not None) + bool(goal_indices) != 1:
            raise UserError(
                "`MujocoGoalEnv` needs one of `joints=[...]`, `body=...` and `goal_indices=[...]`."
            )
        compiled = _compiled(model, body)
        self.physics = select_physics(physics, compiled, substeps)
        moving = compiled.nq + compiled.nv
        qpos = Part(0, compiled.nq, "m, rad", "MuJoCo's positions")
        qvel = Part(compiled.nq, moving, "m/s, rad/s", "MuJoCo's velocities")
        seen = moving + compiled.na
        act = Part(moving, seen, "", "of actuators that have one, in MuJoCo's order")
        if body is None:
            layout = JointsState(qpos, qvel, act)
            goal_indices = goal_indices or _joint_indices(compiled, joints)
            _check_indices(goal_indices, moving)
        else:
            place = Part(seen, seen + 3, "m", f"x, y, z of {body}")
            layout, goal_indices = BodyState(qpos, qvel, act, place), place.indices
        self.rules = Rules(layout, goal_indices, threshold, episode_length, tuple(levels))
        self._ends, self._draw_goal = ends, draw_goal
        if draw_start is None:
            draw_start = _start(compiled, start)
        elif start is not None:
            raise UserError(f"`start={start!r}` and `draw_start` both say how episodes begin.")
        self._draw_start = draw_start
        self._check_draws()
        self._check_ends()

    def draw(self, key: PRNGKey) -> Draw:
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
        """Some of them, as they are drawn."""
        with jax.ensure_compile_time_eval():
            keys = jax.random.split(jax.random.key(0), 2)
            starts = [self._draw_start(key) for key in keys]
            if not all(isinstance(start, tuple | list) and len(start) == 2 for start in starts):
                raise UserError("`draw_start` of `MujocoGoalEnv` must give qpos and qvel.")
            draws = [
                Draw(*start, self._draw_goal(key)) for start, key in zip(starts, keys, strict=True)
            ]
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


def _compiled(model: str | Path | MjSpec | MjModel, body: str | None) -> MjModel:
    """The model, with a sensor of the body that the goal is about."""
    call = f"MujocoGoalEnv({str(model)!r})" if isinstance(model, str | Path) else "MujocoGoalEnv"
    if not isinstance(model, str | Path | MjSpec | MjModel):
        raise UserError(
            f"`MujocoGoalEnv({model!r})` needs a model: the path of a file, an `MjSpec` or an "
            f"`MjModel`."
        )
    compiled: Any = model
    if isinstance(model, MjModel):
        if body is not None:
            raise UserError(
                f"`{call}(MjModel, body={body!r})` needs a sensor of that body, and a compiled "
                f"model takes none: give the file, or an `MjSpec`."
            )
    else:
        if isinstance(model, MjSpec):
            note_spec(model)
        elif not is_file(model := model_file(model)):
            raise UserError(f"`{call}`: there is no such file.")
        try:
            spec: Any = model if isinstance(model, MjSpec) else MjSpec.from_file(str(model))
            compiled = spec.compile() if body is None else _with_sensor(spec, body).compile()
        except UserError:
            raise
        except Exception as error:  # MuJoCo's own, of several kinds
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"`{call}`: MuJoCo cannot make a model of it: {reason}.") from error
    if compiled.nv == 0:
        raise UserError(f"`{call}`: the model has no joints, and so nothing that could move.")
    if compiled.nu == 0:
        raise UserError(f"`{call}`: the model has no actuators, and so nothing to act with.")
    _check_numbers_of(compiled, call)
    return compiled


def _check_numbers_of(model: MjModel, call: str) -> None:
    """**Raises:** `UserError` for what MuJoCo accepts but cannot compute with."""
    for part, names in ((model, dir(model)), (model.opt, dir(model.opt))):
        for name in names:
            value = getattr(part, name) if not name.startswith("_") else None
            numbers = np.asarray(value) if isinstance(value, np.ndarray | float) else np.zeros(0)
            if numbers.dtype.kind == "f" and not (np.abs(numbers) <= LARGEST).all():
                raise UserError(f"`{call}`: the model's `{name}` is not finite everywhere.")
    if model.opt.timestep <= 0:
        raise UserError(f"`{call}`: the timestep of {model.opt.timestep} s must be positive.")


def _with_sensor(spec: MjSpec, body: str) -> MjSpec:
    bodies = [b.name for b in spec.bodies]
    if body not in bodies:
        raise UserError(f"`body={body!r}`: the model has no such body, only {', '.join(bodies)}.")
    if SENSOR in [sensor.name for sensor in spec.sensors]:
        raise UserError(f"The model has a sensor {SENSOR!r}: that name is kept for the goal's.")
    spec = spec.copy()
    spec.add_sensor(
        name=SENSOR,
        type=mjtSensor.mjSENS_FRAMEPOS,
        objtype=mjtObj.mjOBJ_XBODY,
        objname=body,
    )
    return spec


def _start(
    model: MjModel, keyframe: str | None
) -> Callable[[PRNGKey], tuple[Float[Array, " nq"], Float[Array, " nv"]]]:
    """Always the same qpos and qvel."""
    if keyframe is None:
        return _Always.of(model.qpos0, np.zeros(model.nv))
    names = [name for i in range(model.nkey) if (name := model.key(i).name)]
    if keyframe not in names:
        known = ", ".join(names) or "none with a name"
        raise UserError(f"`start={keyframe!r}`: the model has no such keyframe, only {known}.")
    key = model.key(keyframe)
    mocap = model.body_mocapid >= 0
    places = (key.mpos, model.body_pos[mocap]), (key.mquat, model.body_quat[mocap])
    if np.any(key.act) or any(not np.allclose(x.ravel(), y.ravel()) for x, y in places):
        raise UserError(
            f"`start={keyframe!r}`: the keyframe sets activations or mocap bodies, and episodes "
            f"begin with its pose and velocity alone. Say those in the model itself, or leave them."
        )
    return _Always.of(key.qpos, key.qvel)


class _Always(NamedTuple):
    """Every episode begins alike. Compared by its numbers, and can be pickled."""

    qpos: tuple[float, ...]
    qvel: tuple[float, ...]

    @classmethod
    def of(cls, qpos: np.ndarray, qvel: np.ndarray) -> "_Always":
        return cls(tuple(qpos.tolist()), tuple(qvel.tolist()))

    def __call__(self, key: PRNGKey) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        del key
        return jnp.array(self.qpos, jnp.float32), jnp.array(self.qvel, jnp.float32)


def _check_levels(levels: Any) -> None:
    try:
        names = [name for name, _ in levels]
        good = all(re.fullmatch(r"(?!se$)[a-zA-Z]\w*(?<!_se)", name) for name in names)
        for _, value in levels:
            require_number(value, f"MujocoGoalEnv(levels={levels!r})", positive=True)
    except (TypeError, ValueError):
        names, good = [], False
    if not good or len({*names}) < len(names):
        raise UserError(
            f"`MujocoGoalEnv(levels={levels!r})` must be distinct names, of letters and digits, "
            f"each with a positive and finite distance."
        )


def _check_indices(indices: Sequence[int], size: int) -> None:
    if not all(0 <= i < size for i in indices):
        raise UserError(
            f"`goal_indices={[*indices]}` must lie between 0 and {size - 1}: the state has {size} "
            f"numbers, qpos and qvel."
        )


def _joint_indices(model: MjModel, joints: Sequence[str]) -> tuple[int, ...]:
    known = [model.joint(i).name for i in range(model.njnt)]
    for joint in joints:
        if joint not in known:
            raise UserError(f"`joints`: the model has no joint {joint!r}, only {', '.join(known)}.")
    return tuple(int(i) for i in qpos_indices(model, *joints))
