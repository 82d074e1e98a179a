"""The ring against a reference of plain Python lists that remembers everything."""

import dataclasses
from collections import Counter, defaultdict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from crl_eqx import TrajectoryBuffer, Transition, UserError

from .test_relabel import assert_geometric


@dataclasses.dataclass
class Reference:
    """Every step ever taken, one list per environment; a step is (time, episode)."""

    capacity: int
    num_envs: int

    def __post_init__(self):
        self.steps = [[] for _ in range(self.num_envs)]

    def take(self, ends):
        """One step of every environment; `ends[env]` says that it closes its episode."""
        for env, end in enumerate(ends):
            taken = self.steps[env]
            time, episode = len(taken), 0
            if taken:
                _, last_episode, ended = taken[-1]
                episode = last_episode + ended
            taken.append((time, episode, bool(end)))

    def futures(self):
        """For each stored (time, env) that has one, the times of its stored futures."""
        found = defaultdict(list)
        for env, taken in enumerate(self.steps):
            stored = taken[-self.capacity :]
            for i, (time, episode, _) in enumerate(stored):
                for later, other, _ in stored[i + 1 :]:
                    if other == episode:
                        found[time, env].append(later)
        return dict(found)

    def chunk(self, start, stop):
        """Steps start … stop as the arrays that a rollout returns; each number tells its origin."""
        rows = [[taken[t] for taken in self.steps] for t in range(start, stop)]
        time = np.array([[step[0] for step in row] for row in rows], np.float32)
        episode = np.array([[step[1] for step in row] for row in rows], np.int32)
        env = np.broadcast_to(np.arange(self.num_envs, dtype=np.float32), time.shape)
        state = np.stack([time, env], axis=-1)
        return Transition(
            jnp.asarray(state), jnp.asarray(-state), jnp.asarray(state + 0.5), jnp.asarray(episode)
        )


insert = eqx.filter_jit(lambda buffer, state, steps: buffer.insert(state, steps))
count = eqx.filter_jit(lambda buffer, state: (buffer.num_samples(state), buffer.can_sample(state)))


@eqx.filter_jit
def sample(buffer, state, shape, discount, key):
    buffer = dataclasses.replace(buffer, discount=discount)
    return buffer.stored(state).sample(shape, key=key)


def empty(capacity, num_envs):
    buffer = TrajectoryBuffer(capacity, num_envs)
    two, zero = jnp.zeros(2), jnp.zeros((), jnp.int32)
    return buffer, buffer.init(Transition(two, two, two, zero))


def filled(capacity, chunks, ends):
    """A buffer and its reference after inserting chunks of so many steps."""
    ends = np.asarray(ends)
    reference = Reference(capacity, ends.shape[1])
    buffer, state = empty(capacity, ends.shape[1])
    start = 0
    for length in chunks:
        for row in ends[start : start + length]:
            reference.take(row)
        state = insert(buffer, state, reference.chunk(start, start + length))
        start += length
    return buffer, state, reference


def drawn(buffer, state, *, size=8192, discount=1.0, seed=0):
    """(time, env, time of the future) of many samples, checked to come from one step each."""
    batch = sample(buffer, state, (size,), discount, jax.random.key(seed))
    time, env = np.asarray(batch.state, int).T
    np.testing.assert_array_equal(batch.action, -batch.state)
    np.testing.assert_array_equal(batch.goal, batch.state + 0.5)
    np.testing.assert_array_equal(batch.future_goal[:, 1], batch.state[:, 1])
    return time, env, np.asarray(batch.future_goal[:, 0], int)


def absorbing_ring(terminated):
    """One environment, an episode of ten steps and a second one under way; `terminated` says
    whether the first ended by a fall."""
    time = jnp.arange(20.0)
    state = jnp.stack([time, time], axis=1)[:, None]
    episode = (time >= 10).astype(jnp.int32)[:, None]
    fell = (time == 9)[:, None] & terminated
    steps = Transition(state, state, state, episode, fell)
    buffer = TrajectoryBuffer(25, 1, absorbing=True)
    example = jax.tree.map(lambda leaf: leaf[0, 0], steps)
    return buffer, insert(buffer, buffer.init(example), steps)


