"""An agent is played where it was not trained, and what comes out is kept and told."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from crl_eqx import cli, UserError
from crl_eqx.config import replaced
from crl_eqx.lab import generalize, Measured, read_generalization, report
from crl_eqx.lab._generalize import _by_dynamics, GRID
from crl_eqx.run import load_run, train

from ..run.conftest import tiny


ROOT = Path(__file__).parents[2]


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
    assert read_generalization(run_dir)[-8:] == found


def test_parts_are_measured_once_and_others_are_kept(run_dir):
    goals = generalize(run_dir, parts=["goals", "goals"], episodes=1)
    assert [m.value for m in goals] == ["yes", "never"]
    distance = generalize(run_dir, parts=["distance"], episodes=4)
    kept = read_generalization(run_dir)
    assert set(goals) | set(distance) <= set(kept) and len(kept) == len(set(kept))


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


def test_a_change_of_the_world_is_not_mixed_with_one_model_of_many(run_dir):
    """A run with masses of its own keeps all of them beside what is changed."""
    run, seen = load_run(run_dir)[0], {}
    run.task_config = replaced(run.task_config, randomize_masses=(0.5, 1.5), variants=8)

    def play(part, what, value, env):
        seen[what, value] = env
        return Measured(part, what, value, 1, 0.0, 0.0, 0.0)

    assert len([*_by_dynamics(run, play)]) == len(seen)
    models = lambda env: len({float(m.body_mass.max()) for m in env.env.physics.pool})
    assert models(seen["friction", "× 2"]) == 8 and models(seen["masses", "× 2"]) == 1


def test_what_was_trained_without_far_goals_is_measured_without_them(tmp_path):
    place = tmp_path / "run"
    config = tiny(total_env_steps=480, env_option=("without_goals=[[1, 2]]",), eval_split=False)
    train(config, place, Console(quiet=True))
    found = generalize(place, parts=["distance"], episodes=8)
    assert {m.what for m in found} == {"point_u_maze"}
    assert cli.run(["evaluate", str(place), "--episodes", "2"]) == 0


def test_a_task_of_ones_own_is_measured_by_the_run_s_copy(tmp_path):
    own = tmp_path / "own.py"
    shutil.copy(ROOT / "examples" / "own_task.py", own)
    place = tmp_path / "run"
    train(tiny(env=f"{own}:crane", total_env_steps=480), place, Console(quiet=True))
    own.unlink()
    assert generalize(place, parts=["distance"], episodes=8)


def test_mistakes_are_one_sentence(run_dir, tmp_path, capsys):
    with pytest.raises(UserError, match="has nothing of path"):
        generalize(run_dir, parts=["path"])
    for words, sentence in (
        (["generalize", str(run_dir), "--parts", "wings"], "`--parts wings` must be of distance"),
        (["generalize", str(run_dir), "--parts"], "`--parts` needs at least one of distance"),
        (["generalize", str(run_dir), "--episodes", "0"], "`--episodes 0` must be positive"),
        (["generalize", str(tmp_path)], "is not a run directory"),
        (["generalize", str(tmp_path / "mistyped")], "is not a run directory"),
    ):
        assert cli.run(words) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "mistyped").exists()
    (run_dir / "generalization.json").write_text(json.dumps([{"part": 1}]))
    with pytest.raises(UserError, match="is damaged"):
        read_generalization(run_dir)
