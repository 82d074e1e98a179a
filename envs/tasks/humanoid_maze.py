"""A humanoid finds its way through a maze."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..._types import PRNGKey
from .._bodies._humanoid_body import AbstractHumanoidTask, RULES, TARGET_HEIGHT, TOUCHES_WALLS
from .._maze import Cell, Maze
from .._mujoco import Draw
from .._scene import add_walls


SCALE = 2.0  # m
HEIGHT = 1.0  # m
NEAR_WALLS = 4  # the most that lie within 1.9 m of any place


class HumanoidMaze(AbstractHumanoidTask):
    """A `HumanoidBody` among walls 1 m high, in cells 2 m wide; for the state see `HumanoidState`.

    **Start:** standing straight in the middle of the start cell, all positions and velocities
    perturbed by U(±0.01). **Goal:** the middle of a goal cell, 1.25 m high, all equally likely.
    **Ends** when the torso's height leaves [1 m, 2 m]. **Success:** torso closer than 0.5 m
    (`easy`: 2 m), height included. **Time:** 3 physics steps of 0.005 s per control step.

    In published versions the state includes the target's body, and so the goal. Their control step
    takes 0.015 s, too.
    """

    def __init__(
        self,
        layout: str,
        *,
        without_goals: Sequence[Cell] = (),
        random_starts: float = 0.0,
        **robot: Any,
    ):
        """The arguments are those of `AntMaze`."""
        maze = Maze.named(layout, SCALE, without_goals, random_starts)
        walls = functools.partial(add_walls, maze=maze, touching=TOUCHES_WALLS, height=HEIGHT)
        furnish = functools.partial(walls, friction=1.0, near=NEAR_WALLS)
        super().__init__(RULES._replace(maze=maze), furnish, **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        maze = self.rules.maze
        assert maze is not None
        cell_key, start_key, goal_key = jax.random.split(key, 3)
        qpos, qvel = self.body.start(start_key, maze.draw_start(key=cell_key))
        return Draw(qpos, qvel, jnp.append(maze.draw_goal(key=goal_key), TARGET_HEIGHT))
