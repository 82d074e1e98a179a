"""The ant learns to walk towards its goals within minutes."""

import pytest

from crl_eqx import cli
from crl_eqx.run import read_metrics


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]


def test_after_some_minutes_the_ant_ends_metres_nearer_to_its_goals(tmp_path):
    """An ant that has not learnt ends 10 m away, give or take a step: over 64 episodes its mean
    distance has never been seen below 9.5 m."""
    budget = ["--total-env-steps", "400000", "--eval-every", "400000", "--eval-episodes", "64"]
    quiet = ["--no-pictures", "--no-tensorboard", "--no-save-replay"]
    command = ["train", "--preset", "laptop", "--env", "ant", "--run-dir", str(tmp_path / "run")]
    assert cli.run([*command, *budget, *quiet]) == 0
    first, *_, last = [
        row["eval/final_distance"]
        for row in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if "eval/final_distance" in row
    ]
    assert first == pytest.approx(10.0, abs=0.3)
    assert last < 8.0
