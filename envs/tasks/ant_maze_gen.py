"""An ant walks between places of a maze that lie some cells apart: does it stitch?"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import UserError
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
from .._maze import Maze
from .._mujoco import AbstractMujocoEnv, Draw, with_height
from .._physics import AbstractPhysics, PhysicsState
from .._scene import add_target, add_walls
from .ant_maze import HEIGHT, NEAR_WALLS, SCALE


class AntMazeGen(AbstractMujocoEnv):
    """`AntMaze` with starts and goals all along the one path through the maze.

    **Start:** upright in the middle of a cell of the path ± 0.1 m, joints and velocities perturbed.
    **Goal:** the middle of the cell that lies k cells further along the path; k is one of
    `distances`, all equally likely, and so is then every start that has such a goal. Everything
    else is as in `AntMaze`.

    The paper's stitching experiment: train on near pairs (`ant_u4_maze_gen_1f2f3f`), evaluate on
    far ones.
    """

    physics: AbstractPhysics
    body: AntBody
    maze: Maze = eqx.field(static=True)
    distances: tuple[int, ...] = eqx.field(static=True)
    episode_length: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True, default=LAYOUT)
    goal_indices: tuple[int, ...] = eqx.field(static=True, default=GOAL)
    threshold: float = eqx.field(static=True, default=0.5)
    levels: tuple[tuple[str, float], ...] = eqx.field(static=True, default=(("easy", 2.0),))

    def __init__(
        self,
        layout: str,
        distances: Sequence[int],
        *,
        episode_length: int = 1000,
        torque: AntTorque | float = "d4rl",
        control_dt: float | None = None,
        ends: AntEnds | None = None,
        physics: str | None = None,
    ):
        """`layout` is a key of `MAZES` whose free cells form one path; `distances` count its cells;
        `torque`, `control_dt` (s) and `ends` choose the robot: see `crl_eqx.envs.ant_robot`.

        **Raises** `UserError` for other layouts, and for distances that the path does not have.
        """
        self.maze = Maze.named(layout, SCALE)
        longest = len(self.maze.path()) - 1
        self.distances, self.episode_length = tuple(distances), episode_length
        distinct = 0 < len(set(self.distances)) == len(self.distances)
        if not distinct or not all(1 <= k <= longest for k in self.distances):
            raise UserError(
                f"`distances={self.distances}` must be distinct numbers of cells from 1 to "
                f"{longest}, the length of the path through {layout}."
            )
        spec = ant_spec()
        add_target(spec, self.threshold)
        add_walls(spec, self.maze, TOUCHES_WALLS, height=HEIGHT, friction=1.0, near=NEAR_WALLS)
        self.physics, self.body = ant_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )

    def draw(self, key: PRNGKey) -> Draw:
        distance_key, place_key, start_key = jax.random.split(key, 3)
        path = jnp.asarray([self.maze.centre(cell) for cell in self.maze.path()])
        distance = jax.random.choice(distance_key, jnp.asarray(self.distances))
        place = jax.random.randint(place_key, (), 0, len(path) - distance)
        return Draw(*self.body.start(start_key, path[place]), path[place + distance])

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return with_height(goal, 0.5)
