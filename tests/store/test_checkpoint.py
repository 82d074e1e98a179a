"""What a run is made of survives on disk, and nothing that is damaged is taken for it."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from crl_eqx import AbstractGoalEnv, Agent, EnvState, TrainStep, UserError
from crl_eqx.store import _segments, CheckpointStore, load_agent, save_agent
from crl_eqx.store._arrays import read_tree, write_tree


class Drift(AbstractGoalEnv):
    """A point with velocity and a random key of its own; it now and then falls off."""

    state_size: int = 3
    action_size: int = 2
    goal_size: int = 2
    episode_length: int = 4

    def reset(self, *, key):
        key, draw = jax.random.split(key)
        state = jax.random.normal(draw, (3,))
        return EnvState({"velocity": jnp.zeros(2), "key": key}, state, state[:2] + 1)

    def step(self, env_state, action):
        key, draw = jax.random.split(env_state.physics["key"])
        velocity = env_state.physics["velocity"] + 0.1 * action
        wind = 0.1 * jax.random.normal(draw, (3,))
        state = env_state.state + wind + jnp.append(velocity, 0.0)
        physics = {"velocity": velocity, "key": key}
        return EnvState(physics, state, env_state.goal, terminated=state[2] > 1.5)

    def achieved_goal(self, state):
        return state[..., :2]

    def success(self, state, goal):
        return self.distance(state, goal) < 0.3


CAPACITY, NUM_ENVS, UNROLL = 12, 4, 5
ROW_BYTES = NUM_ENVS * (4 * (3 + 2 + 2 + 1) + 1)  # state, action, goal, episode; terminated

STEP = TrainStep(
    Drift(),
    num_envs=NUM_ENVS,
    unroll_length=UNROLL,
    prefill_length=2 * UNROLL,
    batch_size=8,
    updates_per_env_step=0.1,
    replay_capacity=CAPACITY,
)


def shapes(depth=4, **options):
    """A run's state without its arrays."""

    def initial():
        agent = Agent.create(
            STEP.env, depth=depth, width=8, repr_size=4, key=jax.random.key(0), **options
        )
        return STEP.init(agent, key=jax.random.key(1))

    return eqx.filter_eval_shape(initial)


def filled(like):
    """`like` with arrays: floats at random, keys of their own, integers 0."""
    random = np.random.default_rng(0)

    def fill(leaf):
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = random.integers(0, 2**32, (*leaf.shape, 2), np.uint32)
            return jax.random.wrap_key_data(jnp.array(data))
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.array(0.3 * random.standard_normal(leaf.shape), leaf.dtype)
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(fill, like)


def first():
    """A state from which a run could begin: faster made than by compiling `STEP.init`."""
    state = filled(LIKE)
    return eqx.tree_at(lambda s: s.buffer, state, _segments.empty_buffer(LIKE.buffer, STEP.buffer))


LIKE = shapes()
collect = eqx.filter_jit(lambda state: STEP.collect(state)[0])


@eqx.filter_jit
def advance(state):
    """An unroll, and in place of a gradient step one that depends on all there is."""
    state = STEP.collect(state)[0]
    key, draw = jax.random.split(state.key)
    batch = STEP.buffer.stored(state.buffer).sample((8,), key=draw)
    shift = 1e-3 * jnp.mean(batch.future_goal)
    move = lambda leaf: leaf + shift.astype(leaf.dtype) if eqx.is_inexact_array(leaf) else leaf
    where = lambda s: (s.agent, s.opt_state)
    moved = jax.tree.map(move, where(state))
    count = state.gradient_steps + 1
    return eqx.tree_at(lambda s: (*where(s), s.key, s.gradient_steps), state, (*moved, key, count))


@pytest.fixture(scope="module")
def states():
    """A run's states after 0, 1, … unrolls; from 3 on the ring has wrapped around."""
    states = [first()]
    for unroll in range(9):
        states.append((collect if unroll < 2 else advance)(states[-1]))
    return states


def forked(state):
    """The same run from here on, by another key."""
    return eqx.tree_at(lambda s: s.key, state, jax.random.key(99))


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "checkpoints"


