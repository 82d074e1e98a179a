"""Losses against loops in float64, and the symmetries that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx import losses, UserError


@pytest.mark.parametrize("name", losses.ALL)
@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 3)])
@pytest.mark.filterwarnings("ignore")
def test_logits_are_a_square_matrix(name, shape):
    with pytest.raises((UserError, TypeError)):  # TypeError where types are checked, as in tests
        losses.ALL[name](jnp.ones(shape))


def lse(values):
    values = np.asarray(list(values))
    return values.max() + np.log(np.exp(values - values.max()).sum())


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def infonce(l, n):
    return -np.mean([l[i, i] - lse(l[i, j] for j in range(n)) for i in range(n)])


def infonce_backward(l, n):
    return -np.mean([l[j, j] - lse(l[i, j] for i in range(n)) for j in range(n)])


def infonce_symmetric(l, n):
    return (infonce(l, n) + infonce_backward(l, n)) / 2


def binary_nce(l, n):
    terms = [log_sigmoid(l[i, j] if i == j else -l[i, j]) for i in range(n) for j in range(n)]
    return -np.mean(terms)


def flatnce(l, n):
    return 1.0


def pairs(n):
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def dpo(l, n):
    return -np.mean([log_sigmoid(l[i, i] - l[i, j]) for i, j in pairs(n)])


def ipo(l, n):
    return np.mean([(l[i, i] - l[i, j] - 1) ** 2 for i, j in pairs(n)])


def sppo(l, n):
    on = [n * (l[i, i] - 1) ** 2 for i in range(n)]
    return np.mean(on + [(l[i, j] + 1) ** 2 for i, j in pairs(n)])


def forward_backward(l, n):
    off = lambda i: sum(l[i, j] ** 2 for j in range(n) if j != i) / (n - 1)
    return np.mean([-l[i, i] + off(i) / 2 for i in range(n)])


BRUTE = {
    f.__name__: f
    for f in (
        infonce,
        infonce_backward,
        infonce_symmetric,
        binary_nce,
        flatnce,
        dpo,
        ipo,
        sppo,
        forward_backward,
    )
}
each = pytest.mark.parametrize("name", losses.ALL)
jitted = {name: jax.jit(jax.value_and_grad(loss)) for name, loss in losses.ALL.items()}


def draw(seed, n=4, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=(n, n))).astype(np.float32)


def test_every_loss_has_a_loop_to_be_compared_with():
    assert BRUTE.keys() == losses.ALL.keys()


@each
@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    n=st.sampled_from([2, 3, 5]),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e3]),
    seed=st.integers(0, 2**16),
)
def test_the_loss_equals_a_loop_in_float64(name, n, scale, seed):
    logits = draw(seed, n, scale)
    value, grad = jitted[name](jnp.asarray(logits))
    np.testing.assert_allclose(value, BRUTE[name](logits.astype(np.float64), n), rtol=1e-4)
    assert jnp.isfinite(grad).all()


@each
def test_a_single_pair_has_nothing_to_be_told_from(name):
    value, grad = jitted[name](jnp.ones((1, 1)))
    assert jnp.isfinite(value) and jnp.isfinite(grad).all()


@pytest.mark.parametrize("name", [name for name in losses.ALL if name != "flatnce"])
def test_the_gradient_equals_finite_differences_of_the_loop(name):
    logits = draw(3).astype(np.float64)
    expected = np.zeros((4, 4))
    for i, j in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[i, j] = 1e-5
        loop = BRUTE[name]
        expected[i, j] = (loop(logits + step, 4) - loop(logits - step, 4)) / 2e-5
    _, grad = jitted[name](jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-5)


def test_flatnce_has_the_gradient_of_infonce_without_the_positive_in_the_denominator():
    logits, n = draw(5).astype(np.float64), 4
    expected = -np.eye(n) / n
    for i, j in pairs(n):
        rivals = lse(logits[i, k] for k in range(n) if k != i)
        expected[i, j] = np.exp(logits[i, j] - rivals) / n
    _, grad = jitted["flatnce"](jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)
    _, with_positive = jitted["infonce"](jnp.asarray(logits, jnp.float32))
    assert np.abs(np.asarray(with_positive) - expected).max() > 0.01


@each
def test_gradients_are_finite_for_extreme_logits(name):
    for logits in (jnp.zeros((3, 3)), 1e4 * jnp.eye(3), -1e4 * jnp.eye(3), jnp.full((3, 3), 1e4)):
        value, grad = jitted[name](logits)
        assert jnp.isfinite(value) and jnp.isfinite(grad).all()


@each
def test_the_order_of_the_batch_does_not_matter(name):
    logits, order = draw(1), np.array([2, 0, 3, 1])
    value, grad = jitted[name](jnp.asarray(logits))
    permuted, permuted_grad = jitted[name](jnp.asarray(logits[order][:, order]))
    np.testing.assert_allclose(permuted, value, rtol=1e-5)
    np.testing.assert_allclose(permuted_grad, grad[order][:, order], rtol=1e-4, atol=1e-6)


UNMOVED = {
    "row": {"infonce", "flatnce", "dpo", "ipo"},
    "column": {"infonce_backward"},
    "all": {"infonce", "infonce_backward", "infonce_symmetric", "flatnce", "dpo", "ipo"},
}


@each
@pytest.mark.parametrize("axis", UNMOVED)
def test_constants_are_invisible_exactly_where_the_loss_compares(name, axis):
    shift = {"row": (4, 1), "column": (1, 4), "all": (1, 1)}[axis]
    logits = draw(2)
    moved = logits + np.random.default_rng(9).normal(size=shift).astype(np.float32)
    values = [jitted[name](jnp.asarray(l)) for l in (logits, moved)]
    same = all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*values, strict=True))
    assert same == (name in UNMOVED[axis])


@each
def test_positives_are_pulled_up_and_negatives_pushed_down_from_equal_logits(name):
    _, grad = jitted[name](jnp.full((4, 4), 0.3))
    off = np.asarray(grad)[~np.eye(4, dtype=bool)]
    assert (jnp.diag(grad) < 0).all()
    assert (off > 0).all()


def test_binary_nce_has_negatives():
    logits = jnp.asarray(draw(4))
    worse = logits.at[0, 1].add(1.0)
    assert losses.binary_nce(worse) > losses.binary_nce(logits)
    # Saying yes to everything costs as much as saying no to everything costs per pair.
    assert losses.binary_nce(jnp.full((4, 4), 20.0)) == pytest.approx(20 * 12 / 16, rel=1e-4)


AXES = {"infonce_backward": [0], "infonce_symmetric": [0, 1]}


@each
def test_the_penalty_runs_along_the_axis_of_its_loss(name):
    logits = draw(6) * np.array([[1, 5, 1, 1]], np.float32)
    l = logits.astype(np.float64)
    rows = np.mean([lse(l[i]) ** 2 for i in range(4)])
    columns = np.mean([lse(l[:, j]) ** 2 for j in range(4)])
    assert abs(rows - columns) > 0.1
    expected = np.mean([(columns, rows)[axis] for axis in AXES.get(name, [1])])
    got = losses.logsumexp_penalty(jnp.asarray(logits), losses.ALL[name])
    np.testing.assert_allclose(got, expected, rtol=1e-5)
