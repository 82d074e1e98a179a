"""A two-link arm in the plane brings its tip to a point."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import PRNGKey
from .._layout import Part
from .._mujoco import AbstractMujocoEnv, Draw, Rules
from .._names import qpos_indices, qvel_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import add_target, load_asset


RADIUS = 0.2  # m
JOINTS = ("shoulder", "elbow")


class ReacherState(NamedTuple):
    """The layout of the state."""

    cosines: Part = Part(0, 2, "1", "of the two angles")
    sines: Part = Part(2, 4, "1", "of the two angles")
    tip: Part = Part(4, 7, "m", "x, y, z")
    tip_velocity: Part = Part(7, 10, "m/s")


LAYOUT = ReacherState()
RULES = Rules(LAYOUT, goal_indices=LAYOUT.tip.indices, threshold=0.05, episode_length=1000)


class Reacher(AbstractMujocoEnv):
    """Two links, of 0.1 m and (to the tip) 0.11 m, turn about vertical axes; nothing can collide.

    **Start:** both angles U(±0.1), both speeds U(±0.005). **Goal:** at distance 0.2 m · U(0, 1)
    from the shoulder, at a uniform angle, at the tip's height. **Success:** closer than 0.05 m.
    **Time:** 2 physics steps of 0.01 s per control step.

    Published versions have the goal, or its distance from the tip, in the state; here it is not in
    the state. Their motors differ, too; those here give up to 25 N m, against an armature of
    1 kg m² and a damping of 1 N m s per joint.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)

    def __init__(self, *, episode_length: int = RULES.episode_length, physics: str | None = None):
        self.rules = RULES._replace(episode_length=episode_length)
        spec = load_asset("reacher")
        add_target(spec, RULES.threshold / 3)
        self.physics = select_physics(physics, spec.compile(), substeps=2)

    def draw(self, *, key: PRNGKey) -> Draw:
        qpos_key, qvel_key, radius_key, angle_key = jax.random.split(key, 4)
        radius = RADIUS * jax.random.uniform(radius_key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        height = self.model.body("upper_arm").pos[2]
        goal = jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), jnp.asarray(height)])
        return Draw(
            qpos=jax.random.uniform(qpos_key, (2,), minval=-0.1, maxval=0.1),
            qvel=jax.random.uniform(qvel_key, (2,), minval=-0.005, maxval=0.005),
            goal=goal,
        )

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        angles = physics_state.qpos[qpos_indices(self.model, *JOINTS)]
        speeds = physics_state.qvel[qvel_indices(self.model, *JOINTS)]
        tip, tip_velocity = jax.jvp(self._tip, (angles,), (speeds,))
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles), tip, tip_velocity])

    def _tip(self, angles: Float[Array, "2"]) -> Float[Array, "3"]:
        upper, height = self.model.body("forearm").pos[0], self.model.body("upper_arm").pos[2]
        fore = self.model.geom("tip").pos[0]
        bend = angles[0] + angles[1]
        x = upper * jnp.cos(angles[0]) + fore * jnp.cos(bend)
        y = upper * jnp.sin(angles[0]) + fore * jnp.sin(bend)
        return jnp.stack([x, y, jnp.asarray(height, x.dtype)])
