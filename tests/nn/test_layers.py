"""Layers against closed forms and float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx.nn import Layer, LayerNorm, Linear, ResidualBlock


def swish64(x):
    return x / (1 + np.exp(-x))


def layer_norm64(x, epsilon=1e-6):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


def layer64(layer, x):
    """One hidden layer written out: swish(LayerNorm(x W + b))."""
    w, b = (np.asarray(a, np.float64) for a in (layer.linear.weight, layer.linear.bias))
    scale, offset = (np.asarray(a, np.float64) for a in (layer.norm.scale, layer.norm.offset))
    return swish64(layer_norm64(x @ w + b) * scale + offset)


@pytest.mark.parametrize(("in_size", "out_size"), [(4, 4096), (29, 512), (256, 256)])
def test_kernels_are_uniform_between_plus_and_minus_one_over_root_fan_in(in_size, out_size, getkey):
    linear = Linear(in_size, out_size, key=getkey())
    weight, bound = np.asarray(linear.weight, np.float64), in_size**-0.5
    assert np.abs(weight).max() <= bound
    assert np.abs(weight).max() > 0.99 * bound
    # A uniform distribution on ±b has mean 0, variance b²/3 and a fourth moment of b⁴/5.
    n = weight.size
    assert abs(weight.mean()) < 4 * bound / np.sqrt(3 * n)
    assert abs(weight.var() / (bound**2 / 3) - 1) < 4 / np.sqrt(n)
    assert abs((weight**4).mean() / (bound**4 / 5) - 1) < 8 / np.sqrt(n)
    assert not linear.bias.any()


def test_layer_norm_starts_with_scale_one_offset_zero_and_epsilon_1e_6():
    norm = LayerNorm(7)
    assert (norm.scale == 1).all() and not norm.offset.any() and norm.epsilon == 1e-6


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    exponent=st.integers(-3, 3),
    batch=st.sampled_from([(), (3,), (2, 3)]),
)
def test_layer_norm_equals_float64(seed, exponent, batch):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(*batch, 6)) * 10.0**exponent).astype(np.float32)
    scale, offset = rng.normal(size=(2, 6)).astype(np.float32)
    norm = eqx.tree_at(
        lambda n: (n.scale, n.offset), LayerNorm(6), (jnp.asarray(scale), jnp.asarray(offset))
    )
    expected = layer_norm64(x.astype(np.float64)) * scale + offset
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, rtol=2e-4, atol=2e-4)


def test_layer_norm_keeps_large_offsets_from_swamping_the_variance():
    # E[x²] - E[x]² would leave nothing of a spread of 1 around 3000 in single precision.
    x = 3000 + np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    expected = layer_norm64(x.astype(np.float64))
    np.testing.assert_allclose(LayerNorm(64)(jnp.asarray(x)), expected, atol=2e-3)


def test_a_hidden_layer_is_swish_of_layer_norm_of_linear(getkey):
    layer = Layer(5, 8, key=getkey())
    x = np.random.default_rng(1).normal(size=(3, 5))
    got = layer(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, layer64(layer, x), rtol=1e-4, atol=1e-5)


def test_a_residual_block_adds_four_layers_to_its_input(getkey):
    block = ResidualBlock(8, key=getkey())
    x = h = np.random.default_rng(2).normal(size=(3, 8))
    key = jax.random.key(3)
    vectors = block.vectors + 0.3 * jax.random.normal(key, block.vectors.shape)
    block = eqx.tree_at(lambda b: b.vectors, block, vectors)
    for weight, (bias, scale, offset) in zip(block.weights, block.vectors, strict=True):
        where = lambda l: (l.linear.weight, l.linear.bias, l.norm.scale, l.norm.offset)
        same = eqx.tree_at(where, Layer(8, 8, key=key), (weight, bias, scale, offset))
        h = layer64(same, h)
    got = block(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, x + h, rtol=1e-4, atol=1e-5)


def test_a_residual_block_without_weights_is_the_identity_plus_swish_of_its_offset(getkey):
    block = ResidualBlock(8, key=getkey())
    block = eqx.tree_at(lambda b: b.weights, block, jnp.zeros((4, 8, 8)))
    x = jax.random.normal(getkey(), (3, 8))
    assert (block(x) == x).all()
    offset = jnp.linspace(-2, 2, 8)
    block = eqx.tree_at(lambda b: b.vectors, block, block.vectors.at[-1, 2].set(offset))
    expected = np.asarray(x) + swish64(np.asarray(offset, np.float64))
    np.testing.assert_allclose(block(x), expected, rtol=1e-6, atol=1e-6)


def test_without_the_skip_connection_only_the_layers_remain(getkey):
    key = getkey()
    full, bare = ResidualBlock(8, key=key), ResidualBlock(8, residual=False, key=key)
    x = jax.random.normal(getkey(), (3, 8))
    np.testing.assert_allclose(full(x) - bare(x), x, atol=1e-6)


def test_without_layer_norm_the_scale_of_the_input_is_felt(getkey):
    key, x = getkey(), 20 * jax.random.normal(getkey(), (3, 5))
    full, bare = Layer(5, 8, key=key), Layer(5, 8, layer_norm=False, key=key)
    assert bare.norm is None
    np.testing.assert_allclose(bare(x), swish64(np.asarray(x @ full.linear.weight)), rtol=1e-3)
    assert jnp.abs(bare(x)).max() > 5 > jnp.abs(full(x)).max()


def test_another_activation_is_used_when_asked_for(getkey):
    relu = Layer(5, 8, activation=jax.nn.relu, key=getkey())
    y = relu(jax.random.normal(getkey(), (3, 5)))
    assert (y >= 0).all() and (y == 0).any()
