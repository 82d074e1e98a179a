"""Another goal for whoever has arrived."""

from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx._check_env import check_env
from crl_eqx.envs import resample_goals


NUM, STEPS = 128, 200


def elbow():
    """A joint that swings, and often comes past its goal."""
    return envs.MujocoGoalEnv(
        str(resources.files("crl_eqx.envs") / "assets" / "reacher.xml"),
        joints=["elbow"],
        draw_goal=lambda key: jax.random.uniform(key, (1,), minval=-1.0),
        threshold=0.3,
        episode_length=STEPS,
        physics="native",
    )


def played(env, *, seed=0):
    """`[steps, envs]` of a random policy: whether a step ends at its goal, whether another is
    commanded then; and the goals and positions after it."""

    def body(moment, key):
        action = jax.random.uniform(key, (NUM, env.action_size), minval=-1.0)
        after = jax.vmap(env.step)(moment, action)
        at_goal = jax.vmap(env.success)(env.true_state(after), moment.goal)
        changed = jnp.any(after.goal != moment.goal, axis=-1)
        return after, (at_goal, changed, after.goal, env.qpos(after))

    @jax.jit
    def play():
        reset_key, key = jax.random.split(jax.random.key(seed))
        first = jax.vmap(lambda key: env.reset(key=key))(jax.random.split(reset_key, NUM))
        return jax.lax.scan(body, first, jax.random.split(key, STEPS))[1]

    return [np.asarray(rows) for rows in play()]


@pytest.mark.parametrize("chance", [0.2, 1.0])
def test_goals_change_where_they_are_reached_as_often_as_told_and_nowhere_else(chance):
    env = resample_goals(elbow(), chance)
    check_env(env)
    at_goal, changed, *_ = played(env)
    assert at_goal.sum() > 150
    assert not np.any(changed & ~at_goal)
    margin = 4 * (chance * (1 - chance) / at_goal.sum()) ** 0.5
    assert abs(changed.sum() / at_goal.sum() - chance) <= margin


def test_episodes_begin_as_the_tasks_own_and_physics_does_not_heed_the_goal():
    task = elbow()
    _, changed, goals, qpos = played(resample_goals(task, 0.5))
    _, _, same, plain = played(task)
    assert changed.any()
    np.testing.assert_array_equal(qpos, plain)
    before = np.cumsum(changed, axis=0) == 0
    np.testing.assert_array_equal(goals[before], same[before])
    assert np.all(np.any(goals[~before] != same[~before], axis=-1))


def test_goals_are_drawn_as_those_of_fresh_episodes_are():
    """Each cell of a maze as often as the next, and never one that is held out."""
    maze = envs.make("point_u_maze", physics="native", random_starts=1.0)
    seen = envs.hold_out(maze, 0.2)
    _, changed, goals, _ = played(resample_goals(seen, 1.0))
    assert changed.sum() > 50
    cells, counts = np.unique(np.round(goals[changed], 4), axis=0, return_counts=True)
    commanded = np.asarray(maze.maze.goals)[~np.asarray(seen.unseen(jnp.asarray(maze.maze.goals)))]
    np.testing.assert_allclose(cells, np.unique(np.round(commanded, 4), axis=0), atol=1e-3)
    assert counts.min() > 0.25 * counts.mean()


def test_arrival_is_judged_without_sensor_noise():
    task = elbow()
    env = resample_goals(envs.randomize(task, sensor_noise=0.05), 1.0)
    at_goal, changed, *_ = played(env)
    np.testing.assert_array_equal(changed, at_goal)


def test_what_is_drawn_follows_from_the_episodes_key_alone():
    env = resample_goals(elbow(), 0.5)
    first, again, other = (played(env, seed=seed)[2] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize("chance", [0.0, 1.1, -0.5, float("nan")])
def test_a_chance_lies_between_0_and_1(chance):
    with pytest.raises(UserError, match=rf"`chance={chance}` must lie above 0, and not above 1"):
        resample_goals(envs.make("reacher", physics="native"), chance)


def test_goals_that_move_or_would_be_held_out_are_refused():
    with pytest.raises(UserError, match="The goals of ArmGrasp move within an episode"):
        resample_goals(envs.make("arm_grasp", physics="native"), 0.5)
    roaming = resample_goals(envs.make("point_u_maze", physics="native"), 0.5)
    with pytest.raises(UserError, match=r"say `resample_goals\(hold_out\(env, \.\.\.\), \.\.\.\)`"):
        envs.hold_out(roaming, 0.2)
