"""An ant dribbles a ball to a point."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import PRNGKey
from .._bodies._ant_body import AbstractAntTask, AntObjectState, LEGS, RULES
from .._layout import Part
from .._mj import linear_damping, MjSpec, mjtGeom, mjtJoint
from .._mujoco import Draw
from .._names import qpos_indices, qvel_indices
from .._physics import PhysicsState
from .._redraw import redraw


RADIUS = 5.0  # m; of the circle that goals lie on
BALL_RADIUS = 0.5  # m
BALL_MASS = 0.58  # kg
CLEAR = 1.6  # m; an ant's foot reaches 0.95 m from its middle, which starts within 0.14 m of 0
KICKS = ("torso", *(f"{part}_{leg}" for leg in LEGS for part in ("leg", "foot")))


LAYOUT = AntObjectState()
BALL_RULES = RULES._replace(goal_indices=LAYOUT.object.indices, mark_height=BALL_RADIUS)
WITH_VELOCITY = LAYOUT._replace(object_velocity=Part(31, 33, "m/s", "along x and y"))


class AntBall(AbstractAntTask):
    """An `AntBody` and a rolling ball (radius 0.5 m, mass 0.58 kg) on an endless floor.

    **Start:** the ant upright at the origin ± 0.1 m, joints and velocities perturbed; the ball at
    rest, a metre in a uniform direction from the point a fifth of the way to the goal, redrawn
    until it is more than 1.6 m from the origin, clear of the ant. **Goal:** for the ball, on the
    circle of radius 5 m around the origin, at a uniform angle. **Ends** when the ant lies on its
    back. **Success:** ball closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics steps
    of 0.01 s per control step.

    In published versions the ball slides without rolling, may start inside the ant, and lies in a
    direction that is not uniform. As published, the ball's velocity is not part of the state,
    unless `object_velocity=True`.
    """

    def __init__(self, *, object_velocity: bool = False, **robot: Any):
        """`object_velocity` appends the ball's velocity to the state."""
        layout = WITH_VELOCITY if object_velocity else LAYOUT
        super().__init__(BALL_RULES._replace(layout=layout), _add_ball, **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        start_key, angle_key, ball_key = jax.random.split(key, 3)
        goal = RADIUS * _direction(angle_key)
        beside = lambda key: 0.2 * goal + _direction(key)
        ball = redraw(ball_key, beside, lambda ball: jnp.linalg.norm(ball) > CLEAR)
        qpos, qvel = self.body.start(start_key, jnp.zeros(2))
        place = jnp.concatenate([ball, jnp.asarray([BALL_RADIUS, 1.0, 0.0, 0.0, 0.0])])
        return Draw(qpos.at[qpos_indices(self.model, "ball")].set(place), qvel, goal)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        ball = physics_state.qpos[qpos_indices(self.model, "ball")[:2]]
        velocity = physics_state.qvel[qvel_indices(self.model, "ball")[:2]]
        parts = [self.body.observe(physics_state), ball, velocity]
        return jnp.concatenate(parts)[: self.state_size]


def _direction(key: PRNGKey) -> Float[Array, "2"]:
    angle = jax.random.uniform(key, maxval=2 * jnp.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _add_ball(spec: MjSpec) -> None:
    """Adds a ball that comes to rest on its own after a few seconds."""
    ball = spec.worldbody.add_body(name="ball", pos=[2, 0, BALL_RADIUS])
    ball.add_joint(name="ball", type=mjtJoint.mjJNT_FREE, damping=linear_damping(0.05), armature=0)
    ball.add_geom(
        name="ball",
        type=mjtGeom.mjGEOM_SPHERE,
        size=[BALL_RADIUS, 0, 0],
        mass=BALL_MASS,
        rgba=[0.15, 0.4, 0.75, 1],
    )
    for geom in ("floor", *KICKS):
        spec.add_pair(geomname1=geom, geomname2="ball")
