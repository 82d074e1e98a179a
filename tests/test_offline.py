"""A critic learnt from trajectories in memory, on a chain whose answer is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_eqx import UserError
from crl_eqx._offline import Critic, fit, Trajectories
from crl_eqx.energy import NegL2


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
    data = Trajectories(walks())
    make = lambda key: Critic.create(data, energy=NegL2(), depth=4, width=32, key=key)
    critic, history = fit(
        eqx.filter_jit(make)(jax.random.key(0)),
        data,
        num_updates=400,
        batch_size=128,
        discount=DISCOUNT,
        optimizer=optax.adam(optax.linear_schedule(3e-3, 0, 400)),
        key=jax.random.key(1),
    )
    state, goal = jnp.repeat(jnp.eye(CELLS), CELLS, axis=0), jnp.tile(jnp.eye(CELLS), (CELLS, 1))
    energies = np.asarray(critic(state, goal)).reshape(CELLS, CELLS)
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
    data = Trajectories(states, 10 * states, lengths)
    draw = eqx.filter_jit(lambda key: data.sample(9000, discount=1.0, key=key))
    batch = jax.tree.map(np.asarray, draw(jax.random.key(0)))
    np.testing.assert_array_equal(batch.action, 10 * batch.state)
    np.testing.assert_array_equal(batch.state[:, 0], batch.future_state[:, 0])
    pairs = np.stack([batch.state[:, 0], batch.state[:, 1], batch.future_state[:, 1]], axis=-1)
    expected = {(r, t, k) for r, n in enumerate(lengths) for t in range(n) for k in range(t + 1, n)}
    assert {tuple(map(int, pair)) for pair in pairs} == expected
    steps, counts = np.unique(pairs[:, :2], axis=0, return_counts=True)
    assert len(steps) == 4 + 1 + 3
    assert np.abs(counts / 9000 - 1 / 8).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 4)),), r"must be \[n, t, state\], not \(3, 4\)"),
        ((np.zeros((3, 4, 2)), np.zeros((3, 5, 1))), r"must be \[3, 4, action\]"),
        ((np.zeros((3, 4, 2)), None, [4, 4]), "3 numbers of at most 4"),
        ((np.zeros((3, 4, 2)), None, [4, 5, 1]), "3 numbers of at most 4"),
        ((np.zeros((3, 4, 2)), None, [1, 0, 1]), "no trajectory has two steps"),
        ((np.zeros((3, 1, 2)),), "no trajectory has two steps"),
    ],
)
def test_data_without_a_shape_or_a_future_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Trajectories(*arguments)