def save(store, state, **metadata):
    return store.save(state, STEP.buffer, metadata=metadata)


def restore(directory, report=pytest.fail, like=LIKE):
    found = CheckpointStore(directory).restore(like, STEP.buffer, report=report)
    assert found is not None
    return found[0]


def reachable(state):
    """The state as NumPy arrays, without the numbers in the ring that nobody can read."""
    ring = state.buffer
    stored = np.arange(max(0, int(ring.inserted) - CAPACITY), int(ring.inserted)) % CAPACITY
    rows = np.asarray(ring.steps.episode)[stored] % CAPACITY
    last_times = np.asarray(ring.last_time)[rows, np.arange(NUM_ENVS)]
    state = eqx.tree_at(lambda s: s.buffer.last_time, state, last_times)
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    raw = lambda leaf: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    return jax.tree.map(raw, eqx.filter(state, eqx.is_array_like))


def same(one, other):
    return bool(eqx.tree_equal(reachable(one), reachable(other)))


def files(directory):
    """Every file by relative path, with its size and what tells it from a rewritten one."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(p.relative_to(directory)): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


def segments(directory):
    return sorted((directory / "replay").glob("*.safetensors"))


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


# What is saved is what is restored


@pytest.mark.parametrize("unrolls", [0, 1, 2, 3, 8])
def test_a_restored_state_is_the_saved_one_bit_for_bit(states, directory, unrolls):
    save(CheckpointStore(directory), states[unrolls])
    assert same(restore(directory), states[unrolls])


def test_a_restored_state_has_the_dtypes_and_keys_of_the_saved_one(states, directory):
    save(CheckpointStore(directory), states[3])
    kind = lambda state: jax.tree.map(jax.typeof, eqx.filter(state, eqx.is_array))
    assert kind(restore(directory)) == kind(states[3])


def test_a_state_saved_with_each_unroll_is_restored_bit_for_bit(states, directory):
    store = CheckpointStore(directory)
    for state in states:
        save(store, state)
        assert same(restore(directory), state)


def test_the_same_key_draws_the_same_batch_from_a_restored_replay(states, directory, getkey):
    save(CheckpointStore(directory), states[8])
    key = getkey()
    draw = eqx.filter_jit(lambda ring: STEP.buffer.stored(ring).sample((64,), key=key))
    assert eqx.tree_equal(draw(restore(directory).buffer), draw(states[8].buffer))


def test_a_restored_run_goes_on_bit_for_bit(states, directory):
    save(CheckpointStore(directory), states[7])
    assert same(advance(advance(restore(directory))), states[9])


@pytest.mark.parametrize("segment_rows, window_rows", [(1, 1), (2, 5), (3, 100), (100, 4)])
def test_pieces_of_any_size_make_the_same_ring(
    states, directory, monkeypatch, segment_rows, window_rows
):
    monkeypatch.setattr(_segments, "SEGMENT_BYTES", segment_rows * ROW_BYTES)
    monkeypatch.setattr(_segments, "WINDOW_BYTES", window_rows * ROW_BYTES)
    store = CheckpointStore(directory)
    for state in (states[2], states[3], states[8]):
        save(store, state)
        assert same(restore(directory), state)


def test_another_program_can_read_the_weights_by_their_paths(states, directory):
    arrays = load_file(save(CheckpointStore(directory), states[3]) / "agent.safetensors")
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(states[3].agent, eqx.is_array))
    assert len(arrays) == len(leaves)
    for path, leaf in leaves:
        name = "agent" + jax.tree_util.keystr(path)
        np.testing.assert_array_equal(arrays[name], leaf)
    assert "agent.log_alpha" in arrays


def test_arrays_of_every_kind_come_back(tmp_path, getkey):
    tree = {
        "half": jnp.arange(5, dtype=ml_dtypes.bfloat16),
        "none": jnp.zeros((0, 3)),
        "bool": jnp.array([True, False]),
        "small": jnp.array(-3, jnp.int8),
        "keys": jax.random.split(getkey(), 3),
        "rbg": jax.random.key(2, impl="rbg"),
        "not an array": "text",
    }
    write_tree(tmp_path / "tree", tree)
    found = read_tree(tmp_path / "tree", eqx.filter_eval_shape(lambda: tree))
    assert jax.tree.map(jax.typeof, eqx.filter(found, eqx.is_array)) == jax.tree.map(
        jax.typeof, eqx.filter(tree, eqx.is_array)
    )
    data = lambda tree: tree | {k: jax.random.key_data(tree[k]) for k in ("keys", "rbg")}
    assert eqx.tree_equal(data(found), data(tree))


# A save costs what is new


def test_a_second_save_writes_only_the_new_rows_of_the_replay(states, directory):
    store = CheckpointStore(directory)
    save(store, states[1])
    before = files(directory / "replay")
    save(store, states[2])
    after = files(directory / "replay")
    assert before.items() <= after.items()
    (size, _), *others = [after[name] for name in after.keys() - before.keys()]
    assert not others
    header = 8 + int.from_bytes(segments(directory)[-1].read_bytes()[:8], "little")
    assert size == header + UNROLL * ROW_BYTES


def test_saving_twice_at_one_step_writes_no_rows(states, directory):
    store = CheckpointStore(directory)
    save(store, states[3], mark=1)
    before = files(directory / "replay")
    save(store, states[3], mark=2)
    assert files(directory / "replay") == before
    assert len(store.steps()) == 1 and store.metadata() == {"mark": 2}
    assert same(restore(directory), states[3])


def test_a_restored_store_goes_on_with_the_segments_there_are(states, directory):
    save(CheckpointStore(directory), states[1])
    before = files(directory / "replay")
    store = CheckpointStore(directory)
    store.restore(LIKE, STEP.buffer, report=pytest.fail)
    save(store, states[2])
    assert before.items() <= files(directory / "replay").items()
    assert len(segments(directory)) == 2


def test_segments_that_no_checkpoint_needs_are_deleted(states, directory):
    store = CheckpointStore(directory, keep=1)
    for state in states:
        save(store, state)
    # Twelve steps are kept: the last three unrolls.
    assert [int(path.name.split("-")[0]) for path in segments(directory)] == [30, 35, 40]


def test_rows_older_than_the_ring_are_not_looked_for(states, directory):
    store = CheckpointStore(directory, keep=1)
    save(store, states[1])
    save(store, states[9])
    assert [path.name[:21] for path in segments(directory)] == ["0000000033-0000000045"]
    assert same(restore(directory), states[9])


def test_the_last_k_are_kept(states, directory):
    store = CheckpointStore(directory, keep=2)
    for state in states[:5]:
        save(store, state)
    assert store.steps() == [60, 80]
    assert len(list(directory.glob("step_*"))) == 2


# What is damaged is recognised, and the one before it is used


def _newest_segment(directory, checkpoint):
    return segments(directory)[-1]


def _file(name):
    return lambda directory, checkpoint: checkpoint / name


FILES = {
    "agent": _file("agent.safetensors"),
    "state": _file("state.safetensors"),
    "manifest": _file("manifest.json"),
    "segment": _newest_segment,
}
DAMAGES = {
    "truncated": cut,
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "flipped at the start": lambda path: flip(path, 3),
    "flipped in the middle": lambda path: flip(path, path.stat().st_size // 2),
    "flipped near the end": lambda path: flip(path, -9),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_used(
    states, directory, kind, damage
):
    store = CheckpointStore(directory)
    save(store, states[2], number=2)
    newest = save(store, states[3], number=3)
    DAMAGES[damage](FILES[kind](directory, newest))
    told = []
    found = CheckpointStore(directory).restore(LIKE, STEP.buffer, report=told.append)
    assert found is not None
    state, metadata = found
    assert same(state, states[2]) and metadata == {"number": 2}
    assert len(told) == 1 and str(newest) in told[0] and "\n" not in told[0]


def test_every_byte_of_a_manifest_matters(states, directory):
    """A flipped bit in it is noticed, wherever it is, or changes nothing."""
    store = CheckpointStore(directory)
    save(store, states[2])
    newest = save(store, states[3], name="x", value=0.5)
    whole = (newest / "manifest.json").read_bytes()
    blank = {i for i, byte in enumerate(whole) if chr(byte).isspace()}
    for position in set(range(0, len(whole), 7)) - blank:
        (newest / "manifest.json").write_bytes(whole)
        flip(newest / "manifest.json", position)
        assert store.steps() == [40], whole[position - 10 : position + 10]
    (newest / "manifest.json").write_bytes(whole)
    assert store.steps() == [40, 60]


def _foreign_program(checkpoint):
    (checkpoint / "manifest.json").write_text('{"framework": "another"}')


def _other_version(checkpoint):
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    (checkpoint / "manifest.json").write_text(json.dumps(manifest | {"version": 9}))


def _no_manifest(checkpoint):
    (checkpoint / "manifest.json").unlink()


@pytest.mark.parametrize(
    "change, says",
    [
        (_foreign_program, "not written by crl-eqx"),
        (_other_version, "format version is 9"),
        (_no_manifest, "`manifest.json`"),
    ],
)
def test_what_is_not_ours_is_skipped_told_of_and_left_alone(states, directory, change, says):
    store = CheckpointStore(directory, keep=1)
    save(store, states[3])
    foreign = directory / "step_000000000500"
    shutil.copytree(save(store, states[4]), foreign)
    change(foreign)
    before, told = files(foreign), []
    store = CheckpointStore(directory, keep=1)
    assert store.steps() == [80]
    assert store.restore(LIKE, STEP.buffer, report=told.append) is not None
    assert len(told) == 1 and says in told[0]
    for state in states[5:]:
        save(store, state)
    assert files(foreign) == before
    assert store.steps() == [180] and same(restore(directory, report=told.append), states[9])


def test_other_files_in_the_directory_are_no_business_of_ours(states, directory):
    for name in ("step_best", "notes"):
        (directory / name).mkdir(parents=True)
    save(CheckpointStore(directory), states[2])
    assert same(restore(directory), states[2])
    assert (directory / "step_best").is_dir() and (directory / "notes").is_dir()


def test_without_checkpoints_there_is_nothing_to_restore(directory):
    store = CheckpointStore(directory)
    assert store.restore(LIKE, STEP.buffer, report=pytest.fail) is None
    assert store.metadata() is None and store.steps() == []
    assert not directory.exists()


def test_if_no_checkpoint_is_good_the_user_is_told(states, directory):
    store, told = CheckpointStore(directory), []
    for path in [save(store, state) for state in states[2:4]]:
        cut(path / "state.safetensors")
    with pytest.raises(UserError, match=r"None of the 2 checkpoints .* `state.safetensors` has"):
        restore(directory, report=told.append)
    assert len(told) == 2


def test_a_bad_checkpoint_does_not_count_among_those_kept(states, directory):
    store = CheckpointStore(directory, keep=2)
    save(store, states[2])
    cut(save(store, states[3]) / "state.safetensors")
    save(store, states[4])
    assert store.steps() == [40, 80]
    assert len(list(directory.glob("step_*"))) == 2


def test_metadata_is_that_of_the_newest_good_manifest(states, directory):
    store = CheckpointStore(directory)
    save(store, states[2], success_rate=0.25, nested={"list": [1, None, "x"]})
    cut(save(store, states[3]) / "manifest.json")
    assert CheckpointStore(directory).metadata() == {
        "success_rate": 0.25,
        "nested": {"list": [1, None, "x"]},
    }


# Whatever is interrupted


class Killed(BaseException):
    """Stands for kill -9: nothing in the process may catch it."""


def _kill_at(monkeypatch, count):
    """The `count`-th change of the file system, from now on, does not happen."""
    left = [count]

    def deadly(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", deadly(os.fsync))
    monkeypatch.setattr(shutil, "rmtree", deadly(shutil.rmtree))
    for name in ("mkdir", "rename", "unlink", "open"):
        monkeypatch.setattr(Path, name, deadly(getattr(Path, name)))


def test_a_save_that_dies_at_any_of_its_steps_leaves_a_good_checkpoint(
    states, directory, tmp_path, monkeypatch
):
    """With only one checkpoint kept, and segments to delete: the hardest case."""
    store = CheckpointStore(directory, keep=1)
    for state in states[:4]:
        save(store, state)
    found, deaths = set(), 0
    while True:
        copy = tmp_path / f"copy{deaths}"
        shutil.copytree(directory, copy)
        store = CheckpointStore(copy, keep=1)
        store.restore(LIKE, STEP.buffer, report=pytest.fail)
        with monkeypatch.context() as patch:
            _kill_at(patch, deaths)
            try:
                save(store, states[6])
            except Killed:
                deaths += 1
            else:
                break
        store = CheckpointStore(copy, keep=1)
        restored = store.restore(LIKE, STEP.buffer, report=pytest.fail)
        assert restored is not None
        unrolls = int(restored[0].env_steps) // (NUM_ENVS * UNROLL)
        assert same(restored[0], states[unrolls])
        found.add(unrolls)
        save(store, states[8])
        assert same(restore(copy), states[8])
        assert {path.name for path in copy.iterdir()} == {"replay", "step_000000000160"}
        assert all(int(path.name.split("-")[1]) > 40 - CAPACITY for path in segments(copy))
    assert found == {3, 6} and deaths > 12


def test_what_a_killed_save_left_is_cleared_away_by_the_next(states, directory):
    store = CheckpointStore(directory)
    save(store, states[2])
    for name in (f".saving-{17:032x}", f".deleting-{17:032x}"):
        shutil.copytree(directory / "step_000000000040", directory / name)
    orphan = directory / "replay" / "0000000010-0000000015-0123456789ab.safetensors"
    orphan.write_bytes(b"half a segm")
    assert same(restore(directory), states[2])
    save(store, states[3])
    assert not orphan.exists() and not list(directory.glob(".*"))
    assert same(restore(directory), states[3])


def test_a_full_disk_is_one_sentence_and_costs_nothing_saved(states, directory, monkeypatch):
    store = CheckpointStore(directory)
    save(store, states[2])
    before = files(directory)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="step 60 .* No space left on device"):
            save(store, states[3])
    assert files(directory) == before
    save(store, states[3])
    assert same(restore(directory), states[3])


def lengthened(state):
    """One more unroll, of made-up steps: no compilation, which a process that is killed over and
    over would have to wait for."""
    count = float(state.env_steps)
    steps = jax.tree.map(
        lambda ring: jnp.full((UNROLL, *ring.shape[1:]), count, ring.dtype), state.buffer.steps
    )
    return eqx.tree_at(
        lambda s: (s.buffer, s.env_steps, s.agent.log_alpha),
        state,
        (
            STEP.buffer.insert(state.buffer, steps),
            state.env_steps + UNROLL * NUM_ENVS,
            jnp.asarray(count),
        ),
    )


def save_forever(directory):
    """Goes on and saves until it is killed."""
    store = CheckpointStore(directory, keep=2)
    found = store.restore(LIKE, STEP.buffer, report=sys.exit)
    assert found is not None
    state = found[0]
    while True:
        state = lengthened(state)
        save(store, state)


def test_a_process_killed_while_it_saves_can_always_go_on(directory):
    chance, expected = random.Random(0), first()
    save(CheckpointStore(directory), expected)
    for _ in range(2):
        reached = CheckpointStore(directory).steps()[-1]
        process = subprocess.Popen([sys.executable, __file__, str(directory)])
        try:
            deadline = time.monotonic() + 120
            while (CheckpointStore(directory).steps() or [0])[-1] < reached + 200:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.1 * chance.random())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        state = restore(directory)
        assert int(state.env_steps) >= reached + 200
        while int(expected.env_steps) < int(state.env_steps):
            expected = lengthened(expected)
        assert same(state, expected)


# Pasts and futures are not mixed up


def test_an_abandoned_future_is_replaced_and_its_rows_never_used(states, directory):
    store = CheckpointStore(directory)
    paths = [save(store, state) for state in states[2:5]]
    cut(paths[-1] / "state.safetensors")
    told = []
    store = CheckpointStore(directory)
    found = store.restore(LIKE, STEP.buffer, report=told.append)
    assert found is not None
    other = collect(forked(found[0]))
    assert int(other.env_steps) == int(states[4].env_steps) and not same(other, states[4])
    save(store, other)
    assert len(told) == 1 and store.steps() == [40, 60, 80]
    assert same(restore(directory), other)
    other = collect(other)
    save(store, other)
    assert same(restore(directory), other)


def test_a_damaged_segment_is_written_again_after_going_back(states, directory):
    """The run comes to the same step with the same rows, and must not trust the old file."""
    store = CheckpointStore(directory)
    for state in states[2:4]:
        save(store, state)
    flip(segments(directory)[-1], -9)
    store = CheckpointStore(directory)
    found = store.restore(LIKE, STEP.buffer, report=[].append)
    assert found is not None
    save(store, advance(found[0]))
    assert same(restore(directory), states[3])


def test_later_checkpoints_of_an_abandoned_future_do_not_come_back(states, directory):
    store = CheckpointStore(directory, keep=5)
    paths = [save(store, state) for state in (states[2], states[4], states[6])]
    cut(paths[-1] / "state.safetensors")
    store = CheckpointStore(directory, keep=5)
    store.restore(LIKE, STEP.buffer, report=[].append)
    save(store, states[5])
    assert store.steps() == [40, 80, 100]
    assert same(restore(directory), states[5])


def test_states_of_two_runs_in_one_store_share_no_rows(states, directory):
    store = CheckpointStore(directory)
    save(store, states[2])
    other = collect(collect(collect(forked(first()))))
    save(store, other)
    assert same(restore(directory), other)


def test_a_store_does_not_overwrite_what_it_did_not_restore(states, directory):
    save(CheckpointStore(directory), states[4])
    before = files(directory)
    with pytest.raises(UserError, match="call `restore` or `adopt` first"):
        save(CheckpointStore(directory), states[2])
    assert files(directory) == before
    store = CheckpointStore(directory)
    store.adopt()
    save(store, states[2])
    assert store.steps() == [int(states[2].env_steps)]


def test_not_even_what_is_damaged(states, directory):
    """Its networks may be whole."""
    cut(save(CheckpointStore(directory), states[4]) / "state.safetensors")
    before = files(directory)
    with pytest.raises(UserError, match=r"found checkpoints \(newest: `step_\d+`\)"):
        save(CheckpointStore(str(directory)), states[2])
    assert files(directory) == before


def test_a_replay_that_cannot_be_read_for_a_while_is_kept(states, directory, monkeypatch):
    store = CheckpointStore(directory, keep=2)
    save(store, states[2])
    (needed,) = segments(directory)
    other = CheckpointStore(directory, keep=2)
    other.adopt()
    stat = Path.stat

    def stale(path, **options):
        if path.name == needed.name:
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stale)
        save(other, forked(states[3]))
    assert needed in segments(directory)
    assert (directory / "step_000000000040").is_dir()


# What does not fit is refused, by name


def test_another_depth_is_refused_with_the_leaf_that_differs(states, directory):
    save(CheckpointStore(directory), states[3])
    like = shapes(depth=8)
    with pytest.raises(UserError, match=r"`agent\..*` is F32\[1, .*\] in .* but F32\[2, .*\] here"):
        restore(directory, like=like)


def test_another_kind_of_agent_is_refused_with_the_leaf_that_is_missing(states, directory):
    save(CheckpointStore(directory), states[3])
    like = shapes(normalize=True)
    with pytest.raises(UserError, match=r"lacks `agent\.goal_normalizer\.count` and 5 more"):
        restore(directory, like=like)


def test_an_agent_with_more_than_fits_is_refused_too(states, directory):
    save(CheckpointStore(directory), filled(shapes(normalize=True)))
    with pytest.raises(UserError, match=r"holds, .*`agent\.goal_normalizer\.count`"):
        restore(directory)


def test_another_replay_capacity_is_refused(states, directory):
    save(CheckpointStore(directory), states[3])
    like = eqx.tree_at(
        lambda s: s.buffer.steps,
        LIKE,
        jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((20, *x.shape[1:]), x.dtype), LIKE.buffer.steps
        ),
    )
    with pytest.raises(UserError, match=r"`buffer.steps.state` is F32\[12, 4, 3\] .*\[20, 4, 3\]"):
        restore(directory, like=like)


def test_metadata_must_be_json(states, directory):
    with pytest.raises(UserError, match="writable as JSON"):
        save(CheckpointStore(directory), states[3], bad=object())
    assert not directory.exists()


def test_at_least_one_checkpoint_is_kept(directory):
    with pytest.raises(UserError, match=r"keep=0"):
        CheckpointStore(directory, keep=0)


# Without the replay


def test_without_the_replay_all_else_is_restored_and_the_loss_is_told(states, directory):
    save(CheckpointStore(directory, replay=False), states[8])
    assert segments(directory) == []
    told = []
    state = restore(directory, report=told.append)
    empty = first().buffer
    assert eqx.tree_equal(state.buffer, empty)
    assert same(state, eqx.tree_at(lambda s: s.buffer, states[8], empty))
    assert len(told) == 1 and " was not saved: resuming" in told[0] and "12 steps" in told[0]


def test_an_empty_replay_fills_again_with_futures_of_its_own_episodes(states, directory, getkey):
    save(CheckpointStore(directory, replay=False), states[8])
    state = advance(restore(directory, report=[].append))
    store = CheckpointStore(directory, replay=True)
    store.restore(LIKE, STEP.buffer, report=[].append)
    save(store, state)
    assert int(state.buffer.inserted) == UNROLL
    assert same(restore(directory), state)


def test_leaving_the_replay_out_from_now_on_frees_its_segments(states, directory):
    save(CheckpointStore(directory), states[4])
    store = CheckpointStore(directory, keep=1, replay=False)
    store.restore(LIKE, STEP.buffer, report=pytest.fail)
    save(store, states[5])
    assert segments(directory) == []


# Weights alone


def test_weights_are_loaded_from_wherever_they_lie(states, tmp_path):
    agent, run = states[8].agent, tmp_path / "run"
    checkpoint = save(CheckpointStore(run / "checkpoints"), states[8])
    save_agent(tmp_path / "agent.safetensors", agent)
    for path in (run, checkpoint, checkpoint / "agent.safetensors", tmp_path / "agent.safetensors"):
        for like in (states[0].agent, LIKE.agent):
            assert eqx.tree_equal(load_agent(path, like), agent)
    assert eqx.tree_equal(load_agent(str(run), LIKE.agent), agent)


def test_weights_of_the_checkpoint_before_are_used_if_the_newest_are_damaged(states, tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    save(store, states[4])
    flip(save(store, states[8]) / "agent.safetensors", -9)
    with pytest.warns(UserWarning, match="step_000000000160.* is damaged"):
        agent = load_agent(tmp_path, LIKE.agent)
    assert eqx.tree_equal(agent, states[4].agent)


def test_weights_that_are_none_or_do_not_fit_are_one_sentence(states, tmp_path):
    path = tmp_path / "agent.safetensors"
    with pytest.raises(UserError, match="found no good weights"):
        load_agent(path, LIKE.agent)
    with pytest.raises(UserError, match="found no good weights"):
        load_agent(tmp_path, LIKE.agent)
    path.write_bytes(b"\x80\x04 no tensors")
    with pytest.raises(UserError, match="`agent.safetensors` cannot be read"):
        load_agent(path, LIKE.agent)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(UserError, match="lacks `agent.actor"):
        load_agent(path, LIKE.agent)
    save_agent(path, filled(shapes(depth=8).agent))
    with pytest.raises(UserError, match=r"F32\[2, .* but F32\[1, "):
        load_agent(path, LIKE.agent)
    cut(path)
    with pytest.raises(UserError, match="`agent.safetensors` cannot be read"):
        load_agent(path, LIKE.agent)
    with pytest.raises(UserError, match=r"save_agent\(.*No such file or directory"):
        save_agent(tmp_path / "nowhere" / "agent.safetensors", states[0].agent)
    assert [p.name for p in tmp_path.iterdir()] == ["agent.safetensors"]


if __name__ == "__main__":
    save_forever(Path(sys.argv[1]))
