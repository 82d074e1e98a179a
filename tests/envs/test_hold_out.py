"""Goals that training never commands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import envs, UserError
from crl_eqx._check_env import check_env
from crl_eqx.envs import hold_out


TASKS = ("point_u_maze", "ant_big_maze", "ant", "reacher", "arm_push_easy", "pusher_easy")


def goals(env, n=512, seed=1):
    keys = jax.random.split(jax.random.key(seed), n)
    return jax.jit(jax.vmap(lambda key: env.draw(key=key).goal))(keys)


@pytest.mark.parametrize("name", TASKS)
def test_training_commands_none_of_the_unseen_goals_and_about_the_stated_share_is_unseen(name):
    env = envs.make(name, physics="native")
    seen = hold_out(env, 0.25)
    assert not np.any(seen.unseen(goals(seen)))
    assert np.all(seen.unseen(goals(seen.commanding("unseen"))))
    share = float(np.mean(seen.unseen(goals(env, 4096))))
    assert abs(share - seen.share) < 0.05
    assert 0.1 < share < 0.4


def test_in_a_maze_whole_cells_are_held_out():
    env = envs.make("ant_u_maze", physics="native")
    seen = hold_out(env, 0.3)
    cells = jnp.asarray(env.maze.goals)
    unseen = np.asarray(seen.unseen(cells))
    assert 1 <= unseen.sum() < len(cells)
    np.testing.assert_allclose(seen.share, unseen.mean(), atol=0.03)
    found = np.unique(np.round(goals(seen), 4), axis=0)
    np.testing.assert_allclose(found, np.unique(np.round(cells[~unseen], 4), axis=0))


def test_another_seed_holds_out_others_and_the_same_seed_the_same():
    env = envs.make("ant", physics="native")
    held = [np.asarray(hold_out(env, 0.25, seed=seed).held) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(held[0], held[1])
    assert np.any(held[0] != held[2])


def test_the_seen_goals_come_as_often_as_before():
    """Rejection changes no odds among those that stay."""
    env = envs.make("point_u_maze", physics="native")
    seen = hold_out(env, 0.2)
    _, counts = np.unique(np.round(goals(seen, 4096), 4), axis=0, return_counts=True)
    assert counts.max() / counts.min() < 1.3


def test_a_reset_begins_as_the_task_begins_it():
    env = hold_out(envs.make("point_u_maze", physics="native", random_starts=0.5), 0.4)
    check_env(env)
    key = jax.random.key(4)
    start = env.reset(key=key)
    assert not env.unseen(start.goal)
    np.testing.assert_array_equal(start.goal, env.draw(key=key).goal)


def test_the_far_goals_keep_their_regions():
    seen = hold_out(envs.make("ant_big_maze", physics="native"), 0.3)
    far = seen.commanding("unseen", envs.make("ant_big_maze_eval", physics="native"))
    assert np.all(seen.unseen(goals(far)))


def test_randomization_wraps_it():
    env = envs.make("point_u_maze", physics="native")
    env = envs.randomize(hold_out(env, 0.3), sensor_noise=0.1)
    keys = jax.random.split(jax.random.key(0), 256)
    reset = jax.jit(jax.vmap(lambda key: env.reset(key=key).goal))
    assert not np.any(env.env.unseen(reset(keys)))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        hold_out(envs.make("reacher", physics="native"), share)


def test_a_goal_that_moves_cannot_be_held_out():
    """It could come to lie where none is to be commanded."""
    grasp = envs.make("arm_grasp", physics="native")
    for env in (grasp, envs.randomize(grasp, sensor_noise=0.01)):
        with pytest.raises(UserError, match="The goals of ArmGrasp move within an episode"):
            hold_out(env, 0.25)


def test_one_goal_cannot_be_held_out_nor_a_task_keep_none():
    with pytest.raises(UserError, match="a single goal"):
        hold_out(envs.make("ant_u_maze_single_eval", physics="native"), 0.5)
    seen = hold_out(envs.make("ant_u_maze", physics="native"), 0.3)
    cells = jnp.asarray(seen.maze.goals)
    held = [c for c, out in zip(seen.maze.cells("G"), seen.unseen(cells), strict=True) if out]
    others = [cell for cell in seen.maze.cells("G") if cell not in held]
    few = envs.make("ant_u_maze", physics="native", without_goals=others)
    with pytest.raises(UserError, match=r"Next to none of this task's goals is not held out"):
        seen.commanding("seen", few)
