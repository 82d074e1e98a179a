"""A humanoid walks to a point nearby."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Flag, Goal, PRNGKey, State
from .._bodies._humanoid_body import (
    GOAL,
    humanoid_robot,
    humanoid_spec,
    HumanoidBody,
    HumanoidEnds,
    HumanoidTorque,
    LAYOUT,
    TARGET_HEIGHT,
)
from .._layout import Layout
from .._maze import Maze
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._physics import AbstractPhysics, PhysicsState
from .._scene import add_target


NEAR, FAR = 1.0, 5.0  # m


class Humanoid(AbstractMujocoEnv):
    """A `HumanoidBody` on an endless floor; its state is laid out in `HumanoidState`.

    **Start:** standing straight at the origin, all positions and velocities perturbed by U(±0.01).
    **Goal:** at a distance U(1, 5) m from the origin, at a uniform angle, 1.25 m high. **Ends**
    when the torso's height leaves [1 m, 2 m]. **Success:** torso closer than 0.5 m (`easy`: 2 m),
    height included. **Time:** 3 physics steps of 0.005 s per control step.

    In published versions the state has 268 numbers, among them those of the target's body, and so
    the goal; here it has 246 without. The paper's control step took 0.03 s where the benchmark's
    took 0.015 s: `control_dt=0.03` gives that.
    """

    physics: AbstractPhysics
    body: HumanoidBody
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
        torque: HumanoidTorque = "gym",
        control_dt: float = 0.015,
        ends: HumanoidEnds = "height",
        physics: str | None = None,
    ):
        """`torque`, `control_dt` (s, a multiple of 0.005) and `ends` choose the robot: see
        `crl_eqx.envs.humanoid_robot`."""
        self.episode_length = episode_length
        spec = humanoid_spec()
        add_target(spec, self.threshold)
        self.physics, self.body = humanoid_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
        start_key, distance_key, angle_key = jax.random.split(key, 3)
        distance = jax.random.uniform(distance_key, minval=NEAR, maxval=FAR)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        xy = distance * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        start = self.body.start(start_key, jnp.zeros(2))
        return Draw(*start, with_height(xy, TARGET_HEIGHT))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return goal
