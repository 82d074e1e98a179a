"""Energies against loops over pairs in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx.energy import Cosine, Dot, MRN, NegL2, NegSquaredL2


def neg_l2(x, y):
    return -np.sqrt(np.sum((x - y) ** 2) + 1e-12)


def neg_squared_l2(x, y):
    return -np.sum((x - y) ** 2)


def dot(x, y):
    return float(x @ y)


def cosine(x, y):
    return float(x @ y) / np.linalg.norm(x) / np.linalg.norm(y) / 0.1


def mrn(x, y):
    half = len(x) // 2
    asymmetric = max(max(x[i] - y[i], 0) for i in range(half))
    return -(asymmetric + np.sqrt(np.sum((x[half:] - y[half:]) ** 2) + 1e-12))


CASES = {
    "neg_l2": (NegL2(), neg_l2),
    "neg_squared_l2": (NegSquaredL2(), neg_squared_l2),
    "dot": (Dot(), dot),
    "cosine": (Cosine(0.1), cosine),
    "mrn": (MRN(), mrn),
}
each = pytest.mark.parametrize("name", CASES)


by_row = eqx.filter_jit(lambda energy, x, y: energy(x, y))
by_pair = eqx.filter_jit(lambda energy, x, y: energy.pairwise(x, y))


def draw(seed, shape, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def brute(formula, x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.array([[formula(a, b) for b in y] for a in x])


@each
@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    shape=st.sampled_from([(1, 1, 2), (3, 3, 4), (2, 4, 6), (4, 2, 2)]),
    exponent=st.integers(-3, 3),
    seed=st.integers(0, 2**16),
)
def test_both_faces_equal_a_loop_in_float64(name, shape, exponent, seed):
    n, m, size = shape
    energy, formula = CASES[name]
    x, y = (draw(seed + k, (k, size), 10.0**exponent) for k in (n, m))
    expected = brute(formula, x, y)
    x, y = jnp.asarray(x), jnp.asarray(y)
    atol = 1e-5 * float(np.abs(expected).max())
    np.testing.assert_allclose(by_pair(energy, x, y), expected, rtol=1e-4, atol=atol)
    k = min(n, m)
    rows = by_row(energy, x[:k], y[:k])
    np.testing.assert_allclose(rows, np.diag(expected), rtol=1e-4, atol=atol)


@each
def test_rows_may_have_any_batch_axes(name):
    energy, formula = CASES[name]
    x, y = draw(0, (2, 3, 4)), draw(1, (2, 3, 4))
    expected = [[formula(a, b) for a, b in zip(*ab, strict=True)] for ab in zip(x, y, strict=True)]
    np.testing.assert_allclose(by_row(energy, jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-4)
    assert by_row(energy, jnp.asarray(x[0, 0]), jnp.asarray(y[0, 0])).shape == ()


@pytest.mark.parametrize("energy", [NegL2(), NegSquaredL2(), MRN()])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("gap", [0.0, 1e-3, 0.1])
def test_close_positives_are_exact_however_far_from_the_origin(energy, offset, gap):
    # At a norm of 8000 a square is 6.4e7, whose last bit in f32 is worth 4: the matrix form
    # ‖x‖² + ‖y‖² - 2 x·y would see nothing of a distance of 0.1.
    x = offset + draw(0, (16, 64))
    y = (x + gap * draw(1, (16, 64)) / 8).astype(np.float32)
    formula = {NegL2: neg_l2, NegSquaredL2: neg_squared_l2, MRN: mrn}[type(energy)]
    expected = brute(formula, x, y)
    got = np.asarray(by_pair(energy, jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_allclose(np.diag(got), np.diag(expected), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-9)
    assert (got <= 0).all()


def test_squared_distances_are_never_negative_between_equal_far_rows():
    x = jnp.asarray(np.repeat(100 * draw(0, (1, 64)), 8, axis=0))
    y = jnp.concatenate([x, -x])  # the centre does not help here
    logits = by_pair(NegL2(), y, y)
    assert jnp.isfinite(logits).all() and (logits <= 0).all()


@each
@pytest.mark.parametrize("kind", ["equal", "zero", "far"])
def test_gradients_are_finite_at_distance_zero_and_far_away(name, kind):
    energy, _ = CASES[name]
    x = {"equal": draw(0, (3, 4)), "zero": np.zeros((3, 4), "f4"), "far": draw(0, (3, 4), 1e6)}
    x = jnp.asarray(x[kind])
    y = -x if kind == "far" else x
    for face in (by_row, by_pair):
        loss = lambda xy, face=face: jnp.sum(face(energy, *xy))
        value, grads = eqx.filter_jit(jax.value_and_grad(loss))((x, y))
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(g).all() for g in grads)


@each
def test_the_gradients_of_both_faces_agree(name):
    energy, _ = CASES[name]
    x, y = jnp.asarray(draw(0, (4, 6))), jnp.asarray(draw(1, (5, 6)))
    weights = jnp.asarray(draw(2, (4, 5)))

    def by_matrix(x, y):
        return jnp.sum(weights * energy.pairwise(x, y))

    def by_rows(x, y):
        each_pair = jnp.repeat(x, 5, axis=0), jnp.tile(y, (4, 1))
        return jnp.sum(weights.ravel() * energy(*each_pair))

    ours, rows = (jax.jit(jax.grad(f, argnums=(0, 1)))(x, y) for f in (by_matrix, by_rows))
    for a, b in zip(ours, rows, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("energy", [NegL2(), NegSquaredL2(), Dot(), MRN()])
def test_a_goal_that_is_no_number_is_never_taken_for_one_that_is_reached(energy):
    goals = jnp.arange(8.0).reshape(4, 2).at[3].set(jnp.nan)
    assert np.isnan(energy.pairwise(jnp.ones((2, 2)), goals)[:, 3]).all()


@pytest.mark.parametrize("name", ["neg_l2", "neg_squared_l2", "mrn"])
def test_distances_do_not_change_when_everything_is_moved(name):
    energy, _ = CASES[name]
    x, y, shift = (jnp.asarray(draw(s, shape)) for s, shape in enumerate([(4, 6), (4, 6), (1, 6)]))
    moved = by_pair(energy, x + 3 * shift, y + 3 * shift)
    np.testing.assert_allclose(moved, by_pair(energy, x, y), rtol=1e-4, atol=1e-4)


def test_cosine_is_normalised_row_by_row():
    energy = Cosine(0.1)
    x, y = jnp.asarray(draw(0, (4, 6))), jnp.asarray(draw(1, (4, 6)))
    lengths = jnp.array([[0.01], [1.0], [20.0], [3e3]])
    for face in (by_row, by_pair):
        np.testing.assert_allclose(face(energy, lengths * x, y), face(energy, x, y), rtol=1e-4)
        np.testing.assert_allclose(face(energy, x, lengths * y), face(energy, x, y), rtol=1e-4)
    np.testing.assert_allclose(jnp.diag(by_pair(energy, x, x)), 10 * np.ones(4), rtol=1e-5)


@pytest.mark.parametrize("learned", [True, False])
def test_training_moves_the_temperature_only_if_it_is_learned(learned):
    energy = Cosine(0.5, learned=learned)
    x, y = jnp.asarray(draw(0, (4, 6))), jnp.asarray(draw(1, (4, 6)))
    np.testing.assert_allclose(energy(x, y), 0.2 * Cosine(0.1)(x, y), rtol=1e-5)
    grads = eqx.filter_grad(lambda energy: jnp.sum(energy(x, y)))(energy)
    # Not even weight decay may touch what is not learned, so that it must be no parameter at all.
    assert len(jax.tree.leaves(grads)) == int(learned)
    assert all(leaf != 0 for leaf in jax.tree.leaves(grads))


def test_mrn_obeys_the_triangle_inequality_but_is_not_symmetric():
    x, y, z = (jnp.asarray(draw(s, (200, 6))) for s in range(3))
    distance = lambda a, b: -by_row(MRN(), a, b)
    assert (distance(x, z) <= distance(x, y) + distance(y, z) + 1e-5).all()
    assert (jnp.abs(distance(x, y) - distance(y, x)) > 0.1).any()
