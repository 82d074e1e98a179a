"""An ant finds its way through a maze."""

from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ..._types import Flag, Goal, PRNGKey, State
from .._bodies._ant_body import (
    ant_robot,
    ant_spec,
    AntBody,
    AntEnds,
    AntTorque,
    GOAL,
    LAYOUT,
    TOUCHES_WALLS,
)
from .._layout import Layout
from .._maze import Cell, Maze
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._physics import AbstractPhysics, PhysicsState
from .._scene import add_target, add_walls


SCALE = 4.0  # m
HEIGHT = 2.0  # m
NEAR_WALLS = 2  # as many as are anywhere within 1.9 m


class AntMaze(AbstractMujocoEnv):
    """An `AntBody` among walls 2 m high, in cells 4 m wide; its state is laid out in `AntState`.

    **Start:** upright in the middle of the start cell ± 0.1 m, joints and velocities perturbed.
    **Goal:** the middle of a goal cell, all equally likely. **Ends** when the ant lies on its back.
    **Success:** torso closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics steps of
    0.01 s per control step.

    Published versions keep one start and one goal per environment for a whole run; here both are
    drawn at every reset. The paper's `ant_big_maze_eval` lacks the goal in cell (2, 5):
    `without_goals=[(2, 5)]` gives that task.
    """

    physics: AbstractPhysics
    body: AntBody
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
        torque: AntTorque | float = "d4rl",
        control_dt: float | None = None,
        ends: AntEnds | None = None,
        physics: str | None = None,
    ):
        """`layout` is a key of `MAZES`; `without_goals` are cells that shall not be goals;
        `random_starts` is the share of episodes that begin in any free cell; `torque`,
        `control_dt` (s) and `ends` choose the robot: see `crl_eqx.envs.ant_robot`."""
        self.maze = Maze.named(layout, SCALE, without_goals, random_starts)
        self.episode_length = episode_length
        spec = ant_spec()
        add_target(spec, self.threshold)
        add_walls(spec, self.maze, TOUCHES_WALLS, height=HEIGHT, friction=1.0, near=NEAR_WALLS)
        self.physics, self.body = ant_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
        cell_key, start_key, goal_key = jax.random.split(key, 3)
        qpos, qvel = self.body.start(start_key, self.maze.draw_start(cell_key))
        return Draw(qpos, qvel, self.maze.draw_goal(goal_key))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return with_height(goal, 0.5)
