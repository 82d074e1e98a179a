"""MuJoCo MJX: the same physics in JAX. Slow to import and compile, so used only when asked for."""

import contextlib

import equinox as eqx
import jax
from jaxtyping import Array, Float
from mujoco import mjx

from .._mj import MjModel
from ._base import AbstractPhysics, own_model, PhysicsState


class MjxPhysics(AbstractPhysics):
    """MuJoCo MJX: pure JAX, float32, for accelerators."""

    model: MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    _device: "_DeviceModel" = eqx.field(static=True)

    def __init__(self, model: MjModel, substeps: int):
        self.model = own_model(model, substeps)
        self.substeps = substeps
        self._device = _DeviceModel(self.model)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        with _relaxed():
            data = mjx.make_data(self.model).replace(qpos=qpos, qvel=qvel)
            return self._seen(data)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        with _relaxed():
            data = mjx.make_data(self.model)
            data = data.replace(qpos=physics_state.qpos, qvel=physics_state.qvel, ctrl=ctrl)
            step = lambda _, data: mjx.step(self._device.model, data)
            return self._seen(jax.lax.fori_loop(0, self.substeps, step, data))

    def _seen(self, data: mjx.Data) -> PhysicsState:
        # MuJoCo reads sensors where a step begins; here they belong to its end.
        has_sensors = self.model.nsensordata > 0
        seen = mjx.forward(self._device.model, data) if has_sensors else data
        return PhysicsState(data.qpos, data.qvel, seen.sensordata)


class _DeviceModel:
    """Gives MJX's model, a pytree of arrays, the identity of an object."""

    def __init__(self, model: MjModel):
        with _relaxed():
            self.model = mjx.put_model(model)


@contextlib.contextmanager
def _relaxed():
    """MJX's own code mixes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
