"""The smallest operation: its definition, its kernel, and what the kernel refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.kernels import UnsupportedError
from crl_eqx.kernels._norm_swish import norm_swish as reference, through_norm_swish
from crl_eqx.kernels.experimental import norm_swish
from crl_eqx.kernels.experimental.norm_swish._triton import norm_swish as triton
from crl_eqx.kernels.experimental.norm_swish.cases import CASES

from .towers import distance, GPU, weighed


pytestmark = pytest.mark.usefixtures("optimized")  # interpreted kernels take long


def draw(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    z, scale, offset = map(jax.random.normal, keys, (shape, shape[-1:], shape[-1:]))
    return 3 * z + 2, 1 + 0.1 * scale, offset


def value_and_gradient(run, *arrays):
    loss = lambda *arrays: weighed(run(*arrays))
    return run(*arrays), jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*arrays)


def test_the_definition():
    arrays = draw((5, 7))
    z, scale, offset = map(np.asarray, arrays)
    unit = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-6)
    n = unit * scale + offset
    np.testing.assert_allclose(norm_swish(*arrays), n / (1 + np.exp(-n)), rtol=2e-5, atol=1e-6)


def test_the_derivative_that_is_written_down_is_autodiff_s():
    z, scale, offset = draw((6, 16))
    row = lambda v: v[None]
    dz = jax.grad(lambda z: weighed(reference(z, row(scale), row(offset))))(z)
    dh = jnp.cos(jnp.arange(z.size, dtype=z.dtype)).reshape(z.shape)
    ours = through_norm_swish(z, dh, row(scale), row(offset))
    np.testing.assert_allclose(ours.product, dz, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.output, reference(z, row(scale), row(offset)), rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_in_pallas_interpreter(name):
    arrays = draw(CASES[name])
    kernel = lambda *arrays: triton(*arrays, interpret=True)
    assert (
        distance(value_and_gradient(kernel, *arrays), value_and_gradient(norm_swish, *arrays))
        < 1e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_lowered_for_a_gpu(name):
    run = lambda *arrays: norm_swish(*arrays, implementation="triton")
    loss = lambda *arrays: weighed(run(*arrays))
    with jax.sharding.use_abstract_mesh(GPU):
        traced = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).trace(*draw(CASES[name]))
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2


def test_what_it_refuses():
    arrays = draw((4, 128))
    with pytest.raises(UnsupportedError, match="'triton'.*needs a GPU, and this is a CPU"):
        norm_swish(*arrays, implementation="triton")
    with jax.sharding.use_abstract_mesh(GPU):
        for shape in ((4, 96), (0, 128)):
            with pytest.raises(UserError, match=r"\(128, 256, 512\).*" + str(shape[1])):
                norm_swish(*draw(shape), implementation="triton")
        low = arrays[0].astype(jnp.bfloat16)
        with pytest.raises(UnsupportedError, match="takes float32, and was given bfloat16"):
            norm_swish(low, *arrays[1:], implementation="triton")
