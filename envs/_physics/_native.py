"""MuJoCo's C engine, which steps a whole batch on threads; JAX reaches it through a callback."""

import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco.rollout import Rollout

from ..._container import core_limit
from .._mj import (
    get_mju_user_warning,
    mj_getState,
    mj_stateSize,
    MjData,
    MjModel,
    mjtState,
    set_mju_user_warning,
)
from ._base import AbstractPhysics, hidden_size, own_model, PhysicsState, shared


class NativePhysics(AbstractPhysics):
    """MuJoCo's C engine: the fast one on CPUs.

    Under `vmap` (any number of times) one callback receives the whole batch. The engine computes in
    float64, and takes and returns float32. A state's result does not depend on its batch.
    """

    name: ClassVar[str] = "native"

    model: MjModel = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    pool: tuple[MjModel, ...] = eqx.field(static=True)
    _engine: "_Engine" = eqx.field(static=True)
    variant: Int[Array, ""] | None

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel] = ()):
        self.model = own_model(model)
        self.substeps = substeps
        self.pool = tuple(map(own_model, pool))
        self.variant = None
        self._engine = shared(_Engine, self.model, substeps, self.pool)

    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        hidden = None if self._engine.fresh is None else jnp.asarray(self._engine.fresh)
        start = PhysicsState(qpos, qvel, jnp.zeros((0,), qpos.dtype), hidden)
        if self.model.nsensordata == 0:
            return start
        ctrl = jnp.zeros(self.model.nu, qpos.dtype)
        inputs = [*_moving(start), ctrl, *self._choice()]
        sensordata = _call(self._engine.sense, self.model.nsensordata, *inputs)
        return PhysicsState(qpos, qvel, sensordata, hidden)

    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        parts = [*_moving(physics_state), ctrl, *self._choice()]
        *moving, end = itertools.accumulate(x.size for x in _moving(physics_state))
        out = _call(self._engine.advance, end + self.model.nsensordata, *parts)
        qpos, qvel, *hidden, sensordata = jnp.split(out, [*moving, end])
        return PhysicsState(qpos, qvel, sensordata, *hidden)

    def activations(self, physics_state: PhysicsState) -> Float[Array, " na"]:
        hidden, na = physics_state.hidden, self.model.na
        return jnp.zeros((0,)) if hidden is None else hidden[1 : 1 + na]  # after the time

    def _choice(self) -> list[Float[Array, " 1"]]:
        """The variant as one more number, exact below 2^24; nothing if there is no variant."""
        return [] if self.variant is None else [self.variant.astype(jnp.float32)[None]]


def _moving(physics_state: PhysicsState) -> list[Array]:
    """What a step takes and returns, without sensors."""
    hidden = physics_state.hidden
    return [physics_state.qpos, physics_state.qvel, *([] if hidden is None else [hidden])]


def _call(callback: Callable[..., np.ndarray], size: int, *arrays: Array) -> Array:
    # One array each way, because every array adds to the cost of a call.
    shape = jax.ShapeDtypeStruct((size,), jnp.float32)
    return jax.pure_callback(callback, shape, jnp.concatenate(arrays), vmap_method="broadcast_all")


