"""MuJoCo MJX: the same physics in JAX. Slow to import and compile, so used only on request."""

import contextlib
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..._errors import UserError
from .._mj import MjModel
from ._base import AbstractPhysics, own_model, PhysicsState, refuse_hidden, shared
from ._mjx_module import mjx as mjx
from ._near import NearWalls


class MjxPhysics(AbstractPhysics):
    """MuJoCo MJX: pure JAX, float32, for accelerators."""

    name: ClassVar[str] = "mjx"

    model: MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    pool: tuple[MjModel, ...] = eqx.field(static=True)
    _near: NearWalls = eqx.field(static=True)
    _device: "DeviceModel" = eqx.field(static=True)
    variant: Int[Array, ""] | None

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel] = ()):
        self.model = own_model(model)
        refuse_hidden(self.model, "mjx", allowed=self.model.na)
        self.substeps, self.pool = substeps, tuple(map(own_model, pool))
        self.variant = None
        self._near = shared(NearWalls, self.model)
        self._device = shared(_on_device, self.model, self.pool, self._near)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        with relaxed():
            model = self._device.at(self.variant)
            return self._seen(model, mjx.make_data(model).replace(qpos=qpos, qvel=qvel))

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        with relaxed():
            model = self._device.at(self.variant)
            data = mjx.make_data(model)
            data = data.replace(qpos=physics_state.qpos, qvel=physics_state.qvel, ctrl=ctrl)
            if physics_state.hidden is not None:
                data = data.replace(act=physics_state.hidden)
            step = lambda _, data: mjx.step(self._near.at(model, data.qpos), data)
            return self._seen(model, jax.lax.fori_loop(0, self.substeps, step, data))

    def activations(self, physics_state: PhysicsState) -> Float[Array, " na"]:
        hidden = physics_state.hidden
        return jnp.zeros((0,)) if hidden is None else hidden

    def _seen(self, model: mjx.Model, data: mjx.Data) -> PhysicsState:
        # MuJoCo reads sensors at the start of a step; here they belong to its end.
        has_sensors = self.model.nsensordata > 0
        seen = mjx.forward(self._near.at(model, data.qpos), data) if has_sensors else data
        activations = data.act if self.model.na else None
        return PhysicsState(data.qpos, data.qvel, seen.sensordata, activations)


def _on_device(model: MjModel, pool: tuple[MjModel, ...], near: NearWalls) -> "DeviceModel":
    return DeviceModel(model, pool, lambda model: near.fewer_pairs(_put(model)))


def _put(model: MjModel) -> mjx.Model:
    """**Raises:** `UserError` in MJX's own words if it lacks what the model needs."""
    try:
        return mjx.put_model(model)
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"`physics='mjx'` cannot compute this model ({str(error).rstrip('.')}): choose "
            f"`physics='native'`."
        ) from error


class DeviceModel:
    """Gives MJX's model, a pytree of arrays, the identity of an object, and holds its variants."""

    def __init__(
        self, model: MjModel, pool: Sequence[MjModel], put: Callable[[MjModel], mjx.Model]
    ):
        with relaxed():
            self._model = put(model)
            self._differing = _differing(self._model, [put(variant) for variant in pool])

    def at(self, variant: Int[Array, ""] | None) -> mjx.Model:
        if variant is None:
            return self._model
        leaves, structure = jax.tree.flatten(self._model)
        for place, values in self._differing.items():
            leaves[place] = values[variant]
        return jax.tree.unflatten(structure, leaves)


def _differing(model: mjx.Model, variants: list[mjx.Model]) -> dict[int, Array]:
    """The leaves that are not the same in all of the models, stacked, by their place."""
    leaves = [jax.device_get(jax.tree.leaves(each)) for each in (model, *variants)]
    return {
        place: jnp.asarray(np.stack(column[1:]))
        for place, column in enumerate(zip(*leaves, strict=True))
        if any(not np.array_equal(column[0], other) for other in column[1:])
    }


@contextlib.contextmanager
def relaxed():
    """Allows what MJX's own code does: it mixes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
