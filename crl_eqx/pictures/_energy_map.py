"""The critic's energy from everywhere to one goal."""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from .._agent import Agent
from .._env import AbstractGoalEnv
from .._types import PRNGKey
from ..envs import Maze
from ._scene import position_indices, Record


class Field(NamedTuple):
    """The critic's energy on a grid; NaN inside walls."""

    x: Float[np.ndarray, " nx"]
    y: Float[np.ndarray, " ny"]
    energy: Float[np.ndarray, "ny nx"]
    inside: Bool[np.ndarray, "ny nx"]
    """Where no wall is; some way into the walls the energy is known all the same."""


def energy_map(
    env: AbstractGoalEnv, agent: Agent, goal, bounds, maze: Maze | None, *, key: PRNGKey
) -> Field | None:
    """f(s, π(s, g), g) for a fresh start s that is moved to every place within the bounds.

    None where x and y cannot be changed alone.
    """
    at = position_indices(env, key=key)
    if at is None:
        return None
    step = np.max(bounds[1] - bounds[0]) / 72
    x, y = (np.arange(low, high + step, step) for low, high in bounds.T)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    free, inside = _free(maze, points, rim=step), _free(maze, points, rim=0.0)
    places = jnp.asarray(points[free], jnp.float32)

    @eqx.filter_jit
    def at_places(agent: Agent, places, goal):
        typical = env.reset(key=key).state
        states = jnp.broadcast_to(typical, (len(places), *typical.shape))
        states = states.at[:, jnp.array(at)].set(places)
        goals = jnp.broadcast_to(goal, (len(places), *goal.shape))
        return agent.value(states, agent.act(states, goals), goals)

    energy = np.full(free.shape, np.nan)
    energy[free] = at_places(agent, places, jnp.asarray(goal))
    return Field(x, y, energy, inside)


def _free(maze: Maze | None, points, rim: float) -> Bool[np.ndarray, "ny nx"]:
    """Where no wall is, and that far into the walls."""
    if maze is None:
        return np.ones(points.shape[:-1], bool)
    free = np.array([[kind != "#" for kind in row] for row in maze.rows])
    found = np.zeros(points.shape[:-1], bool)
    for shift in itertools.product((-rim, 0.0, rim), repeat=2):
        i, j = np.moveaxis(maze.nearest_cells(points + np.array(shift)), -1, 0)
        found |= free[i.clip(0, free.shape[0] - 1), j.clip(0, free.shape[1] - 1)]
    return found


def far_goal(played: Record, maze: Maze | None) -> int:
    """The episode whose goal a walk through the whole maze would reach last."""
    if maze is None:
        return 0
    ways = maze.steps_from(*maze.cells("R"))
    cells = maze.nearest_cells(played.goal_position[0])
    return int(np.argmax([ways.get((int(i), int(j)), 0) for i, j in cells]))