def num_cores() -> int:
    """Cores that this process may use: by its affinity, and by its container's share of time."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    share = core_limit()
    return cores if share is None else max(1, min(cores, math.ceil(share)))


class _Engine:
    """Threads and scratch memory, made when first used, once per process.

    It works only on NumPy arrays: a JAX operation inside a callback would wait for the very threads
    that wait for the callback.
    """

    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel]):
        self._model, self._substeps, self._models = model, substeps, pool
        self._state_size = mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS)
        self.fresh = _fresh_hidden(model) if hidden_size(model) else None
        self._lock = threading.Lock()
        self._pool: tuple[Rollout, list[MjData]] | None = None
        self._process = 0

    def advance(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel + hidden + ctrl] -> [*batch, qpos + qvel + hidden + sensordata]`;
        NaN on failure.

        One more number at the end, if there is one, is the model's number in the pool.
        """
        states, sensors = self._rollout(np.asarray(packed), self._substeps)
        return np.concatenate([states, sensors], axis=-1)

    def sense(self, packed) -> np.ndarray:
        """`[*batch, qpos + qvel + hidden + ctrl] -> [*batch, sensordata]`, without moving."""
        return self._rollout(np.asarray(packed), 0)[1]

    def _rollout(self, packed: np.ndarray, substeps: int) -> tuple[np.ndarray, np.ndarray]:
        model = self._model
        lead, flat = packed.shape[:-1], packed.reshape(-1, packed.shape[-1])
        n, moving = len(flat), model.nq + model.nv
        given = moving if self.fresh is None else moving + self.fresh.size
        # MuJoCo reads sensors at the start of a step, so one more step gives those at the end.
        steps = substeps + (model.nsensordata > 0)
        start = np.zeros((n, self._state_size))  # time, qpos, qvel, and what is hidden
        start[:, 1 : 1 + moving] = flat[:, :moving]
        if self.fresh is not None:
            _put_hidden(start, moving, flat[:, moving:given])
        driven, given = given, given + model.nu
        ctrl = np.repeat(flat[:, None, driven:given].astype(np.float64), steps, axis=1)
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
        # MuJoCo stops a trajectory at its first warning, and its clock then stands still.
        stopped = states[:, -1, :1] - start[:, :1] < (steps - 0.5) * model.opt.timestep
        last = states[:, max(substeps, 1) - 1]
        give = lambda x: _to_float32(np.where(stopped, np.nan, x), lead)
        end = give(last[:, 1 : 1 + moving])
        if self.fresh is not None:
            end = np.concatenate([end, give(_hidden(last, moving))], axis=-1)
        return end, give(sensors[:, -1])

    def _chosen(self, choice: np.ndarray) -> list[MjModel]:
        if choice.shape[1] == 0:
            return [self._model] * len(choice)
        return [self._models[i] for i in choice[:, 0].astype(int)]

    def _started(self) -> tuple[Rollout, list[MjData]]:
        _log_warnings()
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            threads = num_cores()
            data = [MjData(self._model) for _ in range(threads)]
            self._pool, self._process = (Rollout(nthread=threads), data), os.getpid()
        return self._pool


PIECES = 3
"""How many float32 numbers a float64 is split into; their sum is exact to the last bit. Histories
hold times that are compared with other times, so nothing may be rounded."""


def _hidden(state: np.ndarray, moving: int) -> np.ndarray:
    """`[n, full physics state]` -> everything in it except qpos and qvel, with the time first."""
    rest = np.concatenate([state[:, :1], state[:, 1 + moving :]], axis=1)
    pieces = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(PIECES):
            pieces.append(rest.astype(np.float32))
            rest = rest - pieces[-1]
    return np.concatenate(pieces, axis=1)


def _put_hidden(state: np.ndarray, moving: int, hidden: np.ndarray) -> None:
    """The reverse of `_hidden`."""
    numbers = np.sum(np.split(hidden.astype(np.float64), PIECES, axis=1)[::-1], axis=0)
    state[:, :1], state[:, 1 + moving :] = numbers[:, :1], numbers[:, 1:]


def _fresh_hidden(model: MjModel) -> np.ndarray:
    """What is hidden at the beginning of an episode: `[nhidden]`."""
    state = np.empty(mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS))
    mj_getState(model, MjData(model), state, mjtState.mjSTATE_FULLPHYSICS)
    return _hidden(state[None], model.nq + model.nv)[0]


def _log_warnings() -> None:
    """Sends MuJoCo's warnings to `logging`, unless the user sends them elsewhere.

    MuJoCo itself would write MUJOCO_LOG.TXT into the working directory. Failures are counted and
    handled here, and need no file.
    """
    if get_mju_user_warning() is None:
        set_mju_user_warning(logging.getLogger(__name__).debug)


def _to_float32(x: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):  # numbers that are too large become infinite: a failure
        return x.astype(np.float32).reshape(*lead, x.shape[-1])
