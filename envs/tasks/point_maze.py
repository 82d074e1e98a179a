"""A point finds its way through a maze: the smallest task that needs planning."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import PRNGKey
from .._layout import Part
from .._maze import Cell, Maze
from .._mujoco import AbstractMujocoEnv, Draw, Rules
from .._names import qpos_indices, qvel_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import add_target, add_walls, load_asset


SCALE = 2.0  # m
RADIUS = 0.2  # m
SPREAD = 0.5  # m
FRICTION = 1.2


class PointState(NamedTuple):
    """The layout of the state."""

    position: Part = Part(0, 2, "m", "x, y")
    velocity: Part = Part(2, 4, "m/s", "along x and y")


LAYOUT = PointState()
THRESHOLD = SCALE / 8
LEVELS = (("easy", SCALE / 2),)


class PointMaze(AbstractMujocoEnv):
    """A ball of 0.33 kg and radius 0.2 m on two slides, pushed by up to 3.5 N along x and along y.

    It gains speed within 0.8 s, up to 8.75 m/s along each axis. Cells are 2 m wide. Walls are rough
    (friction 1.2): a ball that pushes against one mostly sticks to it.

    **Start:** U(±0.5 m) around the middle of the start cell, at rest. **Goal:** the middle of a
    goal cell, all equally likely. **Success:** closer than 0.25 m (`easy`: 1 m), in proportion to
    the field's 0.5 and 2 at a scale of 4. **Time:** 10 physics steps of 0.02 s per control step.

    The field has no common scale, dynamics or episode length for this task; these are ours.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)

    def __init__(
        self,
        layout: str,
        *,
        episode_length: int,
        without_goals: Sequence[Cell] = (),
        random_starts: float = 0.0,
        physics: str | None = None,
    ):
        """`layout` is a key of `MAZES`; `without_goals` are cells that are not to be goals;
        `random_starts` is the share of episodes that begin in a random free cell."""
        maze = Maze.named(layout, SCALE, without_goals, random_starts)
        goal = LAYOUT.position.indices
        self.rules = Rules(
            LAYOUT, goal, THRESHOLD, episode_length, LEVELS, mark_height=0.2, maze=maze
        )
        spec = load_asset("point")
        add_target(spec, THRESHOLD)
        add_walls(spec, maze, ["point"], height=SCALE / 4, friction=FRICTION)
        self.physics = select_physics(physics, spec.compile(), substeps=10)

    def draw(self, *, key: PRNGKey) -> Draw:
        maze = self.rules.maze
        assert maze is not None
        start_key, spread_key, goal_key = jax.random.split(key, 3)
        spread = jax.random.uniform(spread_key, (2,), minval=-SPREAD, maxval=SPREAD)
        start = maze.draw_start(key=start_key) + spread
        qpos = jnp.zeros(self.model.nq).at[qpos_indices(self.model, "x", "y")].set(start)
        return Draw(qpos, jnp.zeros(self.model.nv), maze.draw_goal(key=goal_key))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        position = physics_state.qpos[qpos_indices(self.model, "x", "y")]
        velocity = physics_state.qvel[qvel_indices(self.model, "x", "y")]
        return jnp.concatenate([position, velocity])
