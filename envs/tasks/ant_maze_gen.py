"""An ant walks between two places in a maze that lie some cells apart: does it stitch?"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._errors import UserError
from ..._types import PRNGKey
from .._bodies._ant_body import AbstractAntTask, RULES
from .._maze import Maze
from .._mujoco import Draw
from .ant_maze import SCALE, walls


class AntMazeGen(AbstractAntTask):
    """`AntMaze` with starts and goals all along the one path through the maze.

    **Start:** upright in the middle of a cell of the path ± 0.1 m, joints and velocities perturbed.
    **Goal:** the middle of the cell that lies k cells further along the path; k is one of
    `distances`, all equally likely. Given k, all starts that have such a goal are equally likely.
    Everything else is as in `AntMaze`.

    The paper's stitching experiment: train on near pairs (`ant_u4_maze_gen_1f2f3f`), evaluate on
    far ones.
    """

    distances: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, layout: str, distances: Sequence[int], **robot: Any):
        """`layout` is a key of `MAZES` whose free cells form one path; `distances` are in cells.

        **Raises:** `UserError` for other layouts, and for distances that do not fit the path.
        """
        maze = Maze.named(layout, SCALE)
        longest = len(maze.path()) - 1
        self.distances = tuple(distances)
        distinct = 0 < len(set(self.distances)) == len(self.distances)
        if not distinct or not all(1 <= k <= longest for k in self.distances):
            raise UserError(
                f"`distances={self.distances}` must be distinct numbers of cells from 1 to "
                f"{longest}, the length of the path through {layout}."
            )
        super().__init__(RULES._replace(maze=maze), walls(maze), **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        maze = self.rules.maze
        assert maze is not None
        distance_key, place_key, start_key = jax.random.split(key, 3)
        path = jnp.asarray([maze.centre(cell) for cell in maze.path()])
        distance = jax.random.choice(distance_key, jnp.asarray(self.distances))
        place = jax.random.randint(place_key, (), 0, len(path) - distance)
        return Draw(*self.body.start(start_key, path[place]), path[place + distance])
