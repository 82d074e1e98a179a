"""A run directory that was damaged, moved, linked or made by somebody else."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from crl_eqx import cli, UserError
from crl_eqx.config import load_config, save_config
from crl_eqx.run import CheckpointStore, draw_pictures, load_run, Run, train, TrainingError
from crl_eqx.run_files import read_metrics, trusting
from crl_eqx.run_files._writers import JsonLines
from crl_eqx.store import _manifest as manifest

from .conftest import tiny


TASK = Path(__file__).parents[2] / "examples" / "own_task.py"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(total_env_steps=480), run_dir, Console(quiet=True))
    return run_dir


@pytest.fixture
def run_dir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def resumed(run_dir, console, **changes):
    return train(tiny(total_env_steps=640, **changes), run_dir, console, resume=True)


def test_metrics_and_checkpoints_without_their_configuration_are_not_begun_over(run_dir, console):
    (run_dir / "config.json").unlink()
    before = (run_dir / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match=r"holds `metrics.jsonl` of a run without its config.json"):
        train(tiny(), run_dir, console)
    assert (run_dir / "metrics.jsonl").read_text() == before
    (run_dir / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="holds `checkpoints` of a run"):
        train(tiny(), run_dir, console)


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(run_dir, console):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "checkpoints").write_text("a disk that is away for a moment")
    with pytest.raises(OSError, match="Not a directory"):
        resumed(run_dir, console)
    assert read_metrics(run_dir / "metrics.jsonl")[-1]["env_steps"] == 480


def test_metrics_without_a_checkpoint_are_not_begun_over(run_dir, console):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "checkpoints").mkdir()  # a disk that is away
    before = (run_dir / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="has metrics of 480 environment steps, and no checkpoint"):
        resumed(run_dir, console)
    assert (run_dir / "metrics.jsonl").read_text() == before


def test_another_configuration_is_not_looked_at_in_silence(run_dir):
    config = json.loads((run_dir / "config.json").read_text())
    config["network"]["residual"] = False
    (run_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is not what its checkpoints were saved under"):
        load_run(run_dir)


@pytest.mark.parametrize("key", ["__doc__", "__dataclass_fields__", "__class__"])
def test_a_key_is_a_field_and_nothing_else(run_dir, key):
    config = json.loads((run_dir / "config.json").read_text())
    config["learning"][key] = config[key] = "x"
    (run_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"does not know: .*{key}"):
        load_run(run_dir)


@pytest.mark.parametrize("value", ['"x"', "null", "[1]"])
def test_a_metric_that_is_no_number_is_a_damaged_line(run_dir, value):
    metrics = run_dir / "metrics.jsonl"
    metrics.write_text(f'{{"env_steps": 0, "eval/success_rate": {value}}}\n' + metrics.read_text())
    with pytest.warns(UserWarning, match="damaged lines are left out: 1"):
        rows = read_metrics(metrics)
    assert rows[0]["env_steps"] == 0 and rows[-1]["env_steps"] == 480


def test_a_policy_does_not_take_the_place_of_a_file_of_the_run(run_dir, capsys):
    before = (run_dir / "config.json").read_text()
    for name in ("config.json", "config", "provenance", "metrics.jsonl"):  # with .json beside it
        assert cli.run(["export", str(run_dir), "--out", str(run_dir / name)]) == 2
        assert "is a file of the run itself" in capsys.readouterr().err
    assert (run_dir / "config.json").read_text() == before


def test_a_still_is_not_drawn_through_a_link_nor_a_video_into_a_pipe(run_dir, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / "point_u_maze.png").symlink_to(victim)
    words = ["render", "--env", "point_u_maze", "--episodes", "1", "--view", "2d"]
    assert cli.run([*words, "--out", str(out)]) == 0
    assert victim.read_text() == "precious" and not (out / "point_u_maze.png").is_symlink()
    (out / "point_u_maze.mp4").unlink()
    os.mkfifo(out / "point_u_maze.mp4")
    assert cli.run([*words, "--out", str(out)]) == 2


def test_a_checkpoint_of_another_experiment_is_refused(run_dir, console):
    with pytest.raises(UserError, match="is not what its checkpoints were saved under"):
        resumed(run_dir, console, updates_per_env_step=0.04)


def test_a_changed_configuration_is_noticed(run_dir, console):
    config = json.loads((run_dir / "config.json").read_text())
    config["learning"]["logsumexp_penalty"] = 0.3
    (run_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="was changed or damaged since"):
        train(load_config(run_dir / "config.json"), run_dir, console, resume=True)


def test_nothing_outside_is_deleted_or_overwritten_through_links(run_dir, console, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = outside / "0000000000-0000000010-0123456789ab.safetensors"
    precious.write_text("precious")
    replay = run_dir / "checkpoints" / "replay"
    shutil.move(replay, tmp_path / "replay")
    replay.symlink_to(outside)
    with pytest.raises(UserError, match="could not be written.*is a link"):
        store = CheckpointStore(run_dir / "checkpoints")
        run = Run(tiny(), run_dir)
        store._entered = True
        store.save(run.initial(), run.step.buffer, metadata={})
    replay.unlink()
    shutil.move(tmp_path / "replay", replay)
    victim = outside / "victim"
    victim.write_text("precious")
    for name in ("metrics.jsonl", "provenance.json"):
        text = (run_dir / name).read_text()
        (run_dir / name).unlink()
        (outside / name).write_text(text)
        (run_dir / name).symlink_to(outside / name)
    for name in (".config.json.new", "metrics.tmp", ".metrics.jsonl.new"):
        (run_dir / name).symlink_to(victim)
    resumed(run_dir, console)
    assert precious.read_text() == victim.read_text() == "precious"
    assert len(read_metrics(outside / "metrics.jsonl")) < len(
        read_metrics(run_dir / "metrics.jsonl")
    )
    (run_dir / "plots").symlink_to(outside)
    with pytest.raises(UserError, match="plots` is a link"):
        list(draw_pictures(run_dir))


# Begins what follows without a privilege of root's, so that read-only counts for it, too:
# prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE).
WITHOUT_PRIVILEGE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="gives up the privileges of Linux's root")
@pytest.mark.parametrize(
    "words, sentence",
    [
        ("export RUN", r"`RUN` cannot be written \(Permission denied\): name another file with"),
        ("render RUN", r"`RUN/plots` cannot be written \(Permission denied\): name another folder"),
        ("resume RUN", r"`RUN/.lock`: Permission denied"),
    ],
)
def test_a_read_only_run_is_told_in_one_sentence(run_dir, words, sentence):
    everything = [run_dir, *run_dir.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in everything}
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        words = words.replace("RUN", str(run_dir)).split()
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PRIVILEGE, "-m", "crl_eqx", *words],
            capture_output=True,
            text=True,
        )
    finally:
        for path in everything:
            path.chmod(path.stat().st_mode | 0o200)
    assert re.search(sentence.replace("RUN", re.escape(str(run_dir))), done.stderr)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in everything} == before


def test_pictures_of_a_run_go_where_they_are_told_to(run_dir, tmp_path):
    before = set(run_dir.rglob("*"))
    told = list(draw_pictures(run_dir, folder=tmp_path / "out", num_episodes=1, view="2d"))
    names = {"trajectories.png", "point_u_maze.mp4", "point_u_maze.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert all(any(name in sentence for sentence in told) for name in names)
    assert set(run_dir.rglob("*")) == before


def test_what_cannot_be_read_now_is_not_deleted(run_dir, console, monkeypatch):
    saved = sorted((run_dir / "checkpoints").glob("step_*"))
    segments = set((run_dir / "checkpoints" / "replay").iterdir())
    real = manifest.read_regular

    def read_regular(path):
        if saved[0] in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(manifest, "read_regular", read_regular)
    resumed(run_dir, console, keep_checkpoints=1)
    assert saved[0].is_dir() and segments <= set((run_dir / "checkpoints" / "replay").iterdir())
    monkeypatch.undo()
    train(tiny(total_env_steps=800, keep_checkpoints=1), run_dir, console, resume=True)
    assert not saved[0].exists(), "it can be read again, and is old"


def test_segments_of_a_version_to_come_are_kept(run_dir, console):
    newest = max((run_dir / "checkpoints").glob("step_*"))
    future = newest.with_name("step_000000000001")
    future.mkdir()
    manifest = json.loads((newest / "manifest.json").read_text()) | {"version": 9}
    (future / "manifest.json").write_text(json.dumps(manifest))
    theirs = run_dir / "checkpoints" / "replay" / "0000000000-0000000009-0123456789ab.safetensors"
    theirs.write_text("theirs")
    resumed(run_dir, console)
    assert theirs.exists()
    shutil.rmtree(future)
    train(tiny(total_env_steps=800), run_dir, console, resume=True)
    assert not theirs.exists()


def test_damaged_metrics_and_provenance_are_told_and_the_run_goes_on(run_dir, console, tmp_path):
    lines = (run_dir / "metrics.jsonl").read_bytes().splitlines()
    lines[1:1] = [b"\xff\xfe", b'{"env_steps": "many"}', b"[" * 10_000]
    (run_dir / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (run_dir / "provenance.json").write_bytes(b"\x00{")
    with pytest.warns(UserWarning, match="damaged lines are left out: 2, 3, 4"):
        resumed(run_dir, console)
    assert "provenance.json` is damaged" in (tmp_path / "console.txt").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_metrics(run_dir / "metrics.jsonl")[-1]["env_steps"] == 640


def test_a_bit_in_what_all_checkpoints_share_costs_the_replay_and_not_the_run(
    run_dir, console, capsys
):
    for segment in (run_dir / "checkpoints" / "replay").iterdir():
        data = bytearray(segment.read_bytes())
        data[-5] ^= 1
        segment.write_bytes(data)
    with pytest.raises(UserError, match=r"are whole: `--refill-replay` goes on with them"):
        resumed(run_dir, console)
    words = ["resume", str(run_dir), "--refill-replay", "--total-env-steps", "640"]
    assert cli.run(words) == 0
    assert re.search(
        r"The replay of `.*` is damaged: resuming begins with", capsys.readouterr().out
    )
    load_run(run_dir)
    whole = dataclasses.replace(tiny(), total_env_steps=800)
    assert train(whole, run_dir, console, resume=True).env_steps == 800, "and it is saved again"


def test_observations_that_are_no_numbers_stop_the_run_before_they_are_saved(
    run_dir, console, monkeypatch
):
    from crl_eqx.envs.tasks.point_maze import PointMaze

    real = PointMaze.observe
    turns_nan = lambda env, physics: jnp.where(jnp.abs(real(env, physics)) > 0, jnp.nan, 0.0)
    monkeypatch.setattr(PointMaze, "observe", turns_nan)
    jax.clear_caches()  # what was compiled for an equal task knows nothing of it
    with pytest.raises(TrainingError, match=r"point_u_maze: \d+ of the latest steps observed"):
        resumed(run_dir, console)
    monkeypatch.undo()
    jax.clear_caches()
    assert resumed(run_dir, console).env_steps == 640


def own(run_dir, folder, **changes):
    shutil.copy(TASK, folder / "own_task.py")
    return dataclasses.replace(tiny(**changes), env=f"{folder / 'own_task.py'}:crane")


def test_code_that_a_run_directory_names_is_run_only_with_consent(tmp_path, console):
    config, run_dir = own(tmp_path / "run", tmp_path, total_env_steps=320), tmp_path / "run"
    train(config, run_dir, console)
    load_run(run_dir)  # begun here, by this user
    copied = shutil.copytree(run_dir, tmp_path / "copied")
    with pytest.raises(UserError, match=r"copied/task`, whose code would be run.*`--trust`"):
        load_run(copied)
    with trusting(True):
        load_run(copied)
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "evil.py").write_text("raise SystemExit('it was run')")
    save_config(dataclasses.replace(config, env=f"{evil}/evil.py:f"), evil / "config.json")
    with pytest.raises(UserError, match="--trust"):
        load_run(evil)


def test_rows_are_written_beside_no_link(tmp_path):
    (tmp_path / "elsewhere").write_text('{"env_steps": 0}\n')
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    writer = JsonLines(tmp_path / "metrics.jsonl", after=0)
    writer.write({"env_steps": 1})
    writer.close()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    assert (tmp_path / "elsewhere").read_text() == '{"env_steps": 0}\n'
