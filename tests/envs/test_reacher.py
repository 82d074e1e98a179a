from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from crl_eqx import envs
from crl_eqx.envs.tasks.reacher import LAYOUT


mj: Any = mujoco  # type checkers cannot see into its compiled parts


def test_the_tip_and_its_velocity_are_those_of_mujoco():
    env = envs.make("reacher")
    s, step = env.reset(key=jax.random.key(0)), jax.jit(env.step)
    for number in range(20):
        s = step(s, jnp.asarray([1.0, -0.5 if number < 10 else 1.0]))
    data = mj.MjData(env.model)
    data.qpos[:], data.qvel[:] = s.physics.qpos, s.physics.qvel
    mj.mj_forward(env.model, data)
    np.testing.assert_allclose(s.state[LAYOUT.tip.at], data.geom("tip").xpos, atol=1e-6)
    velocity = np.zeros(6)
    tip = env.model.geom("tip").id
    mj.mj_objectVelocity(env.model, data, mj.mjtObj.mjOBJ_GEOM, tip, velocity, 0)
    np.testing.assert_allclose(s.state[LAYOUT.tip_velocity.at], velocity[3:], atol=1e-5)
    np.testing.assert_allclose(s.state[LAYOUT.cosines.at], np.cos(data.qpos), atol=1e-6)
    np.testing.assert_allclose(s.state[LAYOUT.sines.at], np.sin(data.qpos), atol=1e-6)


def test_a_servo_on_the_angles_reaches_every_goal(play):
    env = envs.make("reacher", episode_length=150)

    def policy(env_state, key):  # the elbow that gives the goal's distance, then the right angle
        x, y, _ = env_state.goal
        cosine = jnp.clip((x**2 + y**2 - 0.1**2 - 0.11**2) / (2 * 0.1 * 0.11), -1, 1)
        elbow = jnp.arccos(cosine)
        shoulder = jnp.arctan2(y, x) - jnp.arctan2(0.11 * jnp.sin(elbow), 0.1 + 0.11 * cosine)
        error = jnp.stack([shoulder, elbow]) - env_state.physics.qpos
        return jnp.clip(5 * error - env_state.physics.qvel, -1, 1)

    _, _, successes = play(env, policy, jax.random.split(jax.random.key(0), 128))
    assert successes[:, -1].all()
