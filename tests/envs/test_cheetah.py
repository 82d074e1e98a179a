import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx.envs.tasks.cheetah import LAYOUT


def test_a_dropped_cheetah_stands_and_comes_to_rest(play):
    env = envs.make("cheetah")
    still = lambda s, key: jnp.zeros(6)
    _, env_states, _ = play(env, still, jax.random.split(jax.random.key(0), 16), steps=100)
    last = env_states.state[:, -1]
    assert (last[:, LAYOUT.height.at] > -0.4).all() and (last[:, LAYOUT.height.at] < 0.1).all()
    assert jnp.abs(last[:, LAYOUT.velocity.start :]).max() < 0.1
    assert jnp.abs(last[:, LAYOUT.position.at]).max() < 1.0


def test_the_body_weighs_14_kg_and_its_motors_are_the_published_ones():
    model = envs.make("cheetah").model
    assert model.body_mass.sum() == pytest.approx(14, abs=0.01)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], [120, 90, 60, 120, 60, 30])
    np.testing.assert_array_equal(model.jnt_stiffness, [0, 0, 0, 240, 180, 120, 180, 120, 60])


def test_the_goal_is_five_metres_ahead_or_in_a_range_of_ones_own():
    keys = jax.random.split(jax.random.key(0), 100)
    env = envs.make("cheetah")
    goals = jax.vmap(lambda key: env.draw(key=key))(keys).goal
    np.testing.assert_array_equal(goals, 5.0)
    env = envs.make("cheetah", goals=(-2.0, 8.0))
    goals = jax.vmap(lambda key: env.draw(key=key))(keys).goal
    assert -2 <= goals.min() < -1 and 7 < goals.max() <= 8
    with pytest.raises(UserError, match=r"`goals=\(3.0, 1.0\)` must be the lowest x"):
        envs.make("cheetah", goals=(3.0, 1.0))
