"""MuJoCo Warp: kernels for thousands of environments at once, reached through MJX."""

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from mujoco.mjx.third_party.mujoco_warp import OverflowType

from .._mj import MjModel, mjtDisableBit
from ._base import AbstractPhysics, own_model, PhysicsState, refuse_hidden, shared
from ._mjx import DeviceModel, mjx, relaxed


CONTACTS = 64
"""Room for contacts, per environment."""

ROWS = 256
"""Room for rows of the constraint solver, per environment; a contact takes up to ten."""

_LACKS_ROOM = int(
    OverflowType.NEFC
    | OverflowType.NJMAX_NNZ
    | OverflowType.BROADPHASE
    | OverflowType.NARROWPHASE
    | OverflowType.CCD
    | OverflowType.HFIELD
)

_warp = importlib.import_module("warp")
# Otherwise Warp would print a line for each of its hundred kernels.
_warp.config.log_level = max(_warp.config.log_level, _warp.LOG_WARNING)


class WarpPhysics(AbstractPhysics):
    """MuJoCo Warp behind MJX, float32: made for NVIDIA GPUs.

    So far it has run only on CPUs, where its kernels run one environment after another.

    Under `vmap` (any number of times) the kernels receive the whole batch, which shares the room
    for contacts. A step that needs more room than there is gives NaN, and therefore fails.
    """

    name: ClassVar[str] = "warp"

    model: MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    pool: tuple[MjModel, ...] = eqx.field(static=True)
    variant: Int[Array, ""] | None
    _engine: "_Engine" = eqx.field(static=True)

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel] = ()):
        self.model = own_model(model)
        refuse_hidden(self.model, "warp")
        self.substeps, self.pool = substeps, tuple(map(own_model, pool))
        self.variant = None
        self._engine = shared(_Engine, self.model, substeps, self.pool)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        if self.model.nsensordata == 0:
            return PhysicsState(qpos, qvel, jnp.zeros((0,), qpos.dtype))
        ctrl = jnp.zeros(self.model.nu, qpos.dtype)
        _, _, sensordata = self._call(self._engine.sense, qpos, qvel, ctrl)
        return PhysicsState(qpos, qvel, sensordata)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        qpos, qvel = physics_state.qpos, physics_state.qvel
        return PhysicsState(*self._call(self._engine.advance, qpos, qvel, ctrl))

    def activations(self, physics_state: PhysicsState) -> Float[Array, " na"]:
        del physics_state
        return jnp.zeros((0,))  # a model that has any is refused

    def _call(self, function: Callable[..., Any], *arrays: Array) -> tuple[Array, Array, Array]:
        choice = [] if self.variant is None else [self.variant]
        return jax.tree.map(lambda x: x[0], function(*(x[None] for x in [*arrays, *choice])))


class _Engine:
    """Warp's model, and functions on whole batches."""

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel]):
        self._model = _resetting(model)
        self._device = DeviceModel(self._model, [_resetting(m) for m in pool], _put)
        self.advance, self.sense = (_on_batches(self._run(steps)) for steps in (substeps, 0))

    def _run(self, substeps: int) -> Callable[..., tuple[Array, Array, Array]]:
        def run(qpos: Array, *arrays: Array):
            # Made outside the `vmap`, because only here is it known how many share the room.
            empty = mjx.make_data(
                self._model, impl="warp", naconmax=len(qpos) * CONTACTS, njmax=ROWS
            )

            def one(qpos, qvel, ctrl, variant=None):
                model = self._device.at(variant)
                data = empty.replace(qpos=qpos, qvel=qvel, ctrl=ctrl)
                step = lambda _, data: mjx.step(model, data)
                data = jax.lax.fori_loop(0, substeps, step, data)
                return _seen(model, data)

            with relaxed():
                return jax.vmap(one)(qpos, *arrays)

        return run


def _seen(model: mjx.Model, data: mjx.Data) -> tuple[Array, Array, Array]:
    # MuJoCo reads sensors at the start of a step; here they belong to its end.
    seen: Any = mjx.forward(model, data) if model.nsensordata else data
    lacked = (seen._impl.overflow & _LACKS_ROOM) != 0
    return jnp.where(lacked, jnp.nan, data.qpos), data.qvel, seen.sensordata


def _put(model: MjModel) -> mjx.Model:
    on_device: Any = mjx.put_model(model, impl="warp")
    # A lack of room makes the step fail; thousands of threads need not print it.
    return on_device.tree_replace({"opt._impl.warn_overflow": 0})


def _resetting(model: MjModel) -> MjModel:
    """Without the flag that forbids resets: Warp does not know it, and never resets by itself."""
    model = copy.copy(model)
    model.opt.disableflags &= ~int(mjtDisableBit.mjDSBL_AUTORESET)
    return model


def _on_batches(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` on `[n, ...]` arrays; a `vmap` makes n larger instead of calling it repeatedly."""
    on_batches = jax.custom_batching.custom_vmap(function)

    @on_batches.def_vmap
    def fold(size: int, batched: Sequence[bool], *arrays: Array):
        def folded(x: Array, is_batched: bool) -> Array:
            x = x if is_batched else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        out = on_batches(*map(folded, arrays, batched))
        unfolded = jax.tree.map(lambda x: x.reshape(size, len(x) // size, *x.shape[1:]), out)
        return unfolded, jax.tree.map(lambda x: True, unfolded)

    return on_batches
