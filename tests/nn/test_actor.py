"""The squashed Gaussian against numerical float64 densities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import integrate, stats

from crl_eqx.nn import Actor, TanhNormal


def distribution(mean, log_std, shape=()):
    full = lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), (*shape, *np.shape(x)))
    return TanhNormal(full(mean), full(log_std))


def density64(action, mean, log_std):
    """Density of tanh(u), by the change of variables."""
    normal = stats.norm.pdf(np.arctanh(action), mean, np.exp(log_std))
    return normal / (1 - action**2)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.6, -1.0), (-1.0, 0.5), (0.3, -3.0)])
def test_samples_and_log_densities_agree_with_the_float64_density(mean, log_std, getkey):
    total, _ = integrate.quad(density64, -1, 1, args=(mean, log_std), points=[np.tanh(mean)])
    assert total == pytest.approx(1, abs=1e-6)

    action, log_prob = distribution([mean], [log_std], (50_000,)).sample_and_log_prob(key=getkey())
    action = np.asarray(action, np.float64)[:, 0]
    fine = np.abs(action) < 0.999  # nearer to 1, f32 no longer tells where u was
    expected = np.log(density64(action[fine], mean, log_std))
    np.testing.assert_allclose(np.asarray(log_prob)[fine], expected, atol=1e-3)

    edges = np.tanh(stats.norm.ppf(np.linspace(0.05, 0.95, 19), mean, np.exp(log_std)))
    masses = [
        integrate.quad(density64, a, b, args=(mean, log_std))[0]
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    counts = np.histogram(action, edges)[0]
    observed = np.append(counts, action.size - counts.sum())
    assert stats.chisquare(observed, action.size * np.append(masses, 1 - sum(masses))).pvalue > 1e-4


def test_the_log_density_of_an_action_is_the_sum_over_its_components(getkey):
    mean, log_std = np.array([0.5, -0.2, 0.1]), np.array([-1.0, 0.0, -2.0])
    action, log_prob = distribution(mean, log_std, (100,)).sample_and_log_prob(key=getkey())
    expected = np.log(density64(np.asarray(action, np.float64), mean, log_std)).sum(-1)
    assert log_prob.shape == (100,)
    np.testing.assert_allclose(log_prob, expected, atol=5e-3)


@pytest.mark.parametrize("mean", [-300.0, -30.0, 30.0, 300.0])
def test_the_log_density_is_right_where_tanh_saturates(mean, getkey):
    # There 1 - tanh²u is 4 exp(-2|u|), so that log p = log N(u) - 2 log 2 + 2 |u|.
    _, log_prob = distribution([mean], [-5.0], (20_000,)).sample_and_log_prob(key=getkey())
    mean_log_normal = -0.5 + 5 - 0.5 * np.log(2 * np.pi)
    expected = mean_log_normal - 2 * np.log(2) + 2 * abs(mean)
    np.testing.assert_allclose(np.mean(np.asarray(log_prob, np.float64)), expected, atol=0.05)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    mean=st.floats(-1e6, 1e6, width=32),
    log_std=st.floats(-5, 2, width=32),
    seed=st.integers(0, 2**16),
)
def test_log_density_and_gradients_are_finite_for_extreme_means(mean, log_std, seed):
    value, grads = _log_prob_and_grads(jnp.float32(mean), jnp.float32(log_std), seed)
    assert jnp.isfinite(value) and all(jnp.isfinite(g) for g in grads)


@jax.jit
def _log_prob_and_grads(mean, log_std, seed):
    def loss(mean, log_std):
        action, log_prob = TanhNormal(mean[None], log_std[None]).sample_and_log_prob(
            key=jax.random.key(seed)
        )
        return log_prob + jnp.sum(action)

    return jax.value_and_grad(loss, argnums=(0, 1))(mean, log_std)


def test_actions_are_reparametrised(getkey):
    key = getkey()
    slope = jax.grad(lambda m: jnp.sum(TanhNormal(m, -jnp.ones(1)).sample(key=key)))(jnp.zeros(1))
    action = TanhNormal(jnp.zeros(1), -jnp.ones(1)).sample(key=key)
    np.testing.assert_allclose(slope, 1 - action**2, rtol=1e-5)


def test_the_log_std_stays_between_minus_5_and_2_and_reaches_both(getkey):
    actor = Actor(3, 2, 1, depth=4, width=8, key=getkey())
    state, goal = jnp.ones(3), jnp.ones(2)
    for bias, expected in [(-50.0, -5.0), (50.0, 2.0), (0.0, None)]:
        pushed = eqx.tree_at(lambda a: a.network.head.bias, actor, jnp.array([0.0, bias]))
        log_std = pushed(state, goal).log_std
        assert -5 <= log_std <= 2
        assert expected is None or log_std == pytest.approx(expected, abs=1e-4)
    zero = eqx.tree_at(lambda a: a.network.head.weight, actor, jnp.zeros((8, 2)))
    assert zero(state, goal).log_std == pytest.approx(-1.5)  # -5 + 3.5 (tanh 0 + 1)


def test_the_deterministic_action_is_tanh_of_the_mean():
    mode = distribution([0.3, -2.0], [0.0, 0.0]).mode()
    np.testing.assert_allclose(mode, np.tanh([0.3, -2.0]), rtol=1e-6)


def test_the_policy_sees_the_goal(getkey):
    actor = Actor(3, 2, 1, depth=4, width=8, key=getkey())
    state = jnp.ones(3)
    assert actor(state, jnp.zeros(2)).mode() != actor(state, jnp.ones(2)).mode()
