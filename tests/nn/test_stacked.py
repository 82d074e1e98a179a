"""A scan is a loop, whatever is recomputed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx import UserError
from crl_eqx.nn import Compute, ResidualBlock, ResidualMLP, Stacked


# Unoptimised, LayerNorm over two numbers rounds otherwise in a loop than in a scan.
pytestmark = pytest.mark.usefixtures("optimized")


def stack(num_blocks, width, seed, **compute):
    make = lambda key: ResidualBlock(width, key=key)
    build = lambda key: Stacked(make, num_blocks, compute=Compute(**compute), key=key)
    return eqx.filter_jit(build)(jax.random.key(seed))


def loop(stacked, x):
    for block in stacked.unstacked():
        x = block(x)
    return x


def value_and_grads(run, stacked, x):
    """Value and every gradient (blocks and input) of a sum with unequal weights."""

    def loss(differentiable):
        stacked, x = differentiable
        y = run(stacked, x)
        return jnp.sum(y * jnp.arange(1.0, y.size + 1).reshape(y.shape))

    value, grads = eqx.filter_jit(eqx.filter_value_and_grad(loss))((stacked, x))
    return value, jax.tree.leaves(eqx.filter(grads, eqx.is_array))


def assert_close(ours, theirs):
    (value, grads), (other_value, other_grads) = ours, theirs
    np.testing.assert_allclose(value, other_value, rtol=1e-5)
    assert len(grads) == len(other_grads) > 0
    for a, b in zip(grads, other_grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * float(jnp.abs(b).max()))


@settings(deadline=None, max_examples=3, derandomize=True)
@given(
    num_blocks=st.integers(1, 3),
    width=st.integers(2, 9),
    batch=st.sampled_from([(), (3,), (2, 2)]),
    seed=st.integers(0, 2**16),
)
def test_the_scan_equals_the_loop_in_value_and_gradient(num_blocks, width, batch, seed):
    stacked = stack(num_blocks, width, seed)
    x = jax.random.normal(jax.random.key(seed + 1), (*batch, width))
    assert_close(value_and_grads(lambda s, x: s(x), stacked, x), value_and_grads(loop, stacked, x))


@pytest.fixture(scope="module")
def plain():
    x = jax.random.normal(jax.random.key(1), (3, 8))
    return value_and_grads(lambda s, x: s(x), stack(4, 8, 0, remat="none"), x)


@pytest.mark.parametrize(
    "options", [{"remat": "auto"}, {"remat": "dots"}, {"remat": "block"}, {"unroll": 3}]
)
def test_what_is_recomputed_or_unrolled_changes_neither_value_nor_gradient(options, plain):
    x = jax.random.normal(jax.random.key(1), (3, 8))
    assert_close(value_and_grads(lambda s, x: s(x), stack(4, 8, 0, **options), x), plain)


def test_the_blocks_differ_from_one_another():
    weights = [np.asarray(b.weights[0]) for b in stack(3, 4, 0).unstacked()]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])


def kept_bytes(remat, num_blocks):
    """Memory that a gradient needs beside its inputs and outputs, as XLA plans it."""
    network = eqx.filter_eval_shape(
        lambda key: ResidualMLP(
            8, 8, depth=4 * num_blocks, width=32, compute=Compute(remat=remat), key=key
        ),
        jax.random.key(0),
    )
    arrays, static = eqx.partition(network, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    loss = lambda arrays, x: jnp.sum(eqx.combine(arrays, static)(x))
    x = jax.ShapeDtypeStruct((512, 8), jnp.float32)
    planned = jax.jit(jax.grad(loss)).lower(arrays, x).compile().memory_analysis()
    assert planned is not None
    return planned.temp_size_in_bytes


def test_rematerialisation_saves_the_memory_that_it_promises():
    none, dots, block = (kept_bytes(remat, 16) for remat in ("none", "dots", "block"))
    assert block < dots < none
    assert block < none / 5
    # One block's input per block, of 512 samples of 32 numbers, and a constant.
    assert block - kept_bytes("block", 8) < 2 * 8 * 512 * 32 * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "xla", "remat": "block"}, r"remat='block'.*'auto' or 'none'"),
        ({"kernel": "packed", "remat": "none"}, r"remat='none'.*'auto' or 'dots' or 'block'"),
        ({"precision": "tf32"}, "needs an NVIDIA GPU"),
    ],
)
def test_choices_that_contradict_each_other_or_the_device_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        stack(2, 4, 0, **options)


def test_kernels_and_precisions_are_refused_for_ablations():
    make = lambda key: ResidualBlock(4, residual=False, key=key)
    for options in ({"kernel": "packed"}, {"precision": "bf16"}):
        with pytest.raises(UserError, match="needs residual blocks with LayerNorm and swish"):
            Stacked(make, 2, compute=Compute(**options), key=jax.random.key(0))


class Half(ResidualBlock):
    """Of one's own: what no kernel computes."""

    def __call__(self, x):
        return 0.5 * (x + super().__call__(x))


def test_blocks_of_one_s_own_are_asked_themselves():
    stacked = Stacked(lambda key: Half(8, key=key), 3, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8))
    np.testing.assert_allclose(stacked(x), loop(stacked, x), rtol=1e-5, atol=1e-6)
    assert jnp.abs(stacked(x) - x).max() > 0.01
