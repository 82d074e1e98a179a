"""A user's own MuJoCo model, compiled, and how episodes begin in it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import LARGEST
from .._errors import UserError
from .._types import PRNGKey
from ._mj import MjModel, MjSpec, mjtObj, mjtSensor
from ._names import qpos_indices
from ._own import is_file, model_file, note_model


SENSOR = "crl_eqx_achieved_goal"


def compiled_model(model: str | Path | MjSpec | MjModel, body: str | None) -> MjModel:
    """The model, with a sensor for the body that the goal is about."""
    call = f"MujocoGoalEnv({str(model)!r})" if isinstance(model, str | Path) else "MujocoGoalEnv"
    if not isinstance(model, str | Path | MjSpec | MjModel):
        raise UserError(
            f"`MujocoGoalEnv({model!r})` needs a model: the path of a file, an `MjSpec` or an "
            f"`MjModel`."
        )
    compiled: Any = model
    if isinstance(model, MjModel):
        note_model(model)
        if body is not None:
            raise UserError(
                f"`{call}(MjModel, body={body!r})` needs a sensor for that body, and a compiled "
                f"model takes none: give the file, or an `MjSpec`."
            )
    else:
        if isinstance(model, MjSpec):
            note_model(model)
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
        raise UserError(f"`{call}`: the model has no joints, and so nothing can move.")
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
        raise UserError(f"The model has a sensor {SENSOR!r}: that name is reserved for the goal.")
    spec = spec.copy()
    spec.add_sensor(
        name=SENSOR,
        type=mjtSensor.mjSENS_FRAMEPOS,
        objtype=mjtObj.mjOBJ_XBODY,
        objname=body,
    )
    return spec


def start_of(
    model: MjModel, keyframe: str | None
) -> Callable[[PRNGKey], tuple[Float[Array, " nq"], Float[Array, " nv"]]]:
    """A function that always gives the same qpos and qvel."""
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
            f"`start={keyframe!r}`: the keyframe sets activations or mocap bodies, but episodes "
            f"begin only with its pose and velocity: set those in the model itself, or remove them."
        )
    return _Always.of(key.qpos, key.qvel)


class _Always(NamedTuple):
    """Every episode begins the same way. It is compared by its numbers, and can be pickled."""

    qpos: tuple[float, ...]
    qvel: tuple[float, ...]

    @classmethod
    def of(cls, qpos: np.ndarray, qvel: np.ndarray) -> "_Always":
        return cls(tuple(qpos.tolist()), tuple(qvel.tolist()))

    def __call__(self, key: PRNGKey) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        del key
        return jnp.array(self.qpos, jnp.float32), jnp.array(self.qvel, jnp.float32)


def joint_indices(model: MjModel, joints: Sequence[str]) -> tuple[int, ...]:
    known = [model.joint(i).name for i in range(model.njnt)]
    for joint in joints:
        if joint not in known:
            raise UserError(f"`joints`: the model has no joint {joint!r}, only {', '.join(known)}.")
    return tuple(int(i) for i in qpos_indices(model, *joints))
