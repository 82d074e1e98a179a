import abc
import copy
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._errors import UserError
from .._mj import MjModel, mjtDisableBit


LARGEST = 1e10
"""Beyond this a number counts as not finite: MuJoCo's own limit (mjMAXVAL)."""


class PhysicsState(eqx.Module):
    """All that an engine needs to go on, in MuJoCo's own order and units."""

    qpos: Float[Array, "*batch nq"]
    qvel: Float[Array, "*batch nv"]
    sensordata: Float[Array, "*batch nsensordata"]
    """Belongs to this very qpos and qvel; empty if the model has no sensors."""


class AbstractPhysics(eqx.Module):
    """Advances a MuJoCo model by one control step = `substeps` physics steps.

    The result depends on `PhysicsState` and the controls alone: the constraint solver starts cold
    at every control step, so a run that is resumed goes on exactly as if it had not stopped.
    Everything here but `variant` is static: an engine has no leaves and may be closed over, hashed
    and compared (by identity).
    """

    model: eqx.AbstractVar[MjModel]
    substeps: eqx.AbstractVar[int]
    variant: eqx.AbstractVar[Int[Array, ""] | None]
    """Which model of the pool counts; None for `model` itself. Set inside a traced function only,
    by `at`."""

    @abc.abstractmethod
    def init(self, qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> PhysicsState:
        """The state of these positions and velocities, sensors filled as under zero controls."""

    @abc.abstractmethod
    def step(self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]) -> PhysicsState:
        """One control step with constant controls. The result may be not finite."""

    @abc.abstractmethod
    def pooled(self, models: Sequence[MjModel]) -> "AbstractPhysics":
        """The same engine with variants of `model` to choose from: other numbers, same sizes."""

    def at(self, variant: Int[Array, ""]) -> "AbstractPhysics":
        """This engine on one model of its pool."""
        return eqx.tree_at(lambda p: p.variant, self, variant, is_leaf=lambda x: x is None)

    @property
    def control_dt(self) -> float:
        """Seconds per control step."""
        return self.model.opt.timestep * self.substeps

    def advance(
        self, physics_state: PhysicsState, ctrl: Float[Array, " nu"]
    ) -> tuple[PhysicsState, Bool[Array, ""]]:
        """`step`, and whether it failed; a failed step returns the state that it was given."""
        stepped = self.step(physics_state, ctrl)
        failed = ~_all_finite(stepped)
        keep = lambda new, old: jnp.where(failed, old, new)
        return jax.tree.map(keep, stepped, physics_state), failed


def _all_finite(physics_state: PhysicsState) -> Bool[Array, ""]:
    return jnp.all(
        jnp.stack([jnp.all(jnp.abs(x) < LARGEST) for x in jax.tree.leaves(physics_state)])
    )


def own_model(model: MjModel, substeps: int) -> MjModel:
    """A copy for an engine alone, which does not silently reset itself when it fails."""
    if model.na > 0:
        raise UserError(
            f"The model has {model.na} actuator activations, which `PhysicsState` does not hold: "
            "use actuators without activation dynamics, such as <motor> or <position>."
        )
    if substeps < 1:
        raise UserError(f"`substeps={substeps}` must be at least 1.")
    model = copy.copy(model)
    model.opt.disableflags |= mjtDisableBit.mjDSBL_AUTORESET
    return model
