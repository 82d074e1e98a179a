"""Seeds trained together leave what seeds trained alone leave."""

import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import equinox as eqx
import jax
import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.config import replaced
from crl_eqx.run import (
    _resources,
    CheckpointStore,
    estimate,
    load_run,
    resolved,
    Run,
    train,
    train_together,
    TrainingError,
)
from crl_eqx.run._begin import check_room
from crl_eqx.run._journal import Journal
from crl_eqx.run._loop import Loop
from crl_eqx.run_files import read_metrics

from .conftest import flags, tiny
from .test_loop import command, state_of, without_time


leaves = jax.tree.leaves
is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)


def places(folder, seeds=3, **changes):
    return {folder / f"seed_{seed}": replaced(tiny(**changes), seed=seed) for seed in range(seeds)}


def assert_alike(ours, theirs):
    """Rows to rounding, and exactly what was counted."""
    ours, theirs = (without_time(read_metrics(d / "metrics.jsonl")) for d in (ours, theirs))
    assert [row["env_steps"] for row in ours] == [row["env_steps"] for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            if isinstance(value, str):
                continue
            # An accuracy jumps by a sample's share of the batch.
            atol = 0.1 if "accuracy" in name else 2e-3
            np.testing.assert_allclose(value, b[name], rtol=2e-2, atol=atol, err_msg=name)


def test_each_directory_holds_what_a_run_alone_leaves(tmp_path, console):
    # So short that rounding has not grown yet.
    short = {"total_env_steps": 640, "diagnostics": True}
    together, alone = places(tmp_path / "a", **short), places(tmp_path / "b", **short)
    outcomes = train_together(together, console)
    assert [outcome.run_dir for outcome in outcomes] == [*together]
    for ours, (theirs, config), outcome in zip(together, alone.items(), outcomes, strict=True):
        assert outcome.env_steps == train(config, theirs, console).env_steps
        assert_alike(ours, theirs)
        agents = [jax.tree.leaves(load_run(run_dir)[1]) for run_dir in (ours, theirs)]
        for a, b in zip(*(filter(eqx.is_array, leaves) for leaves in agents), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)
    # And one of them alone goes on from there.
    run_dir, config = next(iter(together.items()))
    more = replaced(config, total_env_steps=800)
    assert train(more, run_dir, console, resume=True).env_steps == 800


def test_killed_together_they_end_bit_identical_to_uninterrupted_ones(tmp_path):
    words = flags(tiny(total_env_steps=1200))
    start = [*words, "--seed", "0", "1", "--together", "--run-dir"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command("train", *start, whole), check=True, capture_output=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command("train", *start, killed), **quiet)
    stores = [CheckpointStore(killed / f"seed_{seed}" / "checkpoints") for seed in (0, 1)]
    deadline = time.monotonic() + 240
    while not all(any(store.steps()) for store in stores) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert stores[1].steps()[-1] < 1200, "the runs were over before they could be killed"
    subprocess.run(command("resume", killed, "--together"), check=True, capture_output=True)
    for name in ("seed_0", "seed_1"):
        for ours, theirs in zip(state_of(killed / name), state_of(whole / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        ours, theirs = (
            without_time(read_metrics(d / name / "metrics.jsonl")) for d in (killed, whole)
        )
        assert ours == theirs


def test_who_ends_early_leaves_the_others_and_what_is_done_is_left(tmp_path, console, monkeypatch):
    from crl_eqx.run._group import Group

    honest = Group.evaluations

    def evaluations(self, state, env_steps, *, may_go_on):
        found = honest(self, state, env_steps, may_go_on=may_go_on)
        for run, row in zip(self.runs, found or (), strict=True):
            row["eval/success_rate"] = float(run.seed == 1)
        return found

    monkeypatch.setattr(Group, "evaluations", evaluations)
    configs = places(tmp_path, stop_at_success=0.9)
    first, second, third = train_together(configs, console)
    assert second.reason is not None and "--stop-at-success" in second.reason.why
    assert second.env_steps < first.env_steps == third.env_steps and first.reason is None
    before = (second.run_dir / "metrics.jsonl").read_bytes()
    more = {run_dir: replaced(config, total_env_steps=1600) for run_dir, config in configs.items()}
    again = train_together(more, console, begun=[*more])
    assert [outcome.run_dir for outcome in again] == [*configs]
    assert again[0].env_steps == again[2].env_steps >= 1600
    assert again[1].env_steps == second.env_steps
    assert (second.run_dir / "metrics.jsonl").read_bytes() == before


def test_hours_end_all_at_one_step(tmp_path, console, monkeypatch):
    """Though they were begun one after the other."""
    add = Journal.add

    def added(journal, *args, **kwargs):
        add(journal, *args, **kwargs)
        journal.hours = float(journal.run.seed)

    monkeypatch.setattr(Journal, "add", added)
    outcomes = train_together(places(tmp_path, max_hours=1.5), console)
    assert [outcome.env_steps for outcome in outcomes] == [80] * 3
    assert all(outcome.reason for outcome in outcomes)


def test_they_go_on_from_the_newest_checkpoint_that_all_have(tmp_path, console):
    configs = places(tmp_path, seeds=2, total_env_steps=480)
    train_together(configs, console)
    first, second = configs
    ahead = replaced(configs[first], total_env_steps=720)
    train(ahead, first, console, resume=True)
    more = {run_dir: replaced(config, total_env_steps=960) for run_dir, config in configs.items()}
    outcomes = train_together(more, console, begun=[*more])
    assert [outcome.env_steps for outcome in outcomes] == [960, 960]
    for run_dir in configs:
        steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
        assert steps == sorted(set(steps)) and steps[-1] == 960
    far = replaced(configs[first], total_env_steps=2400)
    train(far, first, console, resume=True)
    with pytest.raises(
        UserError, match=r"no checkpoint in common \(newest steps: seed 0 2,400, seed 1"
    ):
        longer = {place: replaced(c, total_env_steps=4800) for place, c in configs.items()}
        train_together(longer, console, begun=[*longer])


def test_who_fails_leaves_the_others(tmp_path, console, monkeypatch):
    add = Journal.add

    def added(journal, *args, **kwargs):
        add(journal, *args, **kwargs)
        if journal.run.seed == 1 and journal.run.run_dir.parent == tmp_path / "a":
            raise TrainingError("Not finite.")

    configs, whole = places(tmp_path / "a"), places(tmp_path / "b")
    train_together(whole, console)
    monkeypatch.setattr(Journal, "add", added)
    with pytest.raises(TrainingError, match="seed 1: Not finite."):
        train_together(configs, console)
    first, second, third = configs
    assert read_metrics(second / "metrics.jsonl")[-1]["health/failure"] == "Not finite."
    for ours, theirs in zip(configs, whole, strict=True):
        steps = [row["env_steps"] for row in read_metrics(theirs / "metrics.jsonl")]
        if ours != second:
            assert [row["env_steps"] for row in read_metrics(ours / "metrics.jsonl")] == steps
            assert CheckpointStore(ours / "checkpoints").steps()[-1] == steps[-1]
    # Who goes on does not wait for it, and it may fail again, alone.
    more = {run_dir: replaced(config, total_env_steps=1600) for run_dir, config in configs.items()}
    with pytest.raises(TrainingError, match="Not finite."):
        train_together(more, console, begun=[*more])
    for run_dir in (first, third):
        assert read_metrics(run_dir / "metrics.jsonl")[-1]["env_steps"] >= 1600


def test_a_damaged_common_checkpoint_is_skipped_and_no_row_is_lost(tmp_path, console):
    configs = places(tmp_path, seeds=2, total_env_steps=480)
    train_together(configs, console)
    first, second = configs
    train(replaced(configs[first], total_env_steps=720), first, console, resume=True)
    before = (first / "metrics.jsonl").read_bytes()
    saved = [CheckpointStore(run_dir / "checkpoints").steps() for run_dir in configs]
    common = sorted({*saved[0]} & {*saved[1]})
    assert len(common) > 1
    damaged = {
        path: path.read_bytes()
        for path in (second / "checkpoints").glob("step_*/agent.safetensors")
    }
    for path, data in damaged.items():
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    more = {run_dir: replaced(config, total_env_steps=960) for run_dir, config in configs.items()}
    with pytest.raises(UserError, match="is good"):
        train_together(more, console, begun=[*more])
    assert (first / "metrics.jsonl").read_bytes() == before, "nothing was begun, nothing is cut"
    good = second / "checkpoints" / f"step_{common[0]:012d}" / "agent.safetensors"
    good.write_bytes(damaged[good])
    outcomes = train_together(more, console, begun=[*more])
    assert [outcome.env_steps for outcome in outcomes] == [960, 960]
    resumed = [json.loads((d / "provenance.json").read_text())["resumed"] for d in configs]
    assert [len(times) for times in resumed] == [2, 1], "what was only tried is not recorded"
    for run_dir in configs:
        steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
        assert steps == sorted(set(steps)) and len(steps) > 6


def test_an_evaluation_that_is_due_for_one_is_made_for_it_alone(tmp_path, console, monkeypatch):
    configs = places(tmp_path, seeds=2, total_env_steps=480)
    first, second = configs
    train(configs[first], first, console)
    stopped = Loop.measure

    def stop_at_the_end(self, *, evaluating, again=False):
        if evaluating and self.env_steps >= 480:
            for journal in self.journals:
                journal.evaluation_due = True
            self.unsaved = True
            os.kill(os.getpid(), signal.SIGTERM)
            return
        stopped(self, evaluating=evaluating, again=again)

    monkeypatch.setattr(Loop, "measure", stop_at_the_end)
    train(configs[second], second, console)
    monkeypatch.setattr(Loop, "measure", stopped)
    more = {run_dir: replaced(config, total_env_steps=560) for run_dir, config in configs.items()}
    train_together(more, console, begun=[*more])
    for run_dir in configs:
        rows = [
            row for row in read_metrics(run_dir / "metrics.jsonl") if "eval/success_rate" in row
        ]
        steps = [row["env_steps"] for row in rows]
        assert steps == sorted(set(steps)) and steps[-2:] == [480, 560]


def test_what_does_not_go_together_is_told(tmp_path, console):
    with pytest.raises(UserError, match="differ in --depth: one program"):
        configs = {tmp_path / "a": tiny(), tmp_path / "b": tiny(depth=8)}
        train_together(configs, console)
    with pytest.raises(UserError, match="at least one run"):
        train_together({}, console)


def test_seeds_that_do_not_fit_in_memory_say_how_many_do(tmp_path, console, monkeypatch):
    run = Run(tiny(), tmp_path)
    needs = estimate(run.config, run.step, run.abstract())
    monkeypatch.setattr(_resources, "free_memory", lambda: int(2.5 * needs.memory))
    with pytest.raises(
        UserError, match=r"Each of 3 runs needs .* are free: `--together` fits 2 of"
    ):
        train_together(places(tmp_path), console)


def test_room_is_asked_for_once_for_all_seeds(tmp_path, console, monkeypatch):
    """What the first has taken by then is not missing to the others."""
    config = resolved(tiny())
    runs = [Run(replaced(config, seed=seed), tmp_path / str(seed)) for seed in range(3)]
    needs = estimate(config, runs[0].step, runs[0].abstract())
    free, disk = iter([3 * needs.memory]), [3 * needs.disk - 2]
    monkeypatch.setattr(_resources, "free_memory", lambda: next(free))
    usage = lambda path: SimpleNamespace(free=disk[0])
    monkeypatch.setattr(_resources.shutil, "disk_usage", usage)
    for run in runs[1:]:  # checkpoints that are replaced leave room
        (run.run_dir / "checkpoints").mkdir(parents=True)
        (run.run_dir / "checkpoints" / "one").write_bytes(b"x")
    check_room(runs, (), console.print)
    assert not [*free]
    disk[0] -= 1
    monkeypatch.setattr(_resources, "free_memory", lambda: 3 * needs.memory)
    with pytest.raises(UserError, match="Each of 3 runs needs .* of disk are free"):
        check_room(runs, (), console.print)


@pytest.mark.parametrize("objective", ["sac", "td3"])
def test_slow_copies_and_averages_are_counted(objective, tmp_path):
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in filter(is_shape, leaves(tree)))
    needs, kept = {}, ()
    for average in (0, 100):
        run = Run(tiny(objective=objective, policy_average=average), tmp_path)
        state = run.abstract()
        needs[average] = estimate(run.config, run.step, state).parameters
        kept = state.agent, state.opt_state, state.objective_state, state.average
    assert needs[100] == sum(map(size, kept)) and min(map(size, kept)) > 0
    assert needs[100] - needs[0] == size(kept[-1])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--together"],
        ["train", "--together", "--seed", "3"],
        ["ladder", "--depths", "4", "--together"],
    ],
)
def test_one_seed_together_is_refused(words, capsys):
    from crl_eqx import cli

    assert cli.run([*words, "--env", "point_u_maze"]) == 2
    assert "trains several seeds in one program" in capsys.readouterr().err
