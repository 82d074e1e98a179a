"""A humanoid finds its way through a maze."""

from collections.abc import Sequence

import equinox as eqx
import jax
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
    TOUCHES_WALLS,
)
from .._layout import Layout
from .._maze import Cell, Maze
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._physics import AbstractPhysics, PhysicsState
from .._scene import add_target, add_walls


SCALE = 2.0  # m
HEIGHT = 1.0  # m
NEAR_WALLS = 4  # as many as are anywhere within 1.9 m


class HumanoidMaze(AbstractMujocoEnv):
    """A `HumanoidBody` among walls 1 m high, in cells 2 m wide; state: see `HumanoidState`.

    **Start:** standing straight in the middle of the start cell, all positions and velocities
    perturbed by U(±0.01). **Goal:** the middle of a goal cell, 1.25 m high, all equally likely.
    **Ends** when the torso's height leaves [1 m, 2 m]. **Success:** torso closer than 0.5 m
    (`easy`: 2 m), height included. **Time:** 3 physics steps of 0.005 s per control step.

    Published versions carry the target's body in the state, and so the goal. Their
    control step takes 0.015 s, too.
    """

    physics: AbstractPhysics
    body: HumanoidBody
    maze: Maze = eqx.field(static=True)
    episode_length: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True, default=LAYOUT)
    goal_indices: tuple[int, ...] = eqx.field(static=True, default=GOAL)
    threshold: float = eqx.field(static=True, default=0.5)
    levels: tuple[tuple[str, float], ...] = eqx.field(static=True, default=(("easy", 2.0),))

    def __init__(
        self,
        layout: str,
        *,
        episode_length: int = 1000,
        without_goals: Sequence[Cell] = (),
        random_starts: float = 0.0,
        torque: HumanoidTorque = "gym",
        control_dt: float = 0.015,
        ends: HumanoidEnds = "height",
        physics: str | None = None,
    ):
        """`layout` is a key of `MAZES`; `without_goals` are cells that shall not be goals;
        `random_starts` is the share of episodes that begin in any free cell; `torque`,
        `control_dt` (s, a multiple of 0.005) and `ends` choose the robot: see
        `crl_eqx.envs.humanoid_robot`."""
        self.maze = Maze.named(layout, SCALE, without_goals, random_starts)
        self.episode_length = episode_length
        spec = humanoid_spec()
        add_target(spec, self.threshold)
        add_walls(spec, self.maze, TOUCHES_WALLS, height=HEIGHT, friction=1.0, near=NEAR_WALLS)
        self.physics, self.body = humanoid_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
        cell_key, start_key, goal_key = jax.random.split(key, 3)
        qpos, qvel = self.body.start(start_key, self.maze.draw_start(cell_key))
        return Draw(qpos, qvel, with_height(self.maze.draw_goal(goal_key), TARGET_HEIGHT))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return goal
