"""A run in an environment of Gymnasium, whose simulators are in no checkpoint."""

import dataclasses

import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.parts import make_task
from crl_eqx.run import check, load_run, train
from crl_eqx.run_files import read_metrics

from .conftest import tiny


pytest.importorskip("gymnasium")


def test_a_run_is_resumed_with_fresh_episodes_of_new_numbers(tmp_path, console):
    run_dir = tmp_path / "run"
    choices = dict(goal_indices=(0, 1), goal_low=(1.0, 0.0), goal_high=(1.0, 0.0))
    choices |= dict(goal_threshold=0.2, episode_length=14, eval_every=400, total_env_steps=240)
    config = tiny(env="gym:Pendulum-v1", **choices)
    train(config, run_dir, console)
    run, _ = load_run(run_dir)
    found = run.store.restore(run.abstract(), run.step.buffer, report=pytest.fail)
    assert found is not None
    state, _ = found
    fresh = run.step.with_fresh_episodes(state)
    assert not fresh.episodes.age.any()
    began = state.episodes.age > 0
    assert began.any()
    number = np.asarray(state.episodes.number) + np.asarray(began)
    np.testing.assert_array_equal(fresh.episodes.number, number)
    more = dataclasses.replace(config, total_env_steps=400)
    assert train(more, run_dir, console, resume=True).env_steps == 400
    assert "goes on with fresh episodes" in (tmp_path / "console.txt").read_text()
    assert read_metrics(run_dir / "metrics.jsonl")[-1]["env_steps"] == 400


@pytest.mark.parametrize(
    "choices, sentence",
    [
        (dict(env="ant", goal_threshold=0.1), "`--goal-threshold` is for environments of Gymnas"),
        (dict(env="gym:FetchReach-v4", physics="mjx"), "`--physics mjx`: .* its own physics"),
        (
            dict(env="gym:Pendulum-v1", goal_indices=(0, 1)),
            "the same length; they have 2, 0",
        ),
        (
            dict(env="gym:X", goal_indices=(0,), goal_low=(1.0,), goal_high=(0.0,)),
            "`--goal-low 1.0` must not be above `--goal-high 0.0`",
        ),
        (dict(env="gym:X", goal_threshold=-1.0), "`--goal-threshold -1.0` must be positive"),
        (dict(env="gym:X", episode_length=0), "`--episode-length 0` must be positive"),
    ],
)
def test_a_mistake_in_the_flags_is_told_in_one_sentence(choices, sentence):
    with pytest.raises(UserError, match=sentence):
        check(tiny(**choices))


def test_an_option_and_a_flag_that_say_the_same_are_refused():
    config = tiny(env="gym:FetchReach-v4", episode_length=9, env_option=("episode_length=8",))
    with pytest.raises(UserError, match="`--env-option episode_length=8`: another flag .* has 9"):
        make_task(config)
