"""An ant with a ball, and one with a block in its way."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from crl_eqx import envs
from crl_eqx.envs._names import qpos_indices, qvel_indices
from crl_eqx.envs.tasks.ant_push import GOALS, MAZE


def draws(env, n=10_000):
    return jax.jit(jax.vmap(lambda key: env.draw(key=key)))(jax.random.split(jax.random.key(0), n))


def test_a_ball_lies_beside_the_way_to_its_goal_and_clear_of_the_ant():
    env = envs.make("ant_ball")
    draw = draws(env)
    ball = draw.qpos[:, qpos_indices(env.model, "ball")]
    assert jnp.linalg.norm(ball[:, :2], axis=1).min() > 1.6
    np.testing.assert_allclose(jnp.linalg.norm(draw.goal, axis=1), 5.0, rtol=1e-5)
    beside = jnp.linalg.norm(ball[:, :2] - 0.2 * draw.goal, axis=1)
    np.testing.assert_allclose(beside, 1.0, rtol=1e-4)
    np.testing.assert_allclose(ball[:, 2], 0.5)


def pushed(env, joint, velocity, steps):
    """Positions of a free or sliding joint that starts with a velocity."""
    s = env.reset(key=jax.random.key(0))
    at = qvel_indices(env.model, *joint)
    s = eqx.tree_at(lambda s: s.physics.qvel, s, s.physics.qvel.at[at].set(velocity))
    step, places = jax.jit(env.step), []
    for _ in range(steps):
        s = step(s, jnp.zeros(8))
        places.append(s.physics)
    return places


def test_a_ball_that_is_pushed_rolls_and_comes_to_rest():
    env = envs.make("ant_ball")
    away = env.reset(key=jax.random.key(0)).state[29:31]
    away = np.asarray(away / jnp.linalg.norm(away))
    velocity = jnp.asarray([*(3 * away), 0, 0, 0, 0], jnp.float32)
    physics = pushed(env, ["ball"], velocity, 600)
    at = qvel_indices(env.model, "ball")
    early = np.asarray(physics[20].qvel[at])
    speed = np.linalg.norm(early[:2])
    np.testing.assert_allclose(np.linalg.norm(early[3:5]) * 0.5, speed, rtol=0.02)  # v = ω r
    assert speed > 1.0 and np.linalg.norm(physics[-1].qvel[at]) < 0.1


def test_a_layout_with_velocities_of_the_ball_can_be_had():
    env = envs.make("ant_ball", object_velocity=True)
    assert env.state_size == 33 and env.goal_indices == (29, 30)
    s = env.reset(key=jax.random.key(0))
    np.testing.assert_array_equal(s.state[31:], [0, 0])


def test_goals_behind_the_block_lie_in_both_regions_alike():
    goals = np.asarray(draws(envs.make("ant_push")).goal)
    ahead = goals[:, 0] > goals[:, 1]
    assert abs(ahead.mean() - 0.5) < 0.02
    for region, inside in zip(GOALS, (ahead, ~ahead), strict=True):
        assert (goals[inside] >= region).all() and (goals[inside] <= np.add(region, 2)).all()


def block_after(env, velocity, steps=100):
    physics = pushed(env, ["block_x", "block_y"], jnp.asarray(velocity), steps)
    return np.asarray([8.0, 8.0]) + np.asarray(
        physics[-1].qpos[qpos_indices(env.model, "block_x", "block_y")]
    )


def test_a_block_slides_along_the_corridors_and_walls_stop_it():
    env = envs.make("ant_push")
    for direction in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]):
        place = block_after(env, np.float32(direction) * 20)
        ends = 8 + 8 * np.asarray(direction) + 0.4 * np.asarray(direction)
        np.testing.assert_allclose(place, ends, atol=0.5)
    askew = block_after(env, np.float32([15, 15]))
    assert (askew < 8.6).all()  # cells (16, 16) and beyond are wall


def test_an_ant_walks_into_the_block_and_moves_it_not_through_it():
    env = envs.make("ant_push")
    s = env.reset(key=jax.random.key(0))
    xy = qpos_indices(env.model, "root")[:2]
    beside = s.physics.qpos.at[xy].set(jnp.asarray([8.0, 3.0]))
    velocity = s.physics.qvel.at[qvel_indices(env.model, "root")[:2]].set(jnp.asarray([0.0, 5.0]))
    physics = dataclasses.replace(s.physics, qpos=beside, qvel=velocity)
    s = dataclasses.replace(s, physics=physics)
    step = jax.jit(env.step)
    for _ in range(40):
        s = step(s, jnp.zeros(8))
    assert s.state[30] > 8.2  # the block gave way
    assert s.state[1] < s.state[30] - 3.6


def test_the_maze_around_the_block_is_the_published_one():
    free = {MAZE.centre(cell) for cell in MAZE.cells("RG.")}
    assert free == {(0, 0), (0, 8), (8, 0), (8, 8), (8, 16), (16, 8)}
    assert MAZE.starts == ((0.0, 0.0),)
