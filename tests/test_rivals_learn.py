"""Contrastive RL's rivals learn, too: minutes of training, so not in the default run."""

import pytest

from crl_eqx import cli
from crl_eqx.run import read_metrics


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]

QUIET = ["--no-pictures", "--no-tensorboard", "--eval-episodes", "64"]


def rows(run_dir, *words):
    assert cli.run(["train", *words, *QUIET, "--run-dir", str(run_dir)]) == 0
    written = read_metrics(run_dir / "metrics.jsonl")
    return [row for row in written if "eval/success_rate" in row]


@pytest.mark.parametrize("objective", ["sac", "td3", "c-learning"])
def test_it_finds_its_way_through_a_maze(objective, tmp_path):
    budget = ["--total-env-steps", "1000000"]
    words = ["--preset", "cpu-demo", "--objective", objective, *budget]
    first, *_, last = rows(tmp_path / "run", *words)
    assert first["eval/success_rate"] < 0.3 and last["eval/success_rate"] >= 0.8


def test_an_arm_learns_from_its_latest_steps_alone(tmp_path):
    budget = ["--total-env-steps", "1000000", "--eval-every", "100000"]
    words = ["--preset", "laptop", "--env", "reacher", "--objective", "ppo", *budget]
    first, *later = rows(tmp_path / "run", *words)
    assert first["eval/time_at_goal"] < 150
    assert max(row["eval/time_at_goal"] for row in later) > 700
    assert later[-1]["eval/success_rate"] >= 0.8


def test_cloning_what_was_done_brings_an_arm_to_its_goal_and_keeps_it_near(tmp_path):
    """An untrained arm passes its goal by chance, so that the time at the goal is what counts."""
    budget = ["--total-env-steps", "300000", "--eval-every", "100000"]
    words = ["--preset", "laptop", "--env", "reacher", "--objective", "gcbc", *budget]
    first, *_, last = rows(tmp_path / "run", *words)
    assert last["eval/success_rate"] >= 0.8
    assert last["eval/time_at_goal"] > 2 * first["eval/time_at_goal"]
