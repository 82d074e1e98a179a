"""A real process, stopped and killed: what is lost, and what comes out in the end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import equinox as eqx
import filelock
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from crl_eqx import UserError
from crl_eqx.config import load_config, save_config
from crl_eqx.envs import HoldOut
from crl_eqx.run import _run as run_module, CheckpointStore, load_run, Run, train, TrainingError
from crl_eqx.run._group import Group
from crl_eqx.run._journal import Journal
from crl_eqx.run._loop import crossed, Loop
from crl_eqx.run._meter import Meter, OVERHEADS, time_spent
from crl_eqx.run._run import PiecewiseEvaluation
from crl_eqx.run._signals import stop_requests
from crl_eqx.run_files import read_metrics, record_provenance

from .conftest import flags, tiny


def command(*words) -> list[str]:
    return [sys.executable, "-m", "crl_eqx", *map(str, words)]


def plain(leaf):
    """Random keys as the numbers they are."""
    return np.asarray(
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    )


def state_of(run_dir):
    """The newest checkpoint's state, as NumPy arrays."""
    run = Run(load_config(run_dir / "config.json"), run_dir)
    found = run.store.restore(run.abstract(), run.step.buffer, report=pytest.fail)
    assert found is not None
    return [plain(leaf) for leaf in jax.tree.leaves(eqx.filter(found[0], eqx.is_array))]


