"""MuJoCo MJX: the same physics in JAX. Slow to import and to compile, so only used when asked for."""

import equinox as eqx
import jax
import mujoco
from jaxtyping import Array, Float
from mujoco import mjx

from ._base import AbstractPhysics, own_model, PhysicsState


class MjxPhysics(AbstractPhysics):
    """MuJoCo MJX: pure JAX, float32, for accelerators."""

    model: mujoco.MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    _device: "_DeviceModel" = eqx.field(static=True)

    def __init__(self, model: mujoco.MjModel, substeps: int):
        self.model = own_model(model, substeps)
        self.substeps = substeps
        self._device = _DeviceModel(self.model)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        data = self._data(qpos, qvel)
        if self.model.nsensordata > 0:
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                data = mjx.forward(self._device.model, data)
        return PhysicsState(qpos, qvel, data.sensordata)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        data = self._data(physics_state.qpos, physics_state.qvel).replace(ctrl=ctrl)
        # MJX's own code mixes dtypes and ranks freely.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            step = lambda _, d: mjx.step(self._device.model, d)
            data = jax.lax.fori_loop(0, self.substeps, step, data)
        return PhysicsState(data.qpos, data.qvel, data.sensordata)

    def _data(self, qpos, qvel) -> mjx.Data:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            data = mjx.make_data(self.model)
        return data.replace(qpos=qpos, qvel=qvel)


class _DeviceModel:
    """Gives MJX's model, a pytree of arrays, the identity of an object."""

    def __init__(self, model: mujoco.MjModel):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            self.model = mjx.put_model(model)
