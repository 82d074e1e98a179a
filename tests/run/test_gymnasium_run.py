"""A run in an environment of Gymnasium, whose simulators are in no checkpoint."""

import dataclasses

import numpy as np
import pytest

from crl_eqx.run import load_run, read_metrics, train

from .conftest import tiny


pytest.importorskip("gymnasium")
pytestmark = pytest.mark.usefixtures("quick_compiles")


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
    fresh = run.step.restart(state)
    assert not fresh.episodes.age.any()
    began = state.episodes.age > 0
    assert began.any()
    number = np.asarray(state.episodes.number) + np.asarray(began)
    np.testing.assert_array_equal(fresh.episodes.number, number)
    more = dataclasses.replace(config, total_env_steps=400)
    assert train(more, run_dir, console, resume=True).env_steps == 400
    assert "goes on with fresh episodes" in (tmp_path / "console.txt").read_text()
    assert read_metrics(run_dir / "metrics.jsonl")[-1]["env_steps"] == 400
