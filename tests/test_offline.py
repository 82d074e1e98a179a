"""A critic learnt from trajectories in memory, on a chain whose answer is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_eqx import Critic, fit, UserError
from crl_eqx.energy import NegL2
from crl_eqx.replay import Trajectories, TrajectoryBuffer, Transition

from .probes import Box


CELLS, FORWARD, DISCOUNT = 6, 0.7, 0.8


def walks(n=64, t=100):
    """Walks round a ring of cells, seen one-hot, that go on with probability `FORWARD`."""
    rng = np.random.default_rng(0)
    moves = np.cumsum(rng.random((n, t)) < FORWARD, axis=1)
    return np.eye(CELLS, dtype=np.float32)[(rng.integers(0, CELLS, (n, 1)) + moves) % CELLS]


def log_occupancy_ratio():
    """log p(g | s) / p(g), p(g | s) = (1 - γ) Σ over k ≥ 1 of γ^(k-1) P^k, p(g) uniform."""
    once = (1 - FORWARD) * np.eye(CELLS) + FORWARD * np.roll(np.eye(CELLS), 1, axis=1)
    later = (1 - DISCOUNT) * once @ np.linalg.inv(np.eye(CELLS) - DISCOUNT * once)
    np.testing.assert_allclose(later.sum(axis=1), 1)
    return np.log(CELLS * later)


def test_the_critic_learns_the_log_ratio_of_the_discounted_occupancy():
    data = Trajectories(walks(), discount=DISCOUNT)
    make = lambda key: Critic.create(data, energy=NegL2(), depth=4, width=32, key=key)
    critic, history = fit(
        eqx.filter_jit(make)(jax.random.key(0)),
        data,
        num_updates=400,
        batch_size=128,
        optimizer=optax.adam(optax.linear_schedule(3e-3, 0, 400)),
        key=jax.random.key(1),
    )
    state, goal = jnp.repeat(jnp.eye(CELLS), CELLS, axis=0), jnp.tile(jnp.eye(CELLS), (CELLS, 1))
    energies = np.asarray(critic(state, None, goal)).reshape(CELLS, CELLS)
    # InfoNCE leaves one constant per state free.
    centred = lambda x: x - x.mean(axis=1, keepdims=True)
    ours, exact = centred(energies), centred(log_occupancy_ratio())
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.95
    assert np.abs(ours - exact).mean() < 0.15
    assert history["critic_loss"].shape == (400,)
    assert history["critic_loss"][-50:].mean() < history["critic_loss"][:50].mean()


def test_steps_are_drawn_evenly_and_only_with_futures_of_their_own_trajectory():
    lengths = np.array([5, 1, 2, 0, 4])
    row, time = np.meshgrid(np.arange(5.0), np.arange(6.0), indexing="ij")
    states = np.stack([row, time], axis=-1)
    data = Trajectories(states, 10 * states, lengths, discount=1.0)
    draw = eqx.filter_jit(lambda key: data.sample((9000,), key=key))
    batch = jax.tree.map(np.asarray, draw(jax.random.key(0)))
    np.testing.assert_array_equal(batch.action, 10 * batch.state)
    np.testing.assert_array_equal(batch.state[:, 0], batch.future_goal[:, 0])
    pairs = np.stack([batch.state[:, 0], batch.state[:, 1], batch.future_goal[:, 1]], axis=-1)
    expected = {(r, t, k) for r, n in enumerate(lengths) for t in range(n) for k in range(t + 1, n)}
    assert {tuple(map(int, pair)) for pair in pairs} == expected
    steps, counts = np.unique(pairs[:, :2], axis=0, return_counts=True)
    assert len(steps) == 4 + 1 + 3
    assert np.abs(counts / 9000 - 1 / 8).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 4)),), r"must be \[n, t, state\] or a list .*not \(3, 4\)"),
        ((np.zeros((3, 4, 2)), np.zeros((3, 5, 1))), r"must be \[3, 4, action\]"),
        ((np.zeros((3, 4, 2)), None, [4, 4]), "3 whole numbers from 0 to 4"),
        ((np.zeros((3, 4, 2)), None, [4, 5, 1]), "3 whole numbers from 0 to 4"),
        ((np.zeros((3, 4, 2)), None, [1, 0, 1]), "no trajectory has two steps"),
        ((np.zeros((3, 4, 2)), None, [4, -1, 1]), "3 whole numbers from 0 to 4"),
        ((np.zeros((3, 4, 2)), None, [4, 2.5, 1]), "3 whole numbers from 0 to 4"),
        ((np.zeros((3, 4, 2)), None, [4, np.nan, 1]), "3 whole numbers from 0 to 4"),
        ((np.where(np.arange(24).reshape(3, 4, 2) == 13, np.nan, 0.0),), r"at \[1, 2, 1\] .* nan"),
        ((np.full((3, 4, 2), 1e39),), "finite in float32"),
        ((np.zeros((3, 4, 2), complex),), "real numbers, not complex128"),
        ((np.zeros((3, 4, 2), "U1"),), "real numbers, not <U1"),
        (([[0.0, 1.0], [0.0]],), "is no array"),
        (([[[1.0], [1.0, 2.0]], [[1.0]]],), "is no array"),
        (([np.zeros((3, 2)), np.zeros((4, 1))],), r"states\[0\] is \[3, 2\], .*\[1\] is \[4, 1\]"),
        (([np.zeros((3, 2)), np.full((4, 2), np.inf)],), r"states\[1\]\)` must be finite"),
        (
            ([np.zeros((3, 2)), np.zeros((4, 2))], [np.zeros((4, 1)), np.zeros((3, 1))]),
            r"states\[0\] has 3 steps, and actions\[0\] has 4",
        ),
        (([np.zeros((3, 2)), np.zeros((4, 2))], None, [4, 4]), "have only .3, 4. steps"),
        ((np.zeros((3, 1, 2)),), "no trajectory has two steps"),
    ],
)
def test_data_without_a_shape_or_a_future_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Trajectories(*arguments)


def test_what_lies_beyond_the_lengths_may_be_anything_and_is_never_drawn():
    states = np.ones((2, 6, 3))
    states[0, 4:], states[1, 2:] = np.nan, np.inf
    data = Trajectories(states, states[..., :1], lengths=[4, 2])
    batch = data.sample((64,), key=jax.random.key(0))
    for numbers in (batch.state, batch.action, batch.future_goal):
        np.testing.assert_array_equal(numbers, 1.0)
    with pytest.raises(UserError, match=r"at \[0, 4, 0\] it holds nan"):
        Trajectories(states, lengths=[5, 2])


def test_a_ragged_list_is_padded_inside():
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(n, 2)) for n in (5, 3, 8)]
    actions = [rng.normal(size=(n, 1)) for n in (5, 3, 8)]
    ragged = Trajectories(states, actions)
    pad = lambda parts: np.stack([np.pad(x, ((0, 8 - len(x)), (0, 0))) for x in parts])
    assert eqx.tree_equal(ragged, Trajectories(pad(states), pad(actions), [5, 3, 8]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_updates=0), r"`fit\(num_updates=0\)` must be at least 1"),
        (dict(batch_size=-1), r"`fit\(batch_size=-1\)` must be at least 2"),
    ],
)
def test_what_cannot_be_fitted_is_said(options, message):
    data = Trajectories(np.zeros((3, 4, 2)))
    critic = Critic.create(data, depth=4, width=8, key=jax.random.key(0))
    with pytest.raises(UserError, match=message):
        fit(critic, data, **(dict(num_updates=1, key=jax.random.key(1)) | options))


@pytest.mark.parametrize(
    ("states", "size", "message"),
    [
        (2, 1, "the data have goals of 1 numbers"),
        (3, 2, "the data have states and actions of 3 and 0 numbers"),
    ],
)
def test_data_of_other_sizes_do_not_fit_a_critic(states, size, message):
    fitting = Trajectories(np.zeros((3, 4, 2)))
    critic = Critic.create(fitting, depth=4, width=8, key=jax.random.key(0))
    data = Trajectories(np.zeros((3, 4, states)), achieved_goal=lambda s: s[..., :size])
    with pytest.raises(UserError, match=message):
        fit(critic, data, num_updates=1, key=jax.random.key(1))


def test_a_critic_is_fitted_to_what_a_ring_holds():
    walk = walks(4, 50).transpose(1, 0, 2)
    buffer = TrajectoryBuffer(50, 4, discount=DISCOUNT, achieved_goal=lambda s: s[..., :3])
    none, episode = jnp.zeros((50, 4, 0)), jnp.zeros((50, 4), jnp.int32)
    steps = Transition(jnp.asarray(walk), none, none, episode)
    data = buffer.stored(buffer.insert(buffer.init(jax.tree.map(lambda x: x[0, 0], steps)), steps))
    assert data.sample((2, 3), key=jax.random.key(0)).state.shape == (2, 3, CELLS)
    critic = Critic.create(data, depth=4, width=32, key=jax.random.key(0))
    _, history = fit(critic, data, num_updates=100, batch_size=64, key=jax.random.key(1))
    assert history["critic_loss"][-20:].mean() < history["critic_loss"][:20].mean()


class Tilted(Box):
    """An environment with arrays of its own."""

    scale: jax.Array = eqx.field(default_factory=lambda: jnp.array([1.0, 2.0]))

    def achieved_goal(self, state):
        return jnp.broadcast_to(self.scale, state.shape) * state


def test_goals_may_be_those_of_an_environment_with_arrays():
    states = jax.random.normal(jax.random.key(0), (3, 9, 2))
    data = Trajectories(states, achieved_goal=Tilted().achieved_goal)
    batch = data.sample((64,), key=jax.random.key(1))
    ours = {(float(x), float(2 * y)) for x, y in states.reshape(-1, 2)}
    assert {tuple(map(float, goal)) for goal in batch.future_goal} <= ours
