"""The search: what it reads, runs, skips and tells."""

import json
import shlex
from pathlib import Path

import pytest

from crl_eqx.cli._train import parse_config, preset_of
from crl_eqx.run import check, check_needs

from .conftest import BENCH


EXPERIMENTS = sorted((BENCH / "experiments").glob("*.toml"))


@pytest.fixture
def search(bench):
    return bench("search")


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_experiment_is_a_run_that_can_be_started(file, search):
    jobs = search.read_jobs(file, Path("runs"), [], [])
    assert len({job.run_dir for job in jobs}) == len(jobs) > 0
    for job in jobs:
        words = shlex.split(job.flags)
        config, _ = parse_config(words, preset_of(words), "train")
        check(config)
        check_needs([config])


def file_of(tmp_path, text):
    file = tmp_path / "some.toml"
    file.write_text(text)
    return file


def test_configurations_share_flags_and_seeds_and_may_have_their_own(search, tmp_path):
    text = (
        '[all]\nflags = "--depth 4"\nseeds = [0, 1]\n[a]\n[b]\nflags = "--width 8"\nseeds = [3]\n'
    )
    jobs = search.read_jobs(file_of(tmp_path, text), tmp_path, [], [])
    assert [(job.name, job.seed, job.flags) for job in jobs] == [
        ("a", 0, "--depth 4"),
        ("a", 1, "--depth 4"),
        ("b", 3, "--depth 4 --width 8"),
    ]
    with pytest.raises(SystemExit, match="has no c; it has a, b."):
        search.read_jobs(file_of(tmp_path, text), tmp_path, ["c"], [])


def test_what_is_done_is_skipped_what_was_begun_goes_on_and_a_failure_stops_nobody(
    search, tmp_path, capsys
):
    text = '[done]\n[wrong]\nflags = "--depth 3"\n[begun]\n'
    done, wrong, begun = jobs = search.read_jobs(file_of(tmp_path, text), tmp_path, [], [])
    for job in (done, begun):
        job.run_dir.mkdir(parents=True)
    (done.run_dir / ".done").touch()
    (begun.run_dir / "config.json").write_text("{")  # which cannot be read, and so fails at once
    assert begun.command()[-2:] == ["resume", str(begun.run_dir)]
    search.run_all(jobs, 2)
    told = capsys.readouterr().out
    assert "wrong seed 0: exit 2" in told and "begun seed 0: exit 2" in told
    assert "done seed 0" not in told and not wrong.done()
    assert "`--depth 3` must be" in wrong.run_dir.with_suffix(".log").read_text()


def test_the_table_has_the_last_evaluation_over_seeds_best_first(search, tmp_path):
    jobs = search.read_jobs(file_of(tmp_path, "[low]\n[high]\nseeds = [0, 1]\n"), tmp_path, [], [])
    for job, at_goal in zip(jobs, (1.0, 4.0, 6.0), strict=True):
        job.run_dir.mkdir(parents=True)
        names = ("success_rate", "final_distance", "episode_length")
        row = {f"eval/{name}": 0.5 for name in names} | {"eval/time_at_goal": at_goal}
        rows = [row | {"env_steps": n, "gradient_steps": n // 2} for n in (0, 4000)]
        text = "\n".join(map(json.dumps, [*rows, {"env_steps": 5000, "gradient_steps": 0}]))
        (job.run_dir / "metrics.jsonl").write_text(text)
    _, _, first, second = search.table(jobs).splitlines()
    assert first.startswith("| high | `` | 0 1 | 4 k | 2 k | 0.50 ± 0.00 | 5 ± 1 |")
    assert second.startswith("| low | `` | 0 | 4 k | 2 k | 0.50 | 1 |")
