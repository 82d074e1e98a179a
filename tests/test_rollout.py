"""Collecting, in an environment that writes down what happened to it."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import collect, start_episodes

from .probes import Logbook


def wander(state, goal, key):
    return jax.random.uniform(key, (*state.shape[:-1], 1), minval=-1)


@eqx.filter_jit
def roll(env, episodes, length, key):
    return collect(wander, env, episodes, length=length, key=key)


@functools.cache
def play(max_life=0):
    """Three unrolls of 20 steps in 6 environments, one after the other: the steps joined along
    time, the episodes under way, and what was counted."""
    env = Logbook(max_life=max_life)
    episodes = start_episodes(env, 6, key=jax.random.key(0))
    parts, counts = [], []
    for i in range(3):
        episodes, steps, count = roll(env, episodes, 20, jax.random.key(i + 1))
        parts.append(steps)
        counts.append(count)
    join = lambda *leaves: np.concatenate(leaves)
    return jax.tree.map(join, *parts), episodes, jax.tree.map(lambda *c: int(sum(c)), *counts)


def split_episodes(steps, env):
    """The rows of every episode of one environment, by its number."""
    numbers = steps.episode[:, env]
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


class Overflowing(Logbook):
    """Ends every episode in a state that is no number."""

    def step(self, env_state, action):
        env_state = super().step(env_state, action)
        state = jnp.where(env_state.terminated, jnp.nan, env_state.state)
        return eqx.tree_at(lambda s: s.state, env_state, state)


@pytest.mark.parametrize("next_states", [False, True])
def test_an_end_that_is_no_number_counts_where_it_is_kept(next_states):
    env = Overflowing(max_life=5)
    episodes = start_episodes(env, 3, key=jax.random.key(0))
    options = dict(length=20, next_states=next_states, key=jax.random.key(1))
    _, steps, counts = collect(wander, env, episodes, **options)
    assert np.isfinite(steps.state).all() and counts.episodes > 3
    assert counts.nonfinite == (np.sum(steps.terminated) if next_states else 0)


endings = pytest.mark.parametrize("max_life", [0, 8], ids=["time limit", "termination too"])


@endings
def test_every_auto_reset_draws_a_fresh_start_and_a_fresh_goal(max_life):
    steps, _, _ = play(max_life)
    episodes = [(rows, env) for env in range(6) for rows in split_episodes(steps, env)]
    nonces = [np.unique(steps.state[rows, env, 0]) for rows, env in episodes]
    goals = [np.unique(steps.goal[rows, env], axis=0) for rows, env in episodes]
    assert len(episodes) >= 72
    assert all(len(nonce) == 1 for nonce in nonces) and all(len(goal) == 1 for goal in goals)
    assert len(np.unique(np.concatenate(nonces))) == len(episodes)
    assert len(np.unique(np.concatenate(goals), axis=0)) == len(episodes)


@endings
def test_episodes_are_numbered_without_gaps_also_across_unrolls(max_life):
    steps, episodes, counts = play(max_life)
    assert (steps.episode[0] == 0).all()
    rises = np.diff(steps.episode, axis=0)
    assert set(np.unique(rises)) == {0, 1}
    fresh = steps.state[1:, :, 0] != steps.state[:-1, :, 0]
    np.testing.assert_array_equal(rises == 1, fresh)
    assert counts.episodes == np.sum(episodes.number)
    assert (episodes.number - steps.episode[-1] <= 1).all()


@endings
def test_age_counts_from_every_reset_and_ends_at_the_time_limit(max_life):
    steps, episodes, _ = play(max_life)
    lengths = set()
    for env in range(6):
        for rows in split_episodes(steps, env):
            np.testing.assert_array_equal(steps.state[rows, env, 1], np.arange(len(rows)))
            lengths.add(len(rows))
    assert max(lengths) == 5
    assert (episodes.age < 5).all()
    np.testing.assert_array_equal(episodes.age, episodes.env_state.state[:, 1].astype(int))


def test_a_terminated_episode_ends_when_the_environment_says_so():
    steps, _, counts = play(4)
    done = [
        len(rows) for env in range(6) for rows in split_episodes(steps, env)[:-1]
    ]  # the last of each may still be running
    assert set(done) == {1, 2, 3, 4}
    assert len(done) <= counts.episodes <= len(done) + 6


def test_the_last_step_of_an_episode_says_whether_the_environment_ended_it():
    for max_life, fall in ((4, True), (None, False)):
        steps, _, _ = play() if max_life is None else play(max_life)
        last = [rows[-1] for env in range(6) for rows in split_episodes(steps, env)[:-1]]
        envs = [env for env in range(6) for _ in split_episodes(steps, env)[:-1]]
        assert (np.asarray(steps.terminated)[last, envs] == fall).all()
        assert fall or not steps.terminated.any()


def test_failures_are_counted_among_the_episodes():
    steps, episodes, counts = play(4)
    ended = [
        len(rows)
        for env in range(6)
        for rows in split_episodes(steps, env)
        if steps.episode[rows[0], env] < episodes.number[env]
    ]
    assert counts.episodes == len(ended)
    assert counts.failures == sum(length % 2 for length in ended) > 0
    assert play()[2].failures == 0


def test_actions_are_stored_with_the_state_before_them():
    steps, _, _ = play()
    for env, (now, then) in itertools.product(range(6), itertools.pairwise(range(60))):
        same = steps.episode[now, env] == steps.episode[then, env]
        expected = steps.action[now, env, 0] if same else 0.0
        assert steps.state[then, env, 2] == expected


def test_every_step_of_every_environment_draws_its_own_action():
    steps, _, _ = play()
    assert len(np.unique(steps.action)) == steps.action.size


def test_environments_start_differently_and_as_the_key_says():
    begin = lambda seed: start_episodes(Logbook(), 8, key=jax.random.key(seed))
    one, same, other = map(begin, (0, 0, 1))
    assert one.num_envs == 8 and not one.age.any() and not one.number.any()
    assert len(np.unique(one.env_state.state[:, 0])) == 8
    np.testing.assert_array_equal(one.env_state.goal, same.env_state.goal)
    assert not np.isin(one.env_state.goal, other.env_state.goal).any()


def test_the_commanded_goal_is_what_the_policy_is_given():
    env = Logbook()
    goal_as_action = lambda state, goal, key: goal[..., :1]
    episodes = start_episodes(env, 4, key=jax.random.key(0))
    _, steps, _ = collect(goal_as_action, env, episodes, length=12, key=jax.random.key(1))
    assert steps.action.shape == (12, 4, 1)
    assert jnp.array_equal(steps.action, steps.goal[..., :1])


def test_what_begins_anew_is_what_start_would_give_with_the_same_key():
    env, key = Logbook(episode_length=1), jax.random.key(3)
    episodes = start_episodes(env, 4, key=jax.random.key(0))
    episodes, _, _ = collect(wander, env, episodes, length=1, key=key)
    _, reset_key = jax.random.split(jax.random.split(key, 1)[0])
    assert eqx.tree_equal(episodes.env_state, start_episodes(env, 4, key=reset_key).env_state)