def test_who_has_fallen_stays():
    """From step 5 of an episode that fell at step 9, three steps come before its last state."""
    buffer, state = absorbing_ring(True)
    batch = sample(buffer, state, (20_000,), 0.9, jax.random.key(0))
    time, future = np.asarray(batch.state[:, 0]), np.asarray(batch.future_goal[:, 0])
    shares = [(future[time == 5] == then).mean() for then in (6, 7, 8, 9)]
    np.testing.assert_allclose(shares, [0.1, 0.09, 0.081, 0.729], atol=0.05)
    # The episode under way has not ended: its future is cut, and as likely as ever.
    cut = np.array([0.9**k for k in range(4)])
    shares = [(future[time == 15] == then).mean() for then in (16, 17, 18, 19)]
    np.testing.assert_allclose(shares, cut / cut.sum(), atol=0.06)


def test_who_was_stopped_by_the_time_limit_does_not_stay():
    draws = [
        sample(buffer, state, (500,), 0.9, jax.random.key(0))
        for buffer, state in (absorbing_ring(False), cutting(absorbing_ring(False)))
    ]
    np.testing.assert_array_equal(draws[0].future_goal, draws[1].future_goal)
    buffer, state = absorbing_ring(True)
    fallen = sample(buffer, state, (500,), 0.9, jax.random.key(0))
    assert (fallen.future_goal != draws[0].future_goal).any()


def cutting(ring):
    buffer, state = ring
    return TrajectoryBuffer(buffer.capacity, buffer.num_envs), state


def test_an_absorbing_ring_needs_to_know_who_fell():
    buffer, state = empty(5, 1)
    buffer = TrajectoryBuffer(5, 1, absorbing=True)
    with pytest.raises(UserError, match="needs steps that say which of them `terminated`"):
        buffer.stored(state).sample((4,), key=jax.random.key(0))


@st.composite
def histories(draw):
    """Capacities that no chunk divides, chunks that wrap round, episodes that end anywhere."""
    capacity = draw(st.sampled_from([5, 8]))
    chunks = draw(st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=8))
    often = draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    seed = draw(st.integers(0, 2**16))
    ends = np.random.default_rng(seed).random((sum(chunks), 2)) < often
    return capacity, chunks, ends


@settings(deadline=None, max_examples=60, derandomize=True)
@given(histories())
def test_exactly_the_stored_futures_of_the_same_episode_can_be_drawn(history):
    # One equality of sets for: no goal of another episode, none from an overwritten slot, none
    # that is the step itself, and every step with a future can be drawn, the newest included.
    buffer, state, reference = filled(*history)
    futures = reference.futures()
    samples, possible = count(buffer, state)
    assert samples == len(futures)
    assert possible == bool(futures)
    if futures:
        seen = set(zip(*drawn(buffer, state), strict=True))
        assert seen == {(*step, later) for step, all_ in futures.items() for later in all_}


def test_steps_are_drawn_uniformly_among_those_with_a_future():
    # Episodes of very different lengths, after several times round the ring.
    ends = np.random.default_rng(1).random((100, 2)) < [0.1, 0.45]
    buffer, state, reference = filled(40, [25] * 4, ends)
    valid = sorted(reference.futures())
    assert 40 < len(valid) < 72
    time, env, _ = drawn(buffer, state, size=40_000)
    seen = Counter(zip(time, env, strict=True))
    assert stats.chisquare([seen[step] for step in valid]).pvalue > 1e-4


@pytest.mark.parametrize("discount", [0.7, 0.99, 1.0])
def test_offsets_in_the_ring_are_geometric_up_to_the_last_stored_step_of_the_episode(discount):
    # Two episodes, the newer still running and cut by nothing but the newest step.
    ends = np.zeros((50, 1), bool)
    ends[37] = True
    buffer, state, _ = filled(32, [25, 25], ends)  # stored: 18 … 37 and 38 … 49
    time, _, future = drawn(buffer, state, size=100_000, discount=discount)
    for step, last in [(18, 37), (30, 37), (36, 37), (38, 49), (45, 49), (48, 49)]:
        assert_geometric((future - time)[time == step], discount, last - step)


