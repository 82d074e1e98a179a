"""What every task with an ant has in common: the body, its state and when it has fallen."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Flag, PRNGKey, State
from ._layout import Part
from ._mj import MjModel
from ._names import qpos_indices, qvel_indices
from ._physics import PhysicsState


LEGS = (1, 2, 3, 4)
JOINTS = tuple(f"{joint}_{leg}" for leg in LEGS for joint in ("hip", "ankle"))
TOUCHES_WALLS = ("torso", *(f"{geom}_{leg}" for leg in LEGS for geom in ("stub", "foot")))


class AntState(NamedTuple):
    """The layout of the state."""

    position: Part = Part(0, 3, "m", "torso x, y, z")
    orientation: Part = Part(3, 7, "1", "torso, quaternion w, x, y, z")
    joints: Part = Part(7, 15, "rad", "hip_1, ankle_1 … hip_4, ankle_4")
    velocity: Part = Part(15, 18, "m/s", "torso")
    angular_velocity: Part = Part(18, 21, "rad/s", "torso, in its own frame")
    joint_velocities: Part = Part(21, 29, "rad/s", "in the order of joints")


LAYOUT = AntState()
GOAL = LAYOUT.position.indices[:2]


class AntBody(eqx.Module):
    """An ant in a model that was made from `assets/ant.xml`, whatever else the model holds.

    A torso of radius 0.25 m on four legs; each is a fixed stub, a hip (±30°) and an ankle
    (30° to 70°, the other way round on legs 2 and 3). The torso and the feet touch the floor;
    where there are walls, the stubs touch those, too.
    """

    model: MjModel = eqx.field(static=True)

    def start(
        self, key: PRNGKey, xy: Float[Array, "2"]
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """Stands at `xy` + U(±0.1) with U(±0.1) on the joints and 0.1 · N(0, 1) on velocities."""
        xy_key, joint_key, velocity_key = jax.random.split(key, 3)
        xy = xy + jax.random.uniform(xy_key, (2,), minval=-0.1, maxval=0.1)
        bent = np.array([(0, -1 if leg in (2, 3) else 1) for leg in LEGS], np.float32).ravel()
        joints = bent + jax.random.uniform(joint_key, (8,), minval=-0.1, maxval=0.1)
        root = jnp.concatenate([xy, jnp.asarray([0.55, 1.0, 0.0, 0.0, 0.0])])
        qpos = jnp.zeros(self.model.nq).at[self._qpos()].set(jnp.concatenate([root, joints]))
        velocities = 0.1 * jax.random.normal(velocity_key, (14,))
        return qpos, jnp.zeros(self.model.nv).at[self._qvel()].set(velocities)

    def observe(self, physics_state: PhysicsState) -> Float[Array, "29"]:
        """The numbers of `LAYOUT`."""
        qpos, qvel = physics_state.qpos[self._qpos()], physics_state.qvel[self._qvel()]
        return jnp.concatenate([qpos, qvel])

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        """The torso's x, y."""
        return state[..., LAYOUT.position.at][..., :2]

    def fallen(self, state: State) -> Flag:
        """Whether the torso's height has left [0.2 m, 1 m]."""
        height = state[..., LAYOUT.position.at][..., 2]
        return (height < 0.2) | (height > 1.0)

    def _qpos(self) -> np.ndarray:
        return qpos_indices(self.model, "root", *JOINTS)

    def _qvel(self) -> np.ndarray:
        return qvel_indices(self.model, "root", *JOINTS)
