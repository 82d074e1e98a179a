"""The README's promise, kept in full: minutes of training, so not in the default run."""

import pytest

from crl_eqx import cli
from crl_eqx.run import read_metrics


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("optimized")]


@pytest.mark.parametrize("seed", range(5))
def test_the_demo_learns_to_reach_all_cells(seed, tmp_path):
    run_dir = tmp_path / "run"
    words = ["train", "--preset", "cpu-demo", "--seed", str(seed), "--run-dir", str(run_dir)]
    assert cli.run(words) == 0
    first, *_, last = read_metrics(run_dir / "metrics.jsonl")
    assert first["env_steps"] == 0 and first["eval/success_rate"] < 0.3
    assert last["eval/success_rate"] >= 0.95
    for made in ("plots/learning_curve.png", "plots/trajectories.png", "videos/point_u_maze.mp4"):
        assert (run_dir / made).stat().st_size > 1000