def test_nothing_can_be_sampled_when_every_episode_is_one_step_long():
    buffer, state, _ = filled(8, [5, 5], np.ones((10, 2), bool))
    assert count(buffer, state) == (0, False)
    # And drawing nevertheless ends, instead of searching forever.
    assert sample(buffer, state, (4,), 0.9, jax.random.key(0)).state.shape == (4, 2)


def test_nothing_can_be_sampled_from_an_empty_buffer():
    buffer, state = empty(8, 2)
    assert count(buffer, state) == (0, False)
    assert buffer.size(state) == 0


def test_a_single_step_with_a_future_is_found_among_thousands_without():
    ends = np.ones((3000, 2), bool)
    ends[2998, 1] = False
    buffer, state, _ = filled(3000, [1500, 1500], ends)
    time, env, future = drawn(buffer, state, size=16)
    assert set(zip(time, env, future, strict=True)) == {(2998, 1, 2999)}


def test_the_size_grows_to_the_capacity_and_stays():
    buffer, state, _ = filled(8, [3], np.zeros((3, 2), bool))
    assert buffer.size(state) == 3
    buffer, state, _ = filled(8, [3] * 5, np.zeros((15, 2), bool))
    assert buffer.size(state) == 8


def test_samples_have_the_shape_asked_for_and_depend_on_the_key():
    buffer, state, _ = filled(8, [8], np.zeros((8, 2), bool))
    one, same, other = (
        sample(buffer, state, (3, 5), 0.9, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    assert one.state.shape == one.future_goal.shape == (3, 5, 2)
    assert (one.future_goal == same.future_goal).all()
    assert (one.future_goal != other.future_goal).any()


def test_more_steps_than_the_capacity_are_refused():
    reference = Reference(4, 1)
    for _ in range(5):
        reference.take([False])
    buffer, state = empty(4, 1)
    with pytest.raises(UserError, match=r"capacity=4.*was given 5 steps"):
        buffer.insert(state, reference.chunk(0, 5))


def plan(function, *arguments, donate=()):
    """What XLA plans for a function of shapes, without allocating anything."""
    compiled = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory is not None and cost is not None
    return memory, cost


def shapes(capacity, num_envs=64, length=10):
    """A large buffer, its state and a chunk for it, as shapes."""
    buffer = TrajectoryBuffer(capacity, num_envs)

    def make():
        step = Transition(jnp.zeros(20), jnp.zeros(4), jnp.zeros(2), jnp.zeros((), jnp.int32))
        wide = lambda leaf: jnp.broadcast_to(leaf, (length, num_envs, *leaf.shape))
        return buffer.init(step), jax.tree.map(wide, step)

    return buffer, *jax.eval_shape(make)


def test_insertion_writes_in_place_when_the_state_is_donated():
    buffer, state, steps = shapes(10_000)
    total = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    planned, _ = plan(buffer.insert, state, steps, donate=0)
    assert total > 50e6
    assert planned.alias_size_in_bytes >= total - 64
    assert planned.temp_size_in_bytes < total / 100


def test_insertion_consumes_what_is_donated():
    buffer, state, reference = filled(8, [3], np.zeros((3, 2), bool))
    reference.take([False, False])
    new = jax.jit(buffer.insert, donate_argnums=0)(state, reference.chunk(3, 4))
    assert state.steps.state.is_deleted() and not new.steps.state.is_deleted()


def test_the_cost_of_sampling_does_not_depend_on_the_capacity():
    def cost(capacity):
        buffer, state, _ = shapes(capacity)
        draw = lambda state, key: buffer.stored(state).sample((256,), key=key)
        memory, cost = plan(draw, state, jax.random.key(0))
        return memory.temp_size_in_bytes, cost["flops"]

    (small_memory, small_flops), (large_memory, large_flops) = cost(1_000), cost(100_000)
    assert large_memory == small_memory < 1e6
    assert large_flops == pytest.approx(small_flops, rel=0.01)


def test_steps_of_other_environments_than_the_buffer_s_are_refused():
    reference = Reference(8, 1)
    for _ in range(3):
        reference.take([False])
    buffer, state = empty(8, 4)
    with pytest.raises(UserError, match=r"num_envs=4.*`state` .*must be \[3, 4, "):
        buffer.insert(state, reference.chunk(0, 3))
