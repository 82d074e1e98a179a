"""Contrastive RL's rivals learn, too: minutes of training, so not in the default run."""

import pytest

from .trainings import QUIET, trained


pytestmark = pytest.mark.slow


def rows(run_dir, *words):
    return trained(run_dir, *words, "--eval-episodes", "64", *QUIET)


@pytest.mark.parametrize("objective", ["sac", "td3", "c-learning"])
def test_it_finds_its_way_through_a_maze(objective, tmp_path):
    budget = ["--total-env-steps", "1000000"]
    words = ["--preset", "cpu-demo", "--objective", objective, *budget]
    first, *_, last = rows(tmp_path / "run", *words)
    assert first["eval/success_rate"] < 0.3 and last["eval/success_rate"] >= 0.8


def test_an_arm_learns_from_its_latest_steps_alone(tmp_path):
    budget = ["--total-env-steps", "1000000", "--eval-every", "100000"]
    rate = ["--schedule", "cosine", "--schedule-updates", "12000", "--schedule-end", "0.02"]
    words = ["--preset", "laptop", "--env", "reacher", "--objective", "ppo", *budget, *rate]
    first, *later = rows(tmp_path / "run", *words)
    assert first["eval/time_at_goal"] < 150
    assert max(row["eval/time_at_goal"] for row in later) > 700
    assert later[-1]["eval/success_rate"] >= 0.8


def test_cloning_what_was_done_finds_most_of_the_goals(tmp_path):
    """It stitches nothing together, and so needs episodes that begin anywhere; the weights of a
    policy that is evaluated are averaged, as the latest ones swing."""
    task = ["--env", "point_u_maze", "--env-option", "random_starts=1.0", "--objective", "gcbc"]
    how = ["--horizon", "6", "--policy-average", "3000", "--total-env-steps", "1000000"]
    first, *later = rows(tmp_path / "run", "--preset", "cpu-demo", *task, *how)
    assert first["eval/success_rate"] < 0.3
    assert max(row["eval/success_rate"] for row in later) >= 0.8
    assert later[-1]["eval/success_rate"] >= 0.7
