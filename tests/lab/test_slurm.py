"""Sweeps as jobs of a cluster: on submitit's local one, and against recorded calls of Slurm."""

import json
import os
import signal
import stat
import time

import psutil
import pytest
from submitit.core.utils import DelayedSubmission

from crl_eqx import cli, UserError
from crl_eqx.lab import begin_sweep, Resources, submit_sweep, Sweep
from crl_eqx.run_files import read_metrics

from ..run.conftest import console as console, flags, tiny


SBATCH = """#!/bin/sh
echo "$@" >> {folder}/calls
cp "$1" {folder}/script.$(wc -l < {folder}/calls)
{then}
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm that keeps what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(then="echo Submitted batch job 12"):
        for name, text in (
            ("sbatch", SBATCH.format(folder=folder, then=then)),
            ("srun", "#!/bin/sh\n"),
        ):
            path = folder / name
            path.write_text(text)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    install()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder, install


def test_a_ladder_is_submitted_and_returns(slurm, tmp_path, capsys):
    folder, _ = slurm
    run_dir = tmp_path / "ladder"
    words = ["ladder", "--depths", "4,8", "--on", "slurm", "--partition", "gpu", "--minutes", "30",
             "--gpus", "1", "--cpus", "8", *flags(tiny()), "--run-dir", str(run_dir)]  # fmt: skip
    assert cli.run(words) == 0
    assert "depth_8_seed_0: job 12" in capsys.readouterr().out
    script = (folder / "script.1").read_text()
    for line in ("--partition=gpu", "--time=30", "--gpus-per-node=1", "--cpus-per-task=8",
                 "--signal=USR2@120", "--job-name=ladder", "--open-mode=append"):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert len((folder / "calls").read_text().splitlines()) == 2
    submitted = [*(run_dir / "jobs").glob("*submitted*.pkl")]
    assert submitted
    for path in submitted:  # how often it may run out of time, and be queued again
        assert DelayedSubmission.load(path)._timeout_countdown > 1000
    assert not (run_dir / "depth_4_seed_0" / "metrics.jsonl").exists()  # nothing is trained here
    # What is complete is not submitted again.
    done = run_dir / "depth_4_seed_0"
    config = json.loads((run_dir / "sweep.json").read_text())["config"]
    (done / "config.json").write_text(json.dumps(config | {"seed": 0}))
    (done / "metrics.jsonl").write_text('{"env_steps": 1200, "gradient_steps": 1}\n')
    assert cli.run(words) == 0
    said = capsys.readouterr().out
    assert "depth_8_seed_0: job" in said and "depth_4_seed_0: job" not in said


def test_what_slurm_refuses_is_one_sentence(slurm, tmp_path, console):
    _, install = slurm
    install("echo 'sbatch: error: invalid partition specified: wings' >&2; exit 1")
    sweep = begin_sweep(Sweep(tiny(), {"seed": (0,)}), tmp_path / "runs", console)
    with pytest.raises(UserError, match=r"on slurm: .*invalid partition specified: wings"):
        submit_sweep(sweep, tmp_path / "runs", Resources(partition="wings"))


def test_where_there_is_no_slurm_that_is_said(tmp_path, console, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    sweep = begin_sweep(Sweep(tiny(), {"seed": (0,)}), tmp_path / "runs", console)
    with pytest.raises(UserError, match="Nothing runs .* on slurm: .*slurm"):
        submit_sweep(sweep, tmp_path / "runs")


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("--on moon", "`--on moon` must be local or slurm"),
        ("--partition gpu", "`--partition gpu` goes with `--on slurm`"),
        ("--on slurm --minutes soon", "`--minutes soon` must be a number"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, capsys):
    assert cli.run(["ladder", "--depths", "4,8", *words.split()]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_job_that_is_preempted_saves_and_is_queued_again(tmp_path, console):
    """On submitit's local cluster, which sends the signals that Slurm sends."""
    run_dir = tmp_path / "runs"
    endless = tiny(total_env_steps=10_000_000, checkpoint_every=10_000_000)
    sweep = begin_sweep(Sweep(endless, {"seed": (0,)}), run_dir, console)
    (job,) = submit_sweep(sweep, run_dir, cluster="local").values()
    metrics = run_dir / "seed_0" / "metrics.jsonl"
    reached = lambda: max((r["env_steps"] for r in read_metrics(metrics)), default=0)

    def steps():
        places = (run_dir / "seed_0" / "checkpoints").glob("step_*")
        return sorted(int(place.name.removeprefix("step_")) for place in places)

    def until(enough, seconds=300):
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end, job.stderr()
            time.sleep(0.2)

    try:
        until(lambda: reached() > 400)
        # As Slurm does: to the job's own process, not to the one that submitit put above it here.
        psutil.Process(job._process.pid).children()[0].send_signal(signal.SIGUSR2)
        until(lambda: steps()[-1] > 400)  # the only other one is from the beginning
        saved = steps()[-1]
        until(lambda: reached() > saved)  # it went on from there
    finally:
        # Not by `job.cancel`, which interrupts: where tests run in the background, nobody listens.
        tree = psutil.Process(job._process.pid)
        for process in [*tree.children(recursive=True), tree]:
            process.kill()
        job._process.wait()
