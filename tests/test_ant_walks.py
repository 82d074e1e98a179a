"""The ant learns to walk towards its goals within minutes."""

import pytest

from .trainings import QUIET, trained


@pytest.mark.slow
def test_after_some_minutes_the_ant_ends_metres_nearer_to_its_goals(tmp_path):
    """An ant that has not learnt ends 10 m away, give or take a step: over 64 episodes its mean
    distance has never been seen below 9.5 m."""
    budget = ["--total-env-steps", "600000", "--eval-every", "600000", "--eval-episodes", "64"]
    words = ["--preset", "laptop", "--env", "ant", *budget, *QUIET, "--no-save-replay"]
    first, *_, last = [row["eval/final_distance"] for row in trained(tmp_path / "run", *words)]
    assert first == pytest.approx(10.0, abs=0.3)
    assert last < 7.0
