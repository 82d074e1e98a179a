"""Future goals against the exact truncated geometric distribution."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from crl_eqx import UserError
from crl_eqx.relabel import absorbed_offset, future_index, future_offset, relabel


DISCOUNTS = (0.5, 0.9, 0.99, 1.0)
HORIZONS = (1, 2, 5, 50, 1000)


def exact_masses(discount, horizon):
    """P(k) for k = 1 … H, in float64: γ^k over its sum."""
    powers = np.exp(np.arange(1, horizon + 1) * np.log(discount))
    return powers / powers.sum()


def merged(observed, expected, least=10.0):
    """Bins put together from the left until each expects `least`: what chi-square asks for."""
    group = np.zeros(len(expected), int)
    total = 0.0
    for i in range(1, len(expected)):
        total += expected[i - 1]
        group[i] = group[i - 1] + (total >= least)
        total = 0.0 if total >= least else total
    if total + expected[-1] < least:
        group[group == group[-1]] = max(group[-1] - 1, 0)
    return np.bincount(group, observed), np.bincount(group, expected)


def assert_geometric(offsets, discount, horizon):
    observed = np.bincount(offsets, minlength=horizon + 1)
    assert observed[0] == 0 and len(observed) == horizon + 1  # 1 ≤ k ≤ H
    expected = len(offsets) * exact_masses(discount, horizon)
    bins, masses = merged(observed[1:], expected)
    if len(bins) > 1:
        assert stats.chisquare(bins, masses).pvalue > 1e-4


offsets_of = jax.jit(future_offset, static_argnums=2)
absorbed_of = jax.jit(absorbed_offset, static_argnums=2)


@pytest.mark.parametrize("discount", DISCOUNTS)
@pytest.mark.parametrize("horizon", HORIZONS)
def test_offsets_follow_the_exact_truncated_geometric(discount, horizon, getkey):
    uniform = jax.random.uniform(getkey(), (100_000,))
    offsets = offsets_of(uniform, jnp.full(uniform.shape, horizon), discount)
    assert_geometric(np.asarray(offsets), discount, horizon)


@pytest.mark.parametrize("discount", DISCOUNTS)
@pytest.mark.parametrize("horizon", HORIZONS)
def test_absorbed_offsets_put_all_that_lies_beyond_on_the_last_state(discount, horizon, getkey):
    """P(k) = (1 - γ) γ^(k - 1) below H, and the rest, γ^(H - 1), on H."""
    uniform = jax.random.uniform(getkey(), (100_000,))
    offsets = np.asarray(absorbed_of(uniform, jnp.full(uniform.shape, horizon), discount))
    assert offsets.min() >= 1 and offsets.max() <= horizon
    for k in {1, horizon // 2, horizon} - {0}:
        expected = (1 - discount**k) if k < horizon else 1.0
        assert abs((offsets <= k).mean() - expected) < 0.01


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    uniform=st.floats(0, 1, exclude_max=True, width=32),
    horizon=st.integers(1, 10_000),
    discount=st.sampled_from([*DISCOUNTS, 0.999, 0.9999]),
)
def test_an_offset_inverts_the_distribution_function(uniform, horizon, discount):
    offset = int(offsets_of(jnp.full((1,), uniform), jnp.full((1,), horizon), discount)[0])
    assert 1 <= offset <= horizon
    cumulated = np.concatenate([[0], np.cumsum(exact_masses(discount, horizon))])
    assert cumulated[offset - 1] - 2e-6 <= uniform <= cumulated[offset] + 2e-6


ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))


@pytest.mark.parametrize("discount", [*DISCOUNTS, 0.1, 0.999, 0.99999])
def test_the_last_offset_does_not_cross_into_the_next_episode(discount):
    # In f32 the bare formula gives 2 for H = 1 now and then.
    horizons = jnp.arange(1, 2000)
    for u in (ALMOST_ONE, np.nextafter(ALMOST_ONE, np.float32(0)), np.float32(0.999)):
        offsets = offsets_of(jnp.full(horizons.shape, u), horizons, discount)
        assert (offsets <= horizons).all() and (offsets >= 1).all()
        assert offsets[0] == 1


@pytest.mark.parametrize("discount", [1 - 1e-7, 1 - 1e-9, 1 - 1e-12])
def test_a_discount_just_below_one_is_nearly_uniform(discount):
    uniform = jnp.linspace(0, 0.9999, 1000)
    offsets = offsets_of(uniform, jnp.full((1000,), 100), discount)
    uniformly = offsets_of(uniform, jnp.full((1000,), 100), 1.0)
    assert (jnp.abs(offsets - uniformly) <= 1).all()


def test_futures_of_one_trajectory_lie_ahead_and_the_last_step_has_none(getkey):
    trajectory = jnp.arange(30)
    goals = relabel(trajectory, discount=0.9, key=getkey())
    assert goals.shape == (29,)
    assert (goals > trajectory[:-1]).all() and (goals <= 29).all()
    features = jnp.stack([trajectory, -trajectory], axis=1).astype(jnp.float32)
    assert relabel(features, key=getkey()).shape == (29, 2)
    with pytest.raises(UserError, match=r"shape \(5, 10, 4\): it takes one episode"):
        relabel(jnp.ones((5, 10, 4)), key=getkey())


def test_each_step_of_a_trajectory_draws_from_its_own_horizon():
    draw = jax.jit(jax.vmap(lambda key: relabel(jnp.arange(6), discount=0.5, key=key)))
    goals = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    for time in range(5):
        assert_geometric(goals[:, time] - time, 0.5, 5 - time)


def test_padding_behind_a_short_trajectory_is_never_a_goal(getkey):
    lengths = jnp.repeat(jnp.array([[2], [3], [7]]), 1000, axis=1)
    time = jnp.repeat(jnp.array([[0], [1], [2]]), 1000, axis=1)
    index = future_index(lengths, time, discount=1.0, key=getkey())
    assert (index > time).all() and (index < lengths).all()
    assert set(np.unique(index[2])) == {3, 4, 5, 6}


def test_the_probabilities_are_the_textbook_s():
    # γ = 1/2, H = 3: 4/7, 2/7, 1/7, by a fine grid of u in place of chance.
    offsets = offsets_of((jnp.arange(7000.0) + 0.5) / 7000, jnp.full((7000,), 3), 0.5)
    shares = [Fraction(int(c), 7000) for c in np.bincount(offsets)[1:]]
    assert shares == [Fraction(4, 7), Fraction(2, 7), Fraction(1, 7)]
