"""Runs that differ in some choices: which they are, that they are made once, and go on."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from crl_eqx import cli, UserError
from crl_eqx.config import load_config, replaced
from crl_eqx.lab import (
    _jobs,
    begin_sweep,
    load_sweep,
    read_results,
    Sweep,
    train_runs,
    train_sweep,
    update_sweep,
)
from crl_eqx.lab._jobs import awaited, programs
from crl_eqx.parts import resolved
from crl_eqx.run._begin import resumed_config
from crl_eqx.run_files import alone, read_metrics

from ..run.conftest import console as console, flags, tiny


def test_every_combination_is_a_run_of_its_own():
    sweep = Sweep(tiny(), {"depth": (4, 8), "discount": (0.9,), "seed": (0, 3)})
    names = [f"depth_{d}_discount_0.9_seed_{s}" for d in (4, 8) for s in (0, 3)]
    assert list(sweep.runs) == names
    last = sweep.runs[names[-1]]
    assert (last.network.depth, last.learning.discount, last.seed) == (8, 0.9, 3)
    assert replaced(last, depth=4, discount=tiny().learning.discount, seed=0) == tiny()


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({"depht": (4,)}, "no choice `depht`; did you mean depth"),
        ({"seed": (1, 1)}, r"`Sweep\(axes=\{'seed': \(1, 1\)\}\)` must name distinct values"),
        ({"depth": ()}, "at least one"),
    ],
)
def test_axes_that_are_none_are_told(axes, sentence):
    with pytest.raises(UserError, match=sentence):
        Sweep(tiny(), axes)


def test_a_choice_that_does_not_fit_is_found_before_the_first_run(tmp_path, console):
    with pytest.raises(UserError, match="`--depth 6`"):
        begin_sweep(Sweep(tiny(), {"depth": (4, 6)}), tmp_path / "runs", console)
    assert not (tmp_path / "runs").exists()


def test_a_sweep_goes_on_where_it_was_and_repeats_nothing(tmp_path, console):
    sweep = Sweep(tiny(total_env_steps=400), {"seed": (0, 1)})
    sweep = begin_sweep(sweep, tmp_path / "runs", console)
    ended = []

    def stop_after_the_first(outcome, config):
        ended.append(config.seed)
        return 130

    assert train_sweep(sweep, tmp_path / "runs", console, finish=stop_after_the_first) == 130
    assert ended == [0] and not (tmp_path / "runs" / "seed_1" / "metrics.jsonl").exists()
    first = (tmp_path / "runs" / "seed_0" / "metrics.jsonl").read_bytes()
    again = load_sweep(tmp_path / "runs")
    assert again == sweep
    assert train_sweep(again, tmp_path / "runs", console) == 0
    assert (tmp_path / "runs" / "seed_0" / "metrics.jsonl").read_bytes() == first
    more = dataclasses.replace(again, config=replaced(again.config, total_env_steps=560))
    update_sweep(more, tmp_path / "runs")
    assert train_sweep(load_sweep(tmp_path / "runs"), tmp_path / "runs", console) == 0
    for seed in (0, 1):
        rows = read_metrics(tmp_path / "runs" / f"seed_{seed}" / "metrics.jsonl")
        assert rows[-1]["env_steps"] >= 560


def test_runs_at_a_time_are_processes_of_their_own_and_what_is_done_is_left(tmp_path, console):
    sweep = Sweep(tiny(total_env_steps=400), {"seed": (0, 1)})
    run_dir = tmp_path / "runs"
    sweep = begin_sweep(sweep, run_dir, console)
    assert train_sweep(sweep, run_dir, console, jobs=2) == 0
    for seed in (0, 1):
        assert read_metrics(run_dir / f"seed_{seed}" / "metrics.jsonl")[-1]["env_steps"] >= 400
        assert "parameters" in (run_dir / f"seed_{seed}" / "console.log").read_text()
    with alone(run_dir / "seed_1"):  # another process trains there
        assert train_sweep(sweep, run_dir, console, jobs=2) == 2
    assert "is in use" in (run_dir / "seed_1" / "console.log").read_text()


def test_a_run_waits_for_those_whose_agents_it_needs_and_never_for_itself(tmp_path):
    elsewhere = f"{tmp_path}/shallow/seed_{{seed}}"  # of another sweep, and named as ours
    runs = Sweep(replaced(tiny(), collect_with=elsewhere), {"seed": (0, 1)}).runs
    assert [awaited(runs, [name]) for name in runs] == [set(), set()]
    of_the_first = replaced(tiny(), collect_with=f"{tmp_path}/runs/seed_0")
    runs = Sweep(of_the_first, {"seed": (0, 1)}).runs
    assert [awaited(runs, [name]) for name in runs] == [set(), {"seed_0"}]
    assert programs(runs, together=False) == [("seed_0",), ("seed_1",)]
    runs = Sweep(replaced(tiny(), init_from=f"{tmp_path}/runs/seed_0"), {"seed": (0, 1)}).runs
    assert [awaited(runs, [name]) for name in runs] == [set(), {"seed_0"}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_every_run_that_is_trained_at_a_time(number, tmp_path, console, monkeypatch):
    """Whichever of them the parent is looking at."""
    child = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(7))\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "time.sleep(60)"
    )
    names = "a", "b", "c"
    for name in names:
        (tmp_path / name).mkdir()
    command = lambda run_dir, run, flags: [sys.executable, "-c", child, str(run_dir / run[0])]
    monkeypatch.setattr(_jobs, "job_command", command)
    asked = []

    def watch():
        if not asked and all((tmp_path / name / "ready").exists() for name in names[:2]):
            asked.append(os.kill(os.getpid(), number))

    needed = {(name,): set() for name in names}
    begun = time.monotonic()
    assert _jobs._in_processes(needed, tmp_path, console, 2, (), watch) == 7
    assert time.monotonic() - begun < 50
    assert not (tmp_path / "c" / "ready").exists(), "none is begun after it"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_diverges_leaves_the_others_and_is_told(jobs, tmp_path, console):
    run_dir = tmp_path / "runs"
    axes = {"critic_learning_rate": (1e30, 1e-3), "seed": (0,)}
    sweep = begin_sweep(Sweep(tiny(total_env_steps=400), axes), run_dir, console)
    assert train_sweep(sweep, run_dir, console, jobs=jobs) == 1
    diverged, fine = read_results(run_dir).groups[::-1]
    assert not diverged.done and fine.done
    assert diverged.results[0].failure.startswith("Not finite from gradient step")
    assert train_sweep(sweep, run_dir, console, jobs=jobs) == 1, "and again"
    console.file.flush()
    said = (tmp_path / "console.txt").read_text()
    assert ("Not finite from" in said) == (jobs == 1)  # else it is in the run's own log
    # Who waits for its agent is left out.
    variants = {
        "a": {},
        "b": {"critic_learning_rate": 1e-3, "collect_with": f"{tmp_path}/two/a_seed_0"},
    }
    asked = tiny(total_env_steps=400, critic_learning_rate=1e30)
    two = begin_sweep(Sweep(asked, {"seed": (0,)}, variants), tmp_path / "two", console)
    assert train_sweep(two, tmp_path / "two", console, jobs=jobs) == 1
    assert not (tmp_path / "two" / "b_seed_0" / "config.json").exists()
    console.file.flush()
    assert "b seed 0: left out, as" in (tmp_path / "console.txt").read_text()


def test_a_ladder_can_be_given_more_seeds_and_depths(tmp_path, capsys):
    words = ["ladder", *flags(tiny(total_env_steps=400)), "--run-dir", str(tmp_path / "runs")]
    assert cli.run([*words, "--depths", "4"]) == 0
    first = (tmp_path / "runs" / "depth_4_seed_0" / "metrics.jsonl").read_bytes()
    assert cli.run([*words, "--depths", "4,8", "--seeds", "2"]) == 0
    groups = {group.label: group.planned for group in read_results(tmp_path / "runs").groups}
    assert groups == {"depth 4": 2, "depth 8": 2}
    assert all(group.done for group in read_results(tmp_path / "runs").groups)
    assert (tmp_path / "runs" / "depth_4_seed_0" / "metrics.jsonl").read_bytes() == first
    capsys.readouterr()
    assert cli.run([*words, "--depths", "4", "--seeds", "2"]) == 2
    assert "of which depth_8_seed_0 would be none any more" in capsys.readouterr().err


def test_a_run_that_the_sweep_does_not_have_is_told(tmp_path, console):
    begin_sweep(Sweep(tiny(), {"seed": (0, 1)}), tmp_path / "runs", console)
    with pytest.raises(UserError, match="has no run 'seed_7'; there are seed_0, seed_1"):
        train_runs(tmp_path / "runs", ["seed_7"], console)


def test_a_sweep_killed_at_work_leaves_nobody_behind_and_goes_on(tmp_path, console):
    run_dir = tmp_path / "runs"
    endless = tiny(total_env_steps=10_000_000, checkpoint_every=10_000_000)
    sweep = begin_sweep(Sweep(endless, {"seed": (0, 1)}), run_dir, console)
    code = (
        "from pathlib import Path; from rich.console import Console; from crl_eqx.lab import *; "
        f"p = Path({str(run_dir)!r}); train_sweep(load_sweep(p), p, Console(), jobs=2)"
    )
    whole = subprocess.Popen([sys.executable, "-c", code])
    places = [run_dir / f"seed_{seed}" for seed in (0, 1)]
    reached = lambda place: max(
        (row["env_steps"] for row in read_metrics(place / "metrics.jsonl")), default=0
    )

    def until(enough, seconds=300):
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end
            time.sleep(0.2)

    def is_left(place):
        try:
            with alone(place):
                return True
        except UserError:
            return False

    until(lambda: min(map(reached, places)) > 400)
    whole.send_signal(signal.SIGKILL)
    whole.wait()
    until(lambda: all(map(is_left, places)))
    before = {place: (place / "metrics.jsonl").read_text().splitlines() for place in places}
    most = max(map(reached, places))
    config = replaced(sweep.config, total_env_steps=most + 160)
    update_sweep(dataclasses.replace(sweep, config=config), run_dir)
    assert train_sweep(load_sweep(run_dir), run_dir, console) == 0
    for place, old in before.items():
        rows = read_metrics(place / "metrics.jsonl")
        steps = [row["env_steps"] for row in rows]
        assert steps == sorted(set(steps)) and steps[-1] >= most + 160
        assert (place / "metrics.jsonl").read_text().splitlines()[: len(old)] == old


def test_each_run_of_a_sweep_has_a_schedule_of_its_own_length(console, tmp_path):
    asked = tiny(schedule="cooldown", schedule_updates=None)
    sweep = Sweep(asked, {"updates_per_env_step": (0.03, 0.3)})
    sweep = begin_sweep(sweep, tmp_path / "runs", console)
    lengths = lambda sweep: [resolved(c).learning.schedule_updates for c in sweep.runs.values()]
    assert lengths(sweep) == [31, 312]
    longer = resumed_config(sweep.config, replaced(asked, total_env_steps=2160), "crl-eqx sweep")
    assert lengths(dataclasses.replace(sweep, config=longer)) == [60, 600]


def test_runs_keep_the_length_of_their_schedules_when_the_budget_is_raised(console, tmp_path):
    asked = tiny(schedule="cooldown", schedule_updates=None)
    sweep = begin_sweep(Sweep(asked, {"seed": (0, 1)}), tmp_path / "runs", console)
    assert train_sweep(sweep, tmp_path / "runs", console) == 0
    length = lambda seed: load_config(tmp_path / "runs" / f"seed_{seed}" / "config.json").learning
    before = [length(seed).schedule_updates for seed in (0, 1)]
    assert before[0] and before[0] == before[1]
    more = replaced(asked, total_env_steps=asked.total_env_steps + 400)
    sweep = dataclasses.replace(sweep, config=resumed_config(sweep.config, more, "crl-eqx sweep"))
    update_sweep(sweep, tmp_path / "runs")
    assert train_sweep(sweep, tmp_path / "runs", console) == 0
    assert [length(seed).schedule_updates for seed in (0, 1)] == before
    rows = read_metrics(tmp_path / "runs" / "seed_1" / "metrics.jsonl")
    assert rows[-1]["env_steps"] >= more.total_env_steps
