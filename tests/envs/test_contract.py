"""What every task owes to whoever rolls it out."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crl_eqx
from crl_eqx import envs
from crl_eqx.envs import AbstractMujocoEnv
from crl_eqx.envs._layout import parts as layout_parts
from crl_eqx.envs.tasks.ant_maze_gen import AntMazeGen
from crl_eqx.envs.tasks.ant_push import AntPush
from crl_eqx.envs.tasks.cheetah import Cheetah


N = 32


def _distinct_goals(env) -> int:
    """How many goals there are; many where they are drawn from a region."""
    if isinstance(env, Cheetah):
        return 1  # the field's; `goals=` opens a range
    if env.maze is None or isinstance(env, AntPush):
        return N
    return len(env.maze.path() if isinstance(env, AntMazeGen) else env.maze.goals)


@pytest.fixture(scope="module", params=envs.names())
def case(request):
    """The task, N fresh starts and the step after them, compiled once for all tests."""
    env = envs.make(request.param, physics="native")
    keys = jax.random.split(jax.random.key(1), N)
    reset = jax.jit(jax.vmap(lambda key: env.reset(key=key)))
    step = jax.jit(jax.vmap(env.step))
    actions = jax.random.uniform(jax.random.key(2), (N, env.action_size), minval=-1, maxval=1)
    starts = reset(keys)
    return env, keys, reset, step, starts, actions, step(starts, actions)


def test_every_array_has_the_size_that_the_task_states(case):
    env, _, _, _, starts, _, ends = case
    for env_state in (starts, ends):
        assert env_state.state.shape == (N, env.state_size)
        assert env_state.goal.shape == (N, env.goal_size)
        assert env_state.terminated.shape == env_state.failed.shape == (N,)
        assert env_state.state.dtype == env_state.goal.dtype == jnp.float32
        assert env_state.terminated.dtype == env_state.failed.dtype == jnp.bool_
        assert env.achieved_goal(env_state.state).shape == (N, env.goal_size)
        assert env.position(env_state.state).shape == (N, 2)
        assert env.target(env_state.goal).shape == (N, 3)
        assert env.qpos(env_state).shape == (N, env.model.nq)
        levels = env.success_levels(env_state.state, env_state.goal)
        assert all(level.shape == (N,) for level in levels.values())


def test_a_step_changes_only_numbers_never_the_kind_of_the_state(case):
    *_, starts, _, ends = case
    assert jax.tree.structure(starts) == jax.tree.structure(ends)
    kinds = lambda tree: [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]
    assert kinds(starts) == kinds(ends)


def test_the_same_key_and_actions_give_the_same_episode(case):
    _, keys, reset, step, starts, actions, ends = case
    assert eqx.tree_equal(reset(keys), starts)
    assert eqx.tree_equal(step(starts, actions), ends)


def test_every_reset_draws_a_fresh_start_and_a_fresh_goal(case):
    env, _, _, _, starts, _, _ = case
    assert len(np.unique(starts.state, axis=0)) == N
    most = _distinct_goals(env)
    assert len(np.unique(starts.goal, axis=0)) >= min(most, N) / 2.5


def test_the_goal_is_no_part_of_the_state_and_does_not_act_on_it(case):
    env, _, _, step, starts, actions, ends = case
    elsewhere = dataclasses.replace(starts, goal=starts.goal + 1.0)
    moved = step(elsewhere, actions)
    np.testing.assert_array_equal(moved.state, ends.state)
    commanded = jax.vmap(env.commanded)(moved.state, starts.goal + 1.0)
    np.testing.assert_array_equal(moved.goal, commanded)
    if type(env).commanded is AbstractMujocoEnv.commanded:
        np.testing.assert_array_equal(moved.goal, starts.goal + 1.0)


def test_a_goal_drawn_elsewhere_leaves_no_trace_in_a_fresh_state(case, monkeypatch):
    env, keys, _, _, starts, _, _ = case
    draw = type(env).draw
    other = lambda self, *, key: draw(self, key=key)._replace(goal=jnp.full(env.goal_size, 0.123))
    monkeypatch.setattr(type(env), "draw", other)
    moved = jax.jit(jax.vmap(lambda key: env.reset(key=key)))(keys)
    np.testing.assert_array_equal(moved.goal, jnp.full((N, env.goal_size), 0.123))
    np.testing.assert_array_equal(moved.state, starts.state)


def test_every_task_can_be_evaluated(case):
    """Traced, not played: what fails here would fail there."""
    env = case[0]
    policy = lambda state, goal, key: jnp.zeros((*state.shape[:-1], env.action_size))
    play = lambda key: crl_eqx.evaluate(policy, env, 4, key=key).summary()
    names = eqx.filter_eval_shape(play, jax.random.key(0))
    expected = {"success_rate", "time_at_goal", "final_distance", "episode_length"}
    expected |= {f"success_rate_{level}" for level, _ in env.levels}
    assert expected <= names.keys()


def test_success_begins_just_inside_the_threshold(case):
    env, _, _, _, starts, _, _ = case
    if type(env).success is not AbstractMujocoEnv.success:
        pytest.skip("a rule of its own, tested with the task")
    achieved = env.achieved_goal(starts.state)
    shift = env.threshold * jnp.eye(env.goal_size)[0][None]
    assert env.success(starts.state, achieved + 0.999 * shift).all()
    assert not env.success(starts.state, achieved + 1.001 * shift).any()
    for name, threshold in env.levels:
        shift = threshold * jnp.eye(env.goal_size)[0][None]
        assert env.success_levels(starts.state, achieved + 0.999 * shift)[name].all()
        assert not env.success_levels(starts.state, achieved + 1.001 * shift)[name].any()


def test_nobody_is_born_fallen_or_at_the_goal_of_a_maze(case):
    env, _, _, _, starts, _, ends = case
    assert not starts.terminated.any() and not env.fallen(starts.state).any()
    assert not ends.terminated.any() and not ends.failed.any()
    if env.maze is not None:
        assert not env.success(starts.state, starts.goal).any()


def test_starts_and_goals_of_a_maze_lie_in_their_cells(case):
    env, _, _, _, starts, _, _ = case
    if env.maze is None:
        pytest.skip("a task without a maze has no cells")
    anywhere = isinstance(env, AntMazeGen)
    for points, letter in ((env.position(starts.state), "R"), (starts.goal[:, :2], "G")):
        cells = [env.maze.cell(point) for point in np.asarray(points)]
        assert {env.maze.rows[i][j] for i, j in cells} <= set("RG." if anywhere else letter)
    np.testing.assert_array_equal(starts.goal[:, :2], env.target(starts.goal)[:, :2])


def test_the_layout_covers_the_state_without_gap_or_overlap_and_holds_the_goal(case):
    env, *_, starts, _, _ = case
    parts = layout_parts(env.layout)
    ends = [part.stop for part in parts.values()]
    assert [part.start for part in parts.values()] == [0, *ends[:-1]]
    assert ends[-1] == env.state_size and all(part.unit for part in parts.values())
    achieved = env.achieved_goal(starts.state)
    np.testing.assert_array_equal(achieved, starts.state[:, np.asarray(env.goal_indices)])


@pytest.mark.slow
def test_a_hundred_thousand_random_steps_stay_finite(case):
    env = case[0]
    policy = lambda state, goal, key: jax.random.uniform(key, (512, env.action_size), minval=-1.0)
    episodes = crl_eqx.start_episodes(env, 512, key=jax.random.key(3))
    run = lambda episodes, key: crl_eqx.collect(policy, env, episodes, length=196, key=key)
    _, steps, counts = jax.jit(run)(episodes, jax.random.key(4))
    assert jnp.isfinite(steps.state).all() and counts.failures == 0
    assert jnp.abs(steps.state).max() < 1000


@pytest.mark.slow
def test_few_episodes_begin_in_success_and_no_goal_is_in_a_wall(case):
    env = case[0]
    one = lambda key: env.reset(key=key)
    starts = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), 10_000))
    assert env.success(starts.state, starts.goal).mean() < 0.07
    if env.maze is not None:
        cells = {env.maze.cell(xy) for xy in np.unique(starts.goal[:, :2], axis=0)}
        assert cells <= set(env.maze.cells("RG."))


def test_an_action_out_of_range_is_clipped_and_one_that_is_no_number_counts_as_zero(case):
    env, _, _, step, starts, _, _ = case

    def after(value):
        return step(starts, jnp.full((N, env.action_size), value)).state

    np.testing.assert_array_equal(after(7.0), after(1.0))
    np.testing.assert_array_equal(after(-jnp.inf), after(0.0))
    np.testing.assert_array_equal(after(jnp.nan), after(0.0))
    assert not np.array_equal(after(1.0), after(0.0))


def test_the_picture_shows_the_goal_and_the_goal_weighs_nothing(case):
    env = case[0]
    target = env.model.body("target")
    assert target.mocapid[0] == 0 and target.mass[0] == 0
    assert target.dofnum[0] == 0 and target.geomnum[0] == 0


def test_a_task_is_static_and_may_be_closed_over_or_passed(case):
    env, *_, starts, actions, ends = case
    assert jax.tree.leaves(env) == [] and hash(env) == hash(env)
    passed = jax.jit(lambda env, s, a: env.step(s, a))
    one = passed(env, *jax.tree.map(lambda x: x[0], (starts, actions)))
    np.testing.assert_allclose(one.state, ends.state[0], rtol=1e-6)
