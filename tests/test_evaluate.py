"""Evaluation of scripted policies whose every number is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crl_eqx import evaluate, run_episodes

from .probes import Corridor, Logbook, Pull


evaluated = eqx.filter_jit(lambda policy, env, key: evaluate(policy, env, 4, key=key).per_episode)

UP, DOWN = Pull(1.0), Pull(-1.0)


@pytest.mark.parametrize(
    ("env", "policy", "time", "easy", "distance", "length"),
    [
        # Past the goal: cells 1 … 10 are visited, of which 3 is the goal and 2, 3, 4 are easy.
        (Corridor(goal_cell=3), UP, 1, 3, 7, 10),
        # A wall behind the goal: there from the third step to the tenth.
        (Corridor(goal_cell=3, end=3), UP, 8, 9, 0, 10),
        # Never leaves cell 0.
        (Corridor(goal_cell=3), DOWN, 0, 0, 3, 10),
        # At the goal from the start: every step counts, the reset does not.
        (Corridor(goal_cell=0), DOWN, 10, 10, 0, 10),
        # Reached by the very last step.
        (Corridor(goal_cell=10), UP, 1, 2, 0, 10),
        # Terminates one cell before the goal; nothing after that counts.
        (Corridor(goal_cell=3, trap_cell=2), UP, 0, 1, 1, 2),
        # The terminating step itself counts.
        (Corridor(goal_cell=3, trap_cell=3), UP, 1, 2, 0, 3),
    ],
)
def test_a_scripted_walk_scores_exactly(env, policy, time, easy, distance, length):
    rows = evaluated(policy, env, jax.random.key(0))
    expected = {
        "time_at_goal": time,
        "time_at_goal_easy": easy,
        "success_rate": time > 0,
        "success_rate_easy": easy > 0,
        "final_distance": distance,
        "episode_length": length,
    }
    assert rows.keys() == expected.keys()
    for name, value in expected.items():
        assert rows[name].tolist() == [float(value)] * 4, name


def test_means_and_standard_errors_are_those_of_the_episodes():
    some_go_up = lambda state, goal, key: jnp.where(jnp.arange(8) < 3, 1.0, -1.0)[:, None]
    env = Corridor(goal_cell=2, end=2)
    result = evaluate(some_go_up, env, 8, key=jax.random.key(0))
    summary = result.summary()
    assert summary["success_rate"] == pytest.approx(3 / 8)
    assert summary["success_rate_se"] == pytest.approx((3 / 8 * 5 / 8 / 7) ** 0.5)
    assert summary["time_at_goal"] == pytest.approx(3 * 9 / 8)
    for name, values in result.per_episode.items():
        assert summary[name] == pytest.approx(np.mean(values))
        assert summary[f"{name}_se"] == pytest.approx(stats.sem(values), rel=1e-5)


def test_one_episode_has_no_standard_error_but_no_nan_either():
    summary = evaluate(UP, Corridor(), 1, key=jax.random.key(0)).summary()
    assert all(jnp.isfinite(value) for value in summary.values())
    assert "success_rate" in summary and not any(name.endswith("_se") for name in summary)


def noise(state, goal, key):
    return jax.random.normal(key, (*state.shape[:-1], 1))


@eqx.filter_jit
def states_of(env, key):
    return run_episodes(noise, env, 16, trace=lambda env_state: env_state.state, key=key)[1]


def test_each_evaluation_step_draws_from_a_fresh_key():
    states = states_of(Logbook(), jax.random.key(0))
    assert states.shape == (1 + 5, 16, 3)
    actions = np.asarray(states[1:, :, 2])  # every state tells which action led to it
    assert len(np.unique(actions)) == actions.size


def test_evaluation_starts_afresh_for_every_episode_and_every_key():
    one, same, other = (states_of(Logbook(), jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(one[:, 0])) == 16
    assert not np.isin(one[:, 0], other[:, 0]).any()


def test_a_terminated_episode_stands_still():
    states = np.asarray(states_of(Logbook(max_life=3), jax.random.key(0)))
    length = states[-1, :, 1].astype(int)  # its age when it stopped
    assert set(length) == {1, 2, 3}
    for episode, end in enumerate(length):
        np.testing.assert_array_equal(
            states[end:, episode], np.repeat(states[end : end + 1, episode], 6 - end, axis=0)
        )
