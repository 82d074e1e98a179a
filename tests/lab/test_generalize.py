"""An agent is played where it was not trained, and what comes out is kept and told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from crl_eqx import cli, UserError
from crl_eqx.lab import generalize, Measured, read_generalization, report
from crl_eqx.lab._generalize import _by_dynamics, GRID
from crl_eqx.run import load_run, train

from ..run.conftest import tiny


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "run"
    config = tiny(total_env_steps=480, hold_out=0.3, num_envs=16)
    train(config, place, Console(quiet=True))
    return place


def test_bins_of_distance_are_equal_and_in_order(run_dir):
    found = generalize(run_dir, parts=["distance"], episodes=16)
    assert [m.what for m in found] == ["point_u_maze"] * 4 + ["point_u_maze_eval"] * 4
    assert all(m.episodes == 4 for m in found)
    ends = [float(m.value.split()[2]) for m in found[:4]]
    assert ends == sorted(ends)
    assert read_generalization(run_dir) == found


def test_seen_and_unseen_goals_and_every_change_of_the_world(run_dir):
    told = []
    found = generalize(run_dir, parts=["goals", "dynamics"], episodes=4, report=told.append)
    assert tuple(told) == found
    assert [m.value for m in found[:2]] == ["yes", "never"]
    changes = [m for m in found if m.part == "dynamics"]
    assert len(changes) == 1 + sum(len(values) for _, values in GRID.values())
    assert {m.what for m in changes} == {"none", *GRID}
    for m in found:
        assert 0 <= m.success_rate <= 1 and np.isfinite(m.success_rate_se)


def test_a_world_that_is_changed_is_another_world(run_dir):
    seen, run = {}, load_run(run_dir)[0]

    def play(part, what, value, env):
        seen[what, value] = env
        return Measured(part, what, value, 1, 0.0, 0.0, 0.0)

    assert len([*_by_dynamics(run, play)]) == len(seen)
    assert seen["none", "as it was trained"] is run.env

    def pushed(env):
        moment = env.reset(key=jax.random.key(0))
        moment = env.step(moment, jnp.full(env.action_size, 0.1))  # too weak to reach a wall
        return env.true_state(moment)[2:]  # its velocity

    weak = pushed(seen["gains", "× 0.5"]) / pushed(run.env)
    np.testing.assert_allclose(weak, 0.5, atol=0.02)
    heavy = pushed(seen["masses", "× 2"]) / pushed(run.env)
    assert (heavy < 0.95).all()
    assert seen["action delay", "3"].action_delay == (3, 3)
    assert seen["sensor noise", "0.1"].sensor_noise == 0.1


def test_a_report_shows_it(run_dir):
    generalize(run_dir, parts=["goals"], episodes=4)
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "## Where it was not trained" in text and "| goals | commanded in training |" in text


def test_mistakes_are_one_sentence(run_dir, tmp_path, capsys):
    with pytest.raises(UserError, match="has nothing of path"):
        generalize(run_dir, parts=["path"])
    for words, sentence in (
        (["generalize", str(run_dir), "--parts", "wings"], "`--parts wings` must be of distance"),
        (["generalize", str(run_dir), "--parts"], "`--parts` needs at least one of distance"),
        (["generalize", str(run_dir), "--episodes", "0"], "`--episodes 0` must be positive"),
        (["generalize", str(tmp_path)], "is not a run directory"),
    ):
        assert cli.run(words) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    (run_dir / "generalization.json").write_text(json.dumps([{"part": 1}]))
    with pytest.raises(UserError, match="is damaged"):
        read_generalization(run_dir)