def without_time(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    words = flags(tiny(run_dir=run_dir))
    subprocess.run(command("train", *words), check=True, capture_output=True)
    return run_dir


def test_a_killed_run_ends_bit_identical_to_an_uninterrupted_one(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        command("train", *flags(tiny(run_dir=run_dir))),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store = CheckpointStore(run_dir / "checkpoints")
    deadline = time.monotonic() + 120
    while not any(store.steps()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = store.steps()[-1]
    assert reached < 1200, "the run was over before it could be killed"

    subprocess.run(command("resume", run_dir), check=True, capture_output=True)
    for ours, theirs in zip(state_of(run_dir), state_of(uninterrupted), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (read_metrics(d / "metrics.jsonl") for d in (run_dir, uninterrupted))
    assert without_time(ours) == without_time(theirs)


def test_a_stop_in_the_middle_of_an_evaluation_costs_no_row(tmp_path, console, monkeypatch):
    run_dir, calls = tmp_path / "run", []
    # In this very process, whose programs other tests may have compiled otherwise.
    uninterrupted = tmp_path / "whole"
    train(tiny(run_dir=uninterrupted), uninterrupted, console)

    class Interrupted(PiecewiseEvaluation):
        def __call__(self, agent, key, *, may_go_on):
            def ask(share):
                calls.append(share)
                if len(calls) in (1, 30):  # of the first evaluation, and of a later one
                    os.kill(os.getpid(), signal.SIGTERM)
                return may_go_on(share)

            return super().__call__(agent, key, may_go_on=ask)

    monkeypatch.setattr(run_module, "PiecewiseEvaluation", Interrupted)
    outcomes = [train(tiny(run_dir=run_dir), run_dir, console)]
    while outcomes[-1].exit_code:
        assert (CheckpointStore(run_dir / "checkpoints").metadata() or {})["evaluation_due"]
        outcomes.append(train(tiny(run_dir=run_dir), run_dir, console, resume=True))
    assert [outcome.exit_code for outcome in outcomes] == [143, 143, 0]
    ours, theirs = (read_metrics(d / "metrics.jsonl") for d in (run_dir, uninterrupted))
    assert without_time(ours) == without_time(theirs)


def test_a_run_in_a_thread_listens_to_nothing(tmp_path, console):
    outcomes = []
    work = lambda: outcomes.append(train(tiny(total_env_steps=320), tmp_path / "run", console))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcomes[0].exit_code == 0


STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR2, 140)]
STOPS += [(signal.SIGXCPU, 152), (signal.SIGALRM, 142)]


@pytest.mark.parametrize("number, code", STOPS)
def test_a_signal_saves_and_exits_with_its_code(number, code, tmp_path):
    run_dir = tmp_path / "run"
    words = flags(tiny(run_dir=run_dir, total_env_steps=1_000_000, checkpoint_every=10**9))
    process = subprocess.Popen(
        command("train", *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not read_metrics(run_dir / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    store = CheckpointStore(run_dir / "checkpoints")
    if number == signal.SIGHUP:  # the other kind of signal, first
        before = store.steps()
        process.send_signal(signal.SIGUSR1)
        while store.steps() == before:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert f"resume {run_dir}" in output
    # Of the beginning and of now; of the other signal, if there was a step between the two.
    assert 2 <= len(store.steps()) <= 2 + (number == signal.SIGHUP)


def test_the_same_signal_within_a_second_is_the_same_stop(monkeypatch):
    """As when a terminal and a sweep both tell a run."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGTERM)
        now += 0.9
        signal.raise_signal(signal.SIGTERM)
        assert stop.exit_code == 143
        now += 0.2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with stop_requests(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def test_a_run_killed_after_the_evaluation_that_was_due_writes_its_row_once(
    tmp_path, console, monkeypatch
):
    run_dir, config = tmp_path / "run", tiny(total_env_steps=480, checkpoint_every=10**6)
    undisturbed, advance = Loop.undisturbed, Loop.advance

    def stopped(loop, share):
        loop.stop.signal = signal.SIGINT if loop.env_steps else None
        return undisturbed(loop, share)

    class Killed(BaseException):
        pass

    def killed(loop):
        raise Killed

    monkeypatch.setattr(Loop, "undisturbed", stopped)
    train(config, run_dir, console)  # saves in the middle of an evaluation
    monkeypatch.setattr(Loop, "undisturbed", undisturbed)
    monkeypatch.setattr(Loop, "advance", killed)
    with pytest.raises(Killed):
        train(config, run_dir, console, resume=True)  # makes it, and saves no more
    monkeypatch.setattr(Loop, "advance", advance)
    train(config, run_dir, console, resume=True)
    steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == 480


def test_a_run_stopped_at_its_beginning_keeps_its_first_row(tmp_path, console, monkeypatch):
    run_dir, config = tmp_path / "run", tiny(total_env_steps=320)
    measure = Loop.measure

    def stopped(loop, *, evaluating, again=False):
        measure(loop, evaluating=evaluating, again=again)
        loop.stop.signal = signal.SIGINT

    monkeypatch.setattr(Loop, "measure", stopped)
    assert train(config, run_dir, console).env_steps == 0
    monkeypatch.setattr(Loop, "measure", measure)
    train(config, run_dir, console, resume=True)
    steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == [0, 160, 320]


def test_a_finished_run_can_be_given_a_larger_budget(tmp_path, console):
    run_dir = tmp_path / "run"
    first = train(tiny(run_dir=run_dir, total_env_steps=480), run_dir, console)
    more = train(tiny(run_dir=run_dir, total_env_steps=960), run_dir, console, resume=True)
    assert (first.env_steps, more.env_steps) == (480, 960)
    steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] == 960


def test_two_evaluations_in_a_row_are_enough(tmp_path, console, monkeypatch):
    run_dir, config = tmp_path / "run", tiny(stop_at_success=0.9)
    everybody = lambda self, agent, env_steps, *, may_go_on: {"eval/success_rate": 1.0}
    monkeypatch.setattr(Run, "evaluations", everybody)
    enough = train(config, run_dir, console)
    assert (enough.env_steps, enough.success_rate) == (400, 1.0), "those at 0 and at 400"
    assert train(config, run_dir, console, resume=True).env_steps == 400
    more = tiny(total_env_steps=560)
    assert train(more, run_dir, console, resume=True).env_steps == 560
    steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] == 560


def test_without_its_replay_a_resumed_run_fills_it_again_before_it_learns(tmp_path, console):
    run_dir = tmp_path / "run"
    train(tiny(total_env_steps=480, save_replay=False), run_dir, console)
    changed = tiny(total_env_steps=640, save_replay=False)
    train(changed, run_dir, console, resume=True)
    before, *_, after = (
        row for row in read_metrics(run_dir / "metrics.jsonl") if row["env_steps"] >= 480
    )
    assert after["env_steps"] == 640
    assert after["gradient_steps"] == before["gradient_steps"]
    assert (
        " was not saved: resuming begins with an empty one"
        in (tmp_path / "console.txt").read_text()
    )


def test_at_least_the_budget_is_collected_and_updates_keep_their_ratio(tmp_path, console):
    run_dir = tmp_path / "run"
    outcome = train(tiny(total_env_steps=1001), run_dir, console)
    assert outcome.env_steps == 1040  # the next whole unroll of 8 environments x 10 steps
    last = read_metrics(run_dir / "metrics.jsonl")[-1]
    assert last["gradient_steps"] == int((1040 - 160) * 0.03)


def test_a_run_writes_what_it_was_made_with(tmp_path, console):
    run_dir = tmp_path / "run"
    config = tiny(total_env_steps=400, tensorboard=True, diagnostics=True)
    train(config, run_dir, console)
    # Which physics `auto` was is kept, so that the run goes on with it elsewhere, too.
    assert load_config(run_dir / "config.json") == dataclasses.replace(config, physics="native")
    facts = json.loads((run_dir / "provenance.json").read_text())
    assert {"jax", "mujoco", "python"} <= facts["versions"].keys()
    cores = facts["hardware"]["cores"]
    assert f"Physics: native, on {cores} core" in (tmp_path / "console.txt").read_text()
    (events,) = (run_dir / "tensorboard").iterdir()
    shown = {(step, value.tag): value for step, value in summaries(events)}
    for row in read_metrics(run_dir / "metrics.jsonl"):
        value = shown[row["env_steps"], "time/env_steps_per_second"].simple_value
        assert value == pytest.approx(row["time/env_steps_per_second"])
    step, name = row["env_steps"], "health/actor_block_grad_norms"
    norms, blocks = row[name], shown[step, name]
    assert shown[step, f"{name}/max"].simple_value == np.float32(max(norms))
    assert blocks.histo.num == len(norms) and blocks.histo.max == pytest.approx(max(norms))
    said = shown[step, "health/verdict/text_summary"].tensor.string_val[0].decode()
    assert said == f"{row['health/verdict']}: {row['health/reason']}"


def summaries(path):
    """(step, summary) of an event file: records of length, checksum, event, checksum."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        yield from ((event.step, value) for value in event.summary.value)
        at += 16 + length


def test_a_run_ends_with_its_hours_saved_and_evaluated_and_goes_on_bit_identical(tmp_path, console):
    whole, config = tmp_path / "whole", tiny(total_env_steps=480)
    train(config, whole, console)
    run_dir = tmp_path / "late"
    outcome = train(dataclasses.replace(config, max_hours=1e-9), run_dir, console)
    assert outcome.reason is not None and outcome.exit_code == 0 and outcome.env_steps < 480
    rows = read_metrics(run_dir / "metrics.jsonl")
    before = rows[-1]["time/elapsed_seconds"]
    # Of a run that has no hours left, nothing more is made.
    again = train(dataclasses.replace(config, max_hours=1e-9), run_dir, console, resume=True)
    assert again.reason is not None and again.env_steps == outcome.env_steps
    outcome = train(config, run_dir, console, resume=True)
    assert outcome.env_steps == 480 and outcome.reason is None
    last = read_metrics(run_dir / "metrics.jsonl")[-1]
    assert last["time/elapsed_seconds"] > before > 0
    kept = [row["time/compiling_seconds"] for row in rows] + [last["time/compiling_seconds"]]
    assert kept == sorted(kept) and 0 < kept[0] < last["time/elapsed_seconds"]
    for one, other in zip(state_of(whole), state_of(run_dir), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_row_has_its_metrics(tmp_path, console):
    run_dir = tmp_path / "run"
    train(tiny(total_env_steps=480, eval_split=True, diagnostics=True), run_dir, console)
    first, *_, last = read_metrics(run_dir / "metrics.jsonl")
    assert first["env_steps"] == 0 and "eval/success_rate" in first
    for name in (
        "eval/success_rate eval/success_rate_se eval/time_at_goal eval/success_rate_easy "
        "eval/final_distance eval/episode_length eval_split/success_rate train/critic_loss "
        "train/actor_loss train/alpha train/entropy train/categorical_accuracy "
        "train/logits_positive train/logits_negative train/logsumexp time/env_steps_per_second "
        "time/update_ms health/verdict health/sa_encoder_block_grad_norms health/sa_repr_rank"
    ).split():
        assert name in last, name


def test_seen_and_unseen_goals_are_reported_apart(tmp_path, console):
    run_dir = tmp_path / "run"
    config = tiny(total_env_steps=480, num_envs=16, hold_out=0.3)
    train(config, run_dir, console)
    last = read_metrics(run_dir / "metrics.jsonl")[-1]
    for name in ("success_rate", "final_distance", "time_at_goal_se"):
        assert f"eval_seen/{name}" in last and f"eval_unseen/{name}" in last
    run, _ = load_run(run_dir)
    assert not isinstance(run.env, HoldOut)
    restored = run.store.restore(run.abstract(), run.step.buffer, report=print)
    assert restored is not None and isinstance(run.step.env, HoldOut)
    assert not np.any(run.step.env.unseen(restored[0].buffer.steps.goal))
    console.file.flush()
    said = (tmp_path / "console.txt").read_text()
    assert "Training commands 67% of the goals, and never the other 33%." in said


def test_losses_that_are_not_finite_stop_the_run_and_say_where(tmp_path, console):
    run_dir = tmp_path / "run"
    config = tiny(critic_learning_rate=1e30, checkpoint_every=80)
    with pytest.raises(TrainingError, match=r"Not finite from gradient step \d+ on: .*critic"):
        train(config, run_dir, console)
    _, agent = load_run(run_dir)
    leaves = jax.tree.leaves(eqx.filter(agent, eqx.is_inexact_array))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    last = read_metrics(run_dir / "metrics.jsonl")[-1]
    assert last["health/failure"].startswith("Not finite from gradient step")
    with pytest.raises(TrainingError):  # and again, with one such row
        train(config, run_dir, console, resume=True)
    assert sum("health/failure" in row for row in read_metrics(run_dir / "metrics.jsonl")) == 1


def test_what_an_evaluation_follows_is_saved_before_it(tmp_path, console, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(self, *, evaluating, again=False):
        if evaluating and self.env_steps >= 400:
            raise Killed
        return honest(self, evaluating=evaluating, again=again)

    honest = Loop.measure
    monkeypatch.setattr(Loop, "measure", killed)
    config = tiny(checkpoint_every=400, log_every=10_000)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", console)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    metadata = store.metadata()
    assert store.steps()[-1] == 400 and metadata is not None and metadata["evaluation_due"]
    monkeypatch.setattr(Loop, "measure", honest)
    train(config, tmp_path / "run", console, resume=True)
    whole = tmp_path / "whole"
    train(config, whole, console)
    rows = [without_time(read_metrics(d / "metrics.jsonl")) for d in (tmp_path / "run", whole)]
    assert rows[0] == rows[1]


def test_a_slow_run_is_saved_every_few_minutes(tmp_path, console, monkeypatch):
    monkeypatch.setattr("crl_eqx.run._loop.AT_RISK", 0.0)
    config = tiny(checkpoint_every=10_000_000, keep_checkpoints=50)
    train(config, tmp_path / "run", console)
    assert CheckpointStore(tmp_path / "run" / "checkpoints").steps() == [*range(0, 1201, 80)]


def test_a_distance_that_is_no_number_does_not_end_a_run(tmp_path, console, monkeypatch):
    honest = Group.evaluations

    def evaluations(self, state, env_steps, *, may_go_on):
        found = honest(self, state, env_steps, may_go_on=may_go_on)
        return [row | {"eval/final_distance": float("nan")} for row in found or ()]

    monkeypatch.setattr(Group, "evaluations", evaluations)
    config = tiny(diagnostics=True, total_env_steps=800, eval_every=160)
    train(config, tmp_path / "run", console)
    more = dataclasses.replace(config, total_env_steps=1200)
    train(more, tmp_path / "run", console, resume=True)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["env_steps"] == 1200 and "health/verdict" in rows[-1]
    # A checkpoint of an earlier version holds None in its place.
    run = Run(more, tmp_path / "run")
    kept = {"evaluations": [{"env_steps": 0, "success_rate": 0.5, "final_distance": None}]}
    journal = Journal(run, 1200, kept)
    assert journal.evaluations == [{"env_steps": 0, "success_rate": 0.5}]
    journal.close()


def test_a_run_that_was_killed_before_its_first_checkpoint_writes_no_row_twice(tmp_path, console):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    config = tiny(total_env_steps=320)
    save_config(config, run_dir / "config.json")
    (run_dir / "metrics.jsonl").write_text('{"env_steps": 0}\n{"env_st')
    train(config, run_dir, console, resume=True)
    assert "the run starts from its beginning" in (tmp_path / "console.txt").read_text()
    steps = [row["env_steps"] for row in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == [0, 160, 320]


def test_two_processes_do_not_train_in_one_directory(tmp_path, console):
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(UserError, match="is in use: another process"),
    ):
        train(tiny(), tmp_path, console)


def test_a_run_that_goes_on_with_other_versions_says_so(tmp_path):
    path, told = tmp_path / "provenance.json", []
    record_provenance(path, about={}, report=told.append)
    record_provenance(path, about={}, report=told.append)
    assert not told, "nothing has changed"
    facts = json.loads(path.read_text())
    facts["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(facts))
    record_provenance(path, about={}, report=told.append)
    (sentence,) = told
    assert f"Other than when the run began: jax 0.0.1 -> {jax.__version__};" in sentence
    facts = json.loads(path.read_text())
    assert facts["versions"]["jax"] == "0.0.1"
    assert facts["resumed"][-1]["versions"]["jax"] == jax.__version__


def test_unrolls_without_an_update_do_not_dilute_the_metrics(tmp_path, console):
    run_dir = tmp_path / "run"
    train(tiny(updates_per_env_step=0.005, total_env_steps=800), run_dir, console)
    rows = [r for r in read_metrics(run_dir / "metrics.jsonl") if "train/alpha" in r]
    assert rows and rows[-1]["gradient_steps"] == 3
    # log α begins at 0 and moves by 1e-3 per update; averaged with zeros it would be far below 1.
    assert all(row["train/alpha"] > 0.99 and row["train/critic_loss"] > 1 for row in rows)


def test_a_row_averages_over_updates_and_counts_episodes():
    meter = Meter(0)
    row = lambda loss, episodes: {
        "train/loss": loss, "train/episodes": episodes, "train/failures": 0.0
    }  # fmt: skip
    meter.add({"train/episodes": 1.0, "train/failures": 2.0}, updates=0, seconds=9.0)  # prefill
    meter.add(row(1.0, 1.0), updates=1, seconds=None)  # compiled
    meter.add(row(4.0, 0.0), updates=3, seconds=6.0)
    meter.add(row(0.0, 1.0), updates=0, seconds=3.0)
    told = meter.take(100)
    assert told["train/loss"] == (1 * 1 + 3 * 4) / 4
    assert (told["train/episodes"], told["train/failures"]) == (3, 2)
    assert told["time/update_ms"] == 1000 * (6 + 3) / 3
    times = {"time/env_steps_per_second", "time/elapsed_seconds", "time/unix_seconds"}
    times |= {f"time/{name}_seconds" for name in OVERHEADS}
    assert meter.take(100).keys() == times


def test_a_run_knows_where_its_time_went(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = Meter(0, (), 3.0, {"evaluating": 2.0})
    for phase, seconds in [
        ("compiling", 4.0), ("training", 50.0), ("evaluating", 20.0),
        ("saving", 1.0), ("evaluating", 10.0), ("training", 50.0), ("saving", 2.0),
    ]:  # fmt: skip
        meter.enter(phase)
        now += seconds
    row = meter.take(0)
    assert row["time/elapsed_seconds"] == 140
    seconds = {name: row[f"time/{name}_seconds"] for name in OVERHEADS}
    assert seconds == {"compiling": 4, "evaluating": 32, "diagnosing": 0, "saving": 3}
    assert time_spent(row) == "2.3 min, of it 3% compiling, 23% evaluating, 2% saving"
    assert time_spent({"time/elapsed_seconds": 7200.0}) == "2.0 h"
    assert time_spent({"env_steps": 3}) is None


def test_episodes_of_one_step_are_refused_in_one_sentence(tmp_path):
    run = Run(tiny(), tmp_path)
    state = run.initial()
    rows = jnp.arange(run.step.buffer.capacity, dtype=jnp.int32)[:, None]
    alone = jnp.broadcast_to(rows, state.buffer.steps.episode.shape)
    state = eqx.tree_at(
        lambda s: (s.buffer.steps.episode, s.buffer.last_time, s.buffer.inserted),
        state,
        (alone, alone, jnp.asarray(len(rows), jnp.int32)),
    )
    with pytest.raises(TrainingError, match="every episode of point_u_maze ends after one step"):
        run.advance(state)


def test_a_schedule_depends_on_step_counts_alone():
    assert crossed(90, 100, 100) and crossed(90, 310, 100)
    assert not crossed(100, 199, 100)


def test_the_averaged_policy_is_what_is_kept_and_the_other_goes_on_training(tmp_path, console):
    run_dir = tmp_path / "run"
    train(tiny(total_env_steps=480, policy_average=5), run_dir, console)
    run, agent = load_run(run_dir)
    found = run.store.restore(run.abstract(), run.step.buffer, report=pytest.fail)
    assert found is not None
    state = found[0]
    assert state.average is not None
    assert eqx.tree_equal(agent.actor, state.average)
    assert not eqx.tree_equal(agent.actor, state.agent.actor)
