"""MuJoCo's C engine, which steps a whole batch on threads, reached from JAX by a callback."""

import math
import os
import threading
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco.rollout import Rollout

from ._base import AbstractPhysics, own_model, PhysicsState


class NativePhysics(AbstractPhysics):
    """MuJoCo's C engine: the fast one on CPUs.

    Under `vmap` (any number of times) one callback receives the whole batch. Computes in float64,
    takes and gives float32. A state's result does not depend on the batch that it is in.
    """

    model: mujoco.MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    _engine: "_Engine" = eqx.field(static=True)

    def __init__(self, model: mujoco.MjModel, substeps: int):
        self.model = own_model(model, substeps)
        self.substeps = substeps
        self._engine = _Engine(self.model, substeps)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        if self.model.nsensordata == 0:
            return PhysicsState(qpos, qvel, jnp.zeros((0,), qpos.dtype))
        sensordata = _call(self._engine.sense, self.model.nsensordata, qpos, qvel)
        return PhysicsState(qpos, qvel, sensordata)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        nq, nv = self.model.nq, self.model.nv
        qpos, qvel = physics_state.qpos, physics_state.qvel
        size = nq + nv + self.model.nsensordata
        out = _call(self._engine.advance, size, qpos, qvel, ctrl)
        return PhysicsState(out[:nq], out[nq : nq + nv], out[nq + nv :])


def _call(callback: Callable[..., np.ndarray], size: int, *arrays: Array) -> Array:
    # One array each way, as a call has its price for every array.
    shape = jax.ShapeDtypeStruct((size,), jnp.float32)
    return jax.pure_callback(callback, shape, jnp.concatenate(arrays), vmap_method="broadcast_all")


class _Engine:
    """Threads and scratch memory, made when first used, once per process.

    Compared and hashed by identity. Works on NumPy arrays alone: a JAX operation inside a callback
    would wait for the very threads that wait for the callback.
    """

    def __init__(self, model: mujoco.MjModel, substeps: int):
        self._model, self._substeps = model, substeps
        self._state_size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self._lock = threading.Lock()
        self._pool: tuple[Rollout, list[mujoco.MjData]] | None = None
        self._process = 0

    def advance(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel + ctrl] -> [*batch, qpos + qvel + sensordata]`; NaN on failure."""
        packed = np.asarray(packed)
        lead, flat = packed.shape[:-1], packed.reshape(math.prod(packed.shape[:-1]), -1)
        n, moving = len(flat), self._model.nq + self._model.nv
        start = np.zeros((n, self._state_size))  # time, qpos, qvel
        start[:, 1 : 1 + moving] = flat[:, :moving]
        ctrl = np.repeat(flat[:, None, moving:].astype(np.float64), self._substeps, axis=1)
        states = np.empty((n, self._substeps, self._state_size))
        sensors = np.empty((n, self._substeps, self._model.nsensordata))
        with self._lock:  # two runs may share an engine, and its scratch memory
            rollout, data = self._started()
            rollout.rollout(
                [self._model] * n,
                data,
                start,
                ctrl,
                skip_checks=True,
                nstep=self._substeps,
                state=states,
                sensordata=sensors,
                chunk_size=max(1, n // (4 * len(data))),
            )
        end = np.concatenate([states[:, -1, 1 : 1 + moving], sensors[:, -1]], axis=1)
        # MuJoCo stops a trajectory at its first warning: its clock then stands still.
        finished = states[:, -1, 0] > (self._substeps - 0.5) * self._model.opt.timestep
        end = np.where(finished[:, None] & (np.abs(end) < np.finfo(np.float32).max), end, np.nan)
        return end.astype(np.float32).reshape(*lead, -1)

    def sense(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel] -> [*batch, sensordata]`, without moving."""
        packed = np.asarray(packed)
        flat = packed.reshape(math.prod(packed.shape[:-1]), -1)
        out = np.empty((len(flat), self._model.nsensordata), np.float32)
        with self._lock:
            data = self._started()[1][0]
            for row, result in zip(flat, out, strict=True):
                mujoco.mj_resetData(self._model, data)
                data.qpos[:], data.qvel[:] = np.split(row, [self._model.nq])
                mujoco.mj_forward(self._model, data)
                result[:] = data.sensordata
        return out.reshape(*packed.shape[:-1], -1)

    def _started(self) -> tuple[Rollout, list[mujoco.MjData]]:
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            threads = threads or os.cpu_count() or 1
            data = [mujoco.MjData(self._model) for _ in range(threads)]
            self._pool, self._process = (Rollout(nthread=threads), data), os.getpid()
        return self._pool
