from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from crl_eqx import envs
from crl_eqx.envs.tasks.pusher import LAYOUT


mj: Any = mujoco  # type checkers cannot see into its compiled parts


@pytest.mark.parametrize("level", ["easy", "hard"])
def test_objects_and_goals_are_where_they_should_be_and_apart(level):
    env = envs.make(f"pusher_{level}")
    reset = jax.jit(jax.vmap(lambda key: env.reset(key=key)))
    s = reset(jax.random.split(jax.random.key(0), 10_000))
    goal, place = np.asarray(s.goal), np.asarray(s.state[:, LAYOUT.object.at])
    assert np.linalg.norm(goal - place, axis=1).min() >= 0.17
    assert not env.success(s.state, s.goal).any()
    low, high = {
        "easy": ((0.25, -0.6), (0.65, -0.3)),
        "hard": ((-0.1, -0.7), (0.9, 0.3)),
    }[level]
    for points, lowest, highest in ((place, (0.25, -0.35), (0.65, -0.05)), (goal, low, high)):
        np.testing.assert_allclose(points[:, :2].min(0), lowest, atol=0.02)
        np.testing.assert_allclose(points[:, :2].max(0), highest, atol=0.02)
        np.testing.assert_allclose(points[:, 2], -0.275)


def test_the_tip_is_that_of_mujoco(play):
    env = envs.make("pusher_easy")
    policy = lambda s, key: jax.random.uniform(key, (7,), minval=-1, maxval=1)
    _, env_states, _ = play(env, policy, jax.random.split(jax.random.key(0), 4), steps=30)
    data = mj.MjData(env.model)
    for qpos, state in zip(env_states.physics.qpos[:, -1], env_states.state[:, -1], strict=True):
        data.qpos[:] = qpos
        mj.mj_kinematics(env.model, data)
        np.testing.assert_allclose(state[LAYOUT.tip.at], data.site("tip").xpos, atol=1e-5)


def test_an_object_that_nobody_touches_stays_and_one_that_is_hit_moves(play):
    env = envs.make("pusher_easy")
    keys = jax.random.split(jax.random.key(0), 64)
    starts, env_states, _ = play(env, lambda s, key: jnp.zeros(7), keys)
    moved = env_states.state[:, -1, LAYOUT.object.at] - starts.state[:, LAYOUT.object.at]
    assert jnp.abs(moved).max() < 1e-3
    # The shoulder goes down, the wrist up, and the arm sweeps over the table.
    sweep = lambda s, key: jnp.asarray([0.5, 0.3, 0, -0.1, 0, 0, 0])
    starts, env_states, _ = play(env, sweep, keys)
    moved = env_states.state[:, -1, LAYOUT.object.at] - starts.state[:, LAYOUT.object.at]
    assert (jnp.linalg.norm(moved, axis=1) > 0.05).any()


def test_the_velocity_of_the_object_can_be_had():
    env = envs.make("pusher_hard", object_velocity=True)
    assert env.state_size == 22 and env.reset(key=jax.random.key(0)).state.shape == (22,)
