import abc
import copy
import hashlib
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..._errors import UserError
from .._mj import (
    mj_saveModel,
    mj_sizeModel,
    mj_stateSize,
    MjModel,
    mjtDisableBit,
    mjtState,
)


T = TypeVar("T")


LARGEST = 1e10
"""A number beyond this counts as not finite; it is MuJoCo's own limit (mjMAXVAL)."""


class PhysicsState(eqx.Module):
    """What an engine needs to continue, in MuJoCo's own order and units."""

    qpos: Float[Array, "*batch nq"]
    qvel: Float[Array, "*batch nv"]
    sensordata: Float[Array, "*batch nsensordata"]
    """For exactly this qpos and qvel; empty if the model has no sensors."""
    hidden: Float[Array, "*batch nhidden"] | None = None
    """What else the engine needs to continue, in the engine's own form: actuator activations,
    values held back by a delay, the state of plugins. None if the model has none of these."""


class AbstractPhysics(eqx.Module):
    """Advances a MuJoCo model by one control step = `substeps` physics steps.

    The result depends only on `PhysicsState` and the controls: the constraint solver starts cold at
    every control step, so a resumed run continues exactly as if it had not stopped.
    Everything here except `variant` is static: an engine has no leaves, and can be closed over,
    hashed and compared. Engines with equal models and substeps are equal.
    """

    name: eqx.AbstractClassVar[str]
    """As in `make(physics=...)`."""
    model: eqx.AbstractVar[MjModel]
    substeps: eqx.AbstractVar[int]
    pool: eqx.AbstractVar[tuple[MjModel, ...]]
    """Variants of `model` to choose from."""
    variant: eqx.AbstractVar[Int[Array, ""] | None]
    """Which model of the pool is used; None for `model` itself. Set only by `at`, and only inside a
    traced function."""

    @abc.abstractmethod
    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        """The state with these positions and velocities; sensors are read under zero controls."""

    @abc.abstractmethod
    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        """One control step with constant controls. The result may not be finite."""

    @abc.abstractmethod
    def __init__(self, model: MjModel, substeps: int, pool: Sequence[MjModel] = ()): ...

    def pooled(self, models: Sequence[MjModel]) -> "AbstractPhysics":
        """The same engine with variants of `model` to choose from: new numbers, same sizes."""
        return type(self)(self.model, self.substeps, models)

    @abc.abstractmethod
    def activations(self, physics_state: PhysicsState) -> Float[Array, " na"]:
        """The actuators' activations; empty if the model has none."""

    def __reduce__(self):
        # Copies, pickles and spawned workers get their own engine: threads, locks and data on a
        # device belong to one process.
        return type(self), (self.model, self.substeps, self.pool)

    def at(self, variant: Int[Array, ""]) -> "AbstractPhysics":
        """This engine with one model of its pool."""
        return eqx.tree_at(lambda p: p.variant, self, variant, is_leaf=lambda x: x is None)

    @property
    def control_dt(self) -> float:
        """Seconds per control step."""
        return self.model.opt.timestep * self.substeps

    def advance(
        self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]
    ) -> tuple[PhysicsState, Bool[Array, ""]]:
        """`step`, and whether it failed; a failed step returns the state it was given."""
        stepped = self.step(physics_state, ctrl)
        failed = ~_all_finite(stepped)
        keep = lambda new, old: jnp.where(failed, old, new)
        return jax.tree.map(keep, stepped, physics_state), failed


def _all_finite(physics_state: PhysicsState) -> Bool[Array, ""]:
    return jnp.all(
        jnp.stack([jnp.all(jnp.abs(x) < LARGEST) for x in jax.tree.leaves(physics_state)])
    )


def hidden_size(model: MjModel) -> int:
    """How many numbers of MuJoCo's full physics state are neither time, qpos nor qvel."""
    return mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS) - 1 - model.nq - model.nv


def own_model(model: MjModel) -> MjModel:
    """A copy for engines only, which does not silently reset itself when it fails. Equal models
    share one copy."""
    model = copy.copy(model)
    model.opt.disableflags |= mjtDisableBit.mjDSBL_AUTORESET
    digest = _digest(model)
    found = _SHARED.get(digest)
    if found is None or _digest(found) != digest:  # its holder may have changed it since
        found = _SHARED[digest] = model
    return found


def _digest(model: MjModel) -> bytes:
    saved = np.empty(mj_sizeModel(model), np.uint8)
    mj_saveModel(model, None, saved)
    return hashlib.sha256(saved.tobytes()).digest()


_SHARED: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
"""Objects still in use, by what they were made from."""


def shared(make: Callable[..., T], *parts: Hashable) -> T:
    """`make(*parts)`, or what the same call made before. Engines and models are compared by
    identity, and only equal tasks share what was compiled for one of them."""
    found = _SHARED.get((make, *parts))
    return _SHARED.setdefault((make, *parts), make(*parts)) if found is None else found


def refuse_hidden(model: MjModel, physics: str, *, allowed: int = 0) -> None:
    """For engines that carry at most `allowed` numbers beyond qpos and qvel.

    **Raises:** `UserError` that names what the model has, if it has more.
    """
    if hidden_size(model) == allowed:
        return
    names = lambda kind, has: [
        f"{kind} {getattr(model, kind)(i).name!r}" for i in np.flatnonzero(has)
    ]
    found = {
        "an activation": names("actuator", model.actuator_actnum) if not allowed else [],
        "a history or delay": [
            name
            for kind in ("actuator", "sensor")
            if hasattr(model, f"{kind}_history")  # MuJoCo before 3.4 has none
            for name in names(kind, getattr(model, f"{kind}_history")[:, 0])
        ],
        "a plugin with a state": [f"plugin {i}" for i in np.flatnonzero(model.plugin_statenum)],
    }
    what = "; ".join(f"{word}: {', '.join(those)}" for word, those in found.items() if those)
    raise UserError(
        f"`physics={physics!r}` cannot carry everything that the model remembers between steps "
        f"({what}): choose `physics='native'`, or, for a delay of all actions, `--action-delay`."
    )
