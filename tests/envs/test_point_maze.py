"""The demo's task: learnable, and not by walking straight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import envs
from crl_eqx.envs.tasks.point_maze import PointMaze


def point_maze(maze="u") -> PointMaze:
    env = envs.make(f"point_{maze}_maze")
    assert isinstance(env, PointMaze)
    return env


def towards(env_state):
    return env_state.goal - env_state.state[:2]


STRAIGHT = {
    "full": lambda s, _: towards(s) / jnp.max(jnp.abs(towards(s))),
    "each axis full": lambda s, _: jnp.sign(towards(s)),
    "proportional": lambda s, _: jnp.clip(towards(s), -1, 1),
    "damped": lambda s, _: jnp.clip(2 * towards(s) - 0.7 * s.state[2:], -1, 1),
}


@pytest.mark.parametrize("policy", STRAIGHT.values(), ids=STRAIGHT)
def test_walking_straight_at_the_goal_fails_on_more_than_a_third_of_the_episodes(play, policy):
    env = point_maze()
    _, _, successes = play(env, policy, jax.random.split(jax.random.key(0), 512))
    failures = 1 - successes.any(axis=1).mean()
    assert 0.45 < failures < 0.8  # a third is what is asked for; the rest is margin


def test_acting_at_random_or_not_at_all_hardly_ever_succeeds(play):
    env = point_maze()
    keys = jax.random.split(jax.random.key(0), 512)
    policies = (
        lambda s, key: jax.random.uniform(key, (2,), minval=-1, maxval=1),
        lambda s, key: jnp.zeros(2),
    )
    for policy in policies:
        assert play(env, policy, keys)[2].any(axis=1).mean() < 0.3


def next_cells(maze):
    """`[goal, i, j] -> centre of the next cell` on the shortest way, for every goal cell."""
    free = set(maze.cells("RG."))
    table = np.zeros((len(maze.goals), len(maze.rows), len(maze.rows[0]), 2), np.float32)
    for number, goal in enumerate(maze.cells("G")):
        table[number][goal] = maze.centre(goal)
        seen, queue = {goal}, [goal]
        for cell in queue:
            for near in ((cell[0] + a, cell[1] + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))):
                if near in free - seen:
                    table[number][near] = maze.centre(cell)
                    seen.add(near)
                    queue.append(near)
    return jnp.asarray(table)


@pytest.mark.parametrize("maze", ["u", "u4", "big", "hardest"])
def test_walking_from_cell_to_cell_reaches_every_goal_in_time(play, maze):
    env = point_maze(maze)
    table, goals = next_cells(env.maze), jnp.asarray(env.maze.goals)

    def policy(env_state, _):
        goal = jnp.argmin(jnp.linalg.norm(goals - env_state.goal[None], axis=1))
        i, j = jnp.round(env_state.state[:2] / env.maze.scale).astype(int)
        towards = table[goal, i, j] - env_state.state[:2]
        return jnp.clip(3 * towards - 0.5 * env_state.state[2:], -1, 1)

    starts, _, successes = play(env, policy, jax.random.split(jax.random.key(0), 256))
    assert len(np.unique(starts.goal, axis=0)) == len(env.maze.goals)
    assert successes.any(axis=1).all()
    slowest = int(jnp.argmax(successes, axis=1).max()) + 1
    assert slowest < env.episode_length / 2


def test_the_numbers_of_the_state_stay_small(play):
    env = point_maze("hardest")
    policy = lambda s, key: jnp.sign(jax.random.normal(key, (2,)))
    _, env_states, _ = play(env, policy, jax.random.split(jax.random.key(0), 64))
    assert jnp.abs(env_states.state).max() < 25


def test_nobody_passes_through_a_wall(play):
    env = point_maze()
    policy = lambda s, _: jnp.sign(s.goal - s.state[:2])
    _, env_states, _ = play(env, policy, jax.random.split(jax.random.key(0), 128))
    cells = np.round(np.asarray(env_states.state[..., :2]) / env.maze.scale).astype(int)
    assert {env.maze.rows[i][j] for i, j in cells.reshape(-1, 2)} <= set("RG.")
