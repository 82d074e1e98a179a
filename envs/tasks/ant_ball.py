"""An ant dribbles a ball to a point."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Flag, Goal, PRNGKey, State
from .._bodies._ant_body import ant_robot, ant_spec, AntBody, AntEnds, AntState, AntTorque, LEGS
from .._layout import Layout, Part
from .._maze import Maze
from .._mj import linear_damping, MjSpec, mjtGeom, mjtJoint
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._names import qpos_indices, qvel_indices
from .._physics import AbstractPhysics, PhysicsState
from .._redraw import redraw
from .._scene import add_target


RADIUS = 5.0  # m; of the circle that goals lie on
BALL_RADIUS = 0.5  # m
BALL_MASS = 0.58  # kg
CLEAR = 1.6  # m; an ant's foot reaches 0.95 m from its middle, which starts within 0.14 m of 0
KICKS = ("torso", *(f"{part}_{leg}" for leg in LEGS for part in ("leg", "foot")))


class AntBallState(NamedTuple):
    """The layout of the state: an `AntState`, then the ball."""

    position: Part = AntState().position
    orientation: Part = AntState().orientation
    joints: Part = AntState().joints
    velocity: Part = AntState().velocity
    angular_velocity: Part = AntState().angular_velocity
    joint_velocities: Part = AntState().joint_velocities
    ball: Part = Part(29, 31, "m", "x, y")


class AntBallStateWithVelocity(NamedTuple):
    """The layout of the state under `object_velocity=True`."""

    position: Part = AntState().position
    orientation: Part = AntState().orientation
    joints: Part = AntState().joints
    velocity: Part = AntState().velocity
    angular_velocity: Part = AntState().angular_velocity
    joint_velocities: Part = AntState().joint_velocities
    ball: Part = AntBallState().ball
    ball_velocity: Part = Part(31, 33, "m/s", "along x and y")


LAYOUT = AntBallState()


class AntBall(AbstractMujocoEnv):
    """An `AntBody` and a ball of radius 0.5 m and 0.58 kg, which rolls, on an endless floor.

    **Start:** the ant upright at the origin ± 0.1 m, joints and velocities perturbed; the ball, at
    rest, a metre in a uniform direction from a fifth of the way to the goal, drawn anew until it is
    1.6 m from the origin, clear of the ant. **Goal:** for the ball, on the circle of radius 5 m
    around the origin, at a uniform angle. **Ends** when the ant lies on its back. **Success:** ball
    closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics steps of 0.01 s per control
    step.

    In published versions the ball slides without rolling, may start inside the ant, and lies in a
    direction that is not uniform. Its velocity is no part of the state, as published, unless
    `object_velocity=True`.
    """

    physics: AbstractPhysics
    body: AntBody
    episode_length: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    goal_indices: tuple[int, ...] = eqx.field(static=True, default=LAYOUT.ball.indices)
    threshold: float = eqx.field(static=True, default=0.5)
    levels: tuple[tuple[str, float], ...] = eqx.field(static=True, default=(("easy", 2.0),))
    maze: Maze | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        *,
        episode_length: int = 1000,
        object_velocity: bool = False,
        torque: AntTorque | float = "d4rl",
        control_dt: float | None = None,
        ends: AntEnds | None = None,
        physics: str | None = None,
    ):
        """`object_velocity` appends the ball's velocity to the state; `torque`, `control_dt` (s)
        and `ends` choose the robot: see `crl_eqx.envs.ant_robot`."""
        self.episode_length = episode_length
        self.layout = AntBallStateWithVelocity() if object_velocity else LAYOUT
        spec = ant_spec()
        add_target(spec, self.threshold)
        _add_ball(spec)
        self.physics, self.body = ant_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
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

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return with_height(goal, BALL_RADIUS)


def _direction(key: PRNGKey) -> Float[Array, "2"]:
    angle = jax.random.uniform(key, maxval=2 * jnp.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _add_ball(spec: MjSpec) -> None:
    """A ball that comes to rest by itself after some seconds."""
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
