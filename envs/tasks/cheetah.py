"""A cheetah in the plane runs to a point ahead."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import UserError
from ..._types import PRNGKey
from .._layout import Part
from .._mujoco import AbstractMujocoEnv, Draw, Rules
from .._names import qpos_indices, qvel_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import add_target, load_asset


ROOT = ("root_x", "root_z", "root_y")
LEGS = tuple(f"{leg}_{part}" for leg in ("back", "front") for part in ("thigh", "shin", "foot"))


class CheetahState(NamedTuple):
    """The layout of the state."""

    position: Part = Part(0, 1, "m", "root x")
    height: Part = Part(1, 2, "m", "root z, 0 where the model stands 0.7 m high")
    pitch: Part = Part(2, 3, "rad", "of the torso")
    joints: Part = Part(3, 9, "rad", "back thigh, shin, foot; front thigh, shin, foot")
    velocity: Part = Part(9, 11, "m/s", "along x and z")
    pitch_velocity: Part = Part(11, 12, "rad/s")
    joint_velocities: Part = Part(12, 18, "rad/s", "in the order of joints")


LAYOUT = CheetahState()
RULES = Rules(
    LAYOUT,
    goal_indices=LAYOUT.position.indices,
    threshold=0.5,
    levels=(("easy", 2.0),),
    episode_length=1000,
    mark_height=0.7,
)


class Cheetah(AbstractMujocoEnv):
    """The half-cheetah: a 1 m torso with a back and a front leg, 14 kg, moving in the x-z plane.

    **Start:** at x = 0, with U(±0.1) added to all positions and 0.1 · N(0, 1) to all velocities.
    **Goal:** x = 5 m, as is usual in the field, or uniform in `goals`. **Success:** root closer
    than 0.5 m (`easy`: 2 m) along x. **Time:** 5 physics steps of 0.01 s per control step. It never
    falls: it may run on its back.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    goals: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self,
        *,
        episode_length: int = RULES.episode_length,
        goals: tuple[float, float] = (5.0, 5.0),
        physics: str | None = None,
    ):
        """`goals` are the lowest and the highest x to command, in m."""
        low, high = goals
        if low > high:
            raise UserError(f"`goals={goals}` must be the lowest x, then the highest.")
        self.rules = RULES._replace(episode_length=episode_length)
        self.goals = float(low), float(high)
        spec = load_asset("cheetah")
        add_target(spec, self.threshold)
        self.physics = select_physics(physics, spec.compile(), substeps=5)

    def draw(self, *, key: PRNGKey) -> Draw:
        qpos_key, qvel_key, goal_key = jax.random.split(key, 3)
        low, high = self.goals
        return Draw(
            qpos=jax.random.uniform(qpos_key, (self.model.nq,), minval=-0.1, maxval=0.1),
            qvel=0.1 * jax.random.normal(qvel_key, (self.model.nv,)),
            goal=jax.random.uniform(goal_key, (1,), minval=low, maxval=high),
        )

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        positions = physics_state.qpos[qpos_indices(self.model, *ROOT, *LEGS)]
        velocities = physics_state.qvel[qvel_indices(self.model, *ROOT, *LEGS)]
        return jnp.concatenate([positions, velocities])
