"""An ant finds its way through a maze."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..._types import PRNGKey
from .._bodies._ant_body import AbstractAntTask, RULES, TOUCHES_WALLS
from .._maze import Cell, Maze
from .._mj import MjSpec
from .._mujoco import Draw
from .._scene import add_walls


SCALE = 4.0  # m
HEIGHT = 2.0  # m
NEAR_WALLS = 2  # the most that lie within 1.9 m of any place


class AntMaze(AbstractAntTask):
    """An `AntBody` among walls 2 m high, in cells 4 m wide; its state is laid out in `AntState`.

    **Start:** upright in the middle of the start cell ± 0.1 m, joints and velocities perturbed.
    **Goal:** the middle of a goal cell, all equally likely. **Ends** when the ant lies on its back.
    **Success:** torso closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics steps of
    0.01 s per control step.

    Published versions keep one start and one goal per environment for a whole run; here both are
    drawn at every reset. The paper's `ant_big_maze_eval` lacks the goal in cell (2, 5):
    `without_goals=[(2, 5)]` gives that task.
    """

    def __init__(
        self,
        layout: str,
        *,
        without_goals: Sequence[Cell] = (),
        random_starts: float = 0.0,
        **robot: Any,
    ):
        """`layout` is a key of `MAZES`; `without_goals` are cells that are not to be goals;
        `random_starts` is the share of episodes that begin in a random free cell."""
        maze = Maze.named(layout, SCALE, without_goals, random_starts)
        super().__init__(RULES._replace(maze=maze), walls(maze), **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        maze = self.rules.maze
        assert maze is not None
        cell_key, start_key, goal_key = jax.random.split(key, 3)
        qpos, qvel = self.body.start(start_key, maze.draw_start(key=cell_key))
        return Draw(qpos, qvel, maze.draw_goal(key=goal_key))


def walls(maze: Maze) -> Callable[[MjSpec], None]:
    """A function that adds the maze's walls to a model with an ant."""
    return functools.partial(
        add_walls, maze=maze, touching=TOUCHES_WALLS, height=HEIGHT, friction=1.0, near=NEAR_WALLS
    )
