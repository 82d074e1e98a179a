"""MuJoCo's C engine, which steps a whole batch on threads, reached from JAX by a callback."""

import logging
import os
import threading
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco.rollout import Rollout

from .._mj import (
    get_mju_user_warning,
    mj_stateSize,
    MjData,
    MjModel,
    mjtState,
    set_mju_user_warning,
)
from ._base import AbstractPhysics, own_model, PhysicsState


class NativePhysics(AbstractPhysics):
    """MuJoCo's C engine: the fast one on CPUs.

    Under `vmap` (any number of times) one callback receives the whole batch. Computes in float64,
    takes and gives float32. A state's result does not depend on the batch that it is in.
    """

    model: MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    _engine: "_Engine" = eqx.field(static=True)
    variant: Int[Array, ""] | None

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel] = ()):
        self.model = own_model(model, substeps)
        self.substeps = substeps
        self.variant = None
        self._engine = _Engine(self.model, substeps, [own_model(m, substeps) for m in pool])

    def pooled(self, models: Sequence[MjModel]) -> "NativePhysics":
        return type(self)(self.model, self.substeps, models)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        if self.model.nsensordata == 0:
            return PhysicsState(qpos, qvel, jnp.zeros((0,), qpos.dtype))
        ctrl = jnp.zeros(self.model.nu, qpos.dtype)
        size, choice = self.model.nsensordata, self._choice()
        sensordata = _call(self._engine.sense, size, qpos, qvel, ctrl, *choice)
        return PhysicsState(qpos, qvel, sensordata)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        nq, nv = self.model.nq, self.model.nv
        qpos, qvel = physics_state.qpos, physics_state.qvel
        size = nq + nv + self.model.nsensordata
        out = _call(self._engine.advance, size, qpos, qvel, ctrl, *self._choice())
        return PhysicsState(out[:nq], out[nq : nq + nv], out[nq + nv :])

    def _choice(self) -> list[Float[Array, " 1"]]:
        """The variant as one more number, exact below 2^24; nothing where there is none."""
        return [] if self.variant is None else [self.variant.astype(jnp.float32)[None]]


def _call(callback: Callable[..., np.ndarray], size: int, *arrays: Array) -> Array:
    # One array each way, as a call has its price for every array.
    shape = jax.ShapeDtypeStruct((size,), jnp.float32)
    return jax.pure_callback(callback, shape, jnp.concatenate(arrays), vmap_method="broadcast_all")


class _Engine:
    """Threads and scratch memory, made when first used, once per process.

    Compared and hashed by identity. Works on NumPy arrays alone: a JAX operation inside a callback
    would wait for the very threads that wait for the callback.
    """

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel]):
        self._model, self._substeps, self._models = model, substeps, pool
        self._state_size = mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS)
        self._lock = threading.Lock()
        self._pool: tuple[Rollout, list[MjData]] | None = None
        self._process = 0

    def advance(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel + ctrl] -> [*batch, qpos + qvel + sensordata]`; NaN on failure.

        One more number, if there is one, is the model's number in the pool.
        """
        states, sensors = self._rollout(np.asarray(packed), self._substeps)
        return np.concatenate([states, sensors], axis=-1)

    def sense(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel + ctrl] -> [*batch, sensordata]`, without moving."""
        return self._rollout(np.asarray(packed), 0)[1]

    def _rollout(self, packed: np.ndarray, substeps: int) -> tuple[np.ndarray, np.ndarray]:
        model = self._model
        lead, flat = packed.shape[:-1], packed.reshape(-1, packed.shape[-1])
        n, moving, given = len(flat), model.nq + model.nv, model.nq + model.nv + model.nu
        # MuJoCo reads sensors where a step begins, so one more step tells those of its end.
        steps = substeps + (model.nsensordata > 0)
        start = np.zeros((n, self._state_size))  # time, qpos, qvel
        start[:, 1 : 1 + moving] = flat[:, :moving]
        ctrl = np.repeat(flat[:, None, moving:given].astype(np.float64), steps, axis=1)
        states = np.empty((n, steps, self._state_size))
        sensors = np.empty((n, steps, model.nsensordata))
        with self._lock:  # two runs may share an engine, and its scratch memory
            rollout, data = self._started()
            chunk = max(1, n // (4 * len(data)))
            rollout.rollout(
                self._chosen(flat[:, given:]),
                data,
                start,
                ctrl,
                skip_checks=True,
                nstep=steps,
                state=states,
                sensordata=sensors,
                chunk_size=chunk,
            )
        # MuJoCo stops a trajectory at its first warning: its clock then stands still.
        stopped = states[:, -1, :1] < (steps - 0.5) * model.opt.timestep
        end = states[:, max(substeps, 1) - 1, 1 : 1 + moving]
        give = lambda x: _to_float32(np.where(stopped, np.nan, x), lead)
        return give(end), give(sensors[:, -1])

    def _chosen(self, choice: np.ndarray) -> list[MjModel]:
        if choice.shape[1] == 0:
            return [self._model] * len(choice)
        return [self._models[i] for i in choice[:, 0].astype(int)]

    def _started(self) -> tuple[Rollout, list[MjData]]:
        _log_warnings()
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            threads = threads or os.cpu_count() or 1
            data = [MjData(self._model) for _ in range(threads)]
            self._pool, self._process = (Rollout(nthread=threads), data), os.getpid()
        return self._pool


def _log_warnings() -> None:
    """Sends MuJoCo's warnings to `logging`, unless its user sends them elsewhere.

    MuJoCo itself would write MUJOCO_LOG.TXT into the working directory; a failure is counted and
    handled here, and needs no file.
    """
    if get_mju_user_warning() is None:
        set_mju_user_warning(logging.getLogger(__name__).debug)


def _to_float32(x: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and so a failure
        return x.astype(np.float32).reshape(*lead, x.shape[-1])
