"""An ant walks to a point on a circle around it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Flag, Goal, PRNGKey, State
from .._bodies._ant_body import ant_robot, ant_spec, AntBody, AntEnds, AntTorque, GOAL, LAYOUT
from .._layout import Layout
from .._maze import Maze
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._physics import AbstractPhysics, PhysicsState
from .._scene import add_target


RADIUS = 10.0  # m


class Ant(AbstractMujocoEnv):
    """An `AntBody` on an endless floor; its state is laid out in `AntState`.

    **Start:** upright at the origin ± 0.1 m, joints and velocities perturbed. **Goal:** on the
    circle of radius 10 m around the origin, at a uniform angle. **Ends** when the ant lies on its
    back. **Success:** torso closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics
    steps of 0.01 s per control step.

    Published versions keep one start and one goal per environment for a whole run and carry the
    target as an extra body with joints; here both are drawn at every reset and the target is a
    mark in pictures.
    """

    physics: AbstractPhysics
    body: AntBody
    episode_length: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True, default=LAYOUT)
    goal_indices: tuple[int, ...] = eqx.field(static=True, default=GOAL)
    threshold: float = eqx.field(static=True, default=0.5)
    levels: tuple[tuple[str, float], ...] = eqx.field(static=True, default=(("easy", 2.0),))
    maze: Maze | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        *,
        episode_length: int = 1000,
        torque: AntTorque | float = "d4rl",
        control_dt: float | None = None,
        ends: AntEnds | None = None,
        physics: str | None = None,
    ):
        """`torque`, `control_dt` (s) and `ends` choose the robot: see `crl_eqx.envs.ant_robot`."""
        self.episode_length = episode_length
        spec = ant_spec()
        add_target(spec, self.threshold)
        self.physics, self.body = ant_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
        start_key, goal_key = jax.random.split(key)
        angle = jax.random.uniform(goal_key, maxval=2 * jnp.pi)
        goal = RADIUS * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        return Draw(*self.body.start(start_key, jnp.zeros(2)), goal)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return with_height(goal, 0.5)
