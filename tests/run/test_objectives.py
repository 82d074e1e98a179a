"""Every objective in a whole run: learnt on, saved, resumed, evaluated and drawn."""

import dataclasses

import jax
import numpy as np
import pytest

from crl_eqx import cli
from crl_eqx.config import PRESETS
from crl_eqx.pictures import trajectories
from crl_eqx.run import load_run, resolved, Run, train
from crl_eqx.run_files import read_metrics

from .conftest import tiny
from .test_loop import state_of


RIVALS = ["gcbc", "c-learning", "sac", "td3", "ppo"]


@pytest.mark.parametrize("objective", RIVALS)
def test_a_run_that_was_stopped_and_resumed_ends_bit_identical(objective, tmp_path, console):
    ends = {"whole": [800], "in two": [400, 800]}
    for name, budgets in ends.items():
        for number, budget in enumerate(budgets):
            config = tiny(objective=objective, total_env_steps=budget, run_dir=tmp_path / name)
            train(config, tmp_path / name, console, resume=number > 0)
    ours, theirs = (state_of(tmp_path / name) for name in ends)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("objective", ["gcbc", "ppo"])
def test_an_agent_without_a_critic_of_actions_is_evaluated_and_drawn(
    objective, tmp_path, console, capsys
):
    train(
        tiny(objective=objective, total_env_steps=400, diagnostics=True), tmp_path / "run", console
    )
    first, *later = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "health/verdict" not in first, "nothing has been collected"
    assert all("health/verdict" in row for row in later if row["gradient_steps"])
    run, agent = load_run(tmp_path / "run")
    assert not agent.compares_actions
    words = ["evaluate", str(tmp_path / "run"), "--episodes", "2"]
    assert cli.run(words) == 0 and cli.run([*words, "--acting", "best-of"]) == 2
    assert "`--acting best-of` asks a critic" in capsys.readouterr().err
    key, path = jax.random.key(0), tmp_path / "trajectories.png"
    assert trajectories(run.env, agent, path, num_episodes=2, key=key, title=objective).is_file()


@pytest.mark.parametrize("objective", ["crl", *RIVALS])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_takes_every_objective_at_depth_16(preset, objective, tmp_path):
    config = PRESETS[preset]
    network = dataclasses.replace(config.network, depth=16)
    chosen = dataclasses.replace(config.objective, objective=objective)
    config = resolved(dataclasses.replace(config, network=network, objective=chosen))
    run = Run(config, tmp_path)
    assert run.abstract().agent.actor.network.depth == 16
    assert type(run.step.objective).__name__.lower() == objective.replace("-", "")


def test_goals_are_mixed_as_the_objective_is_used_to_unless_told_otherwise():
    shares = lambda config: (config.learning.p_future, config.learning.p_random)
    assert shares(resolved(tiny())) == (0.5, 0.5)
    assert shares(resolved(tiny(objective="sac"))) == (0.8, 0.0)
    asked = tiny(objective="sac", p_future=0.4, p_random=0.6)
    assert shares(resolved(asked)) == (0.4, 0.6)
