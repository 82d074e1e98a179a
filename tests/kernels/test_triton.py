"""The persistent kernels: their numbers in Pallas' interpreter, and their way to a GPU.

The interpreter knows no limit of a GPU, and lowering computes no number: each needs the other.
"""

import sys
import types

import jax
import jax.numpy as jnp
import pytest

from crl_eqx import nn, UserError
from crl_eqx.kernels import (
    _platform,
    check_compute,
    Compute,
    residual_tower,
    residual_towers,
    UnsupportedError,
)
from crl_eqx.kernels.residual_tower._triton import passes, TILES, Tiles
from crl_eqx.kernels.residual_tower._vjp import with_passes
from crl_eqx.kernels.residual_tower.cases import Case, CASES, draw, draw_with_first

from .towers import begun, distance, GPU, run_with, tower, value_and_gradient, weighed


pytestmark = pytest.mark.usefixtures("optimized")  # interpreted kernels take long


INTERPRETED = [
    CASES["one row"],
    CASES["not a multiple of the tile"],
    CASES["three networks"],
    Case(4, 256, 16),
]


def interpreted(precision, **options):
    return lambda x, p: with_passes((x, p), passes(precision, interpret=True, **options))


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
@pytest.mark.parametrize("first", [False, True])
def test_both_passes_compute_the_tower_and_the_end_of_a_first_layer(case, first):
    x, params = draw_with_first(case, key=jax.random.key(0), first=first)
    ours, plain = interpreted("auto"), begun(run_with(kernel="xla"))
    expected = value_and_gradient(plain, x, params)
    assert distance(value_and_gradient(ours, x, params), expected) < 2e-6
    of_input = jax.jit(jax.grad(lambda x: weighed(ours(x, params))))
    assert distance(of_input(x), expected[1][0]) < 2e-6


@pytest.mark.parametrize("first", [False, True])
def test_bf16_errs_as_packed_does(first):
    arrays = draw_with_first(CASES["three networks"], key=jax.random.key(0), first=first)
    plain = value_and_gradient(begun(run_with(kernel="xla")), *arrays)
    packed = begun(run_with(kernel="packed", precision="bf16"))
    error = lambda of: distance(value_and_gradient(of, *arrays), plain)
    assert 0 < error(interpreted("bf16")) < 1.5 * error(packed)


def test_the_tiles_change_no_number():
    arrays = draw_with_first(CASES["three networks"], key=jax.random.key(0))
    usual = value_and_gradient(interpreted("auto"), *arrays)
    other = value_and_gradient(interpreted("auto", tiles=Tiles(8, 32, 4, 1)), *arrays)
    assert distance(other, usual) < 2e-6


@pytest.mark.parametrize("first", [False, True])
def test_under_vmap_over_seeds(first):
    keys = [jax.random.key(seed) for seed in range(2)]
    draws = [draw_with_first(Case(4, 128, 5), key=key, first=first) for key in keys]
    x, params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    ours = interpreted("auto")
    gradient = jax.grad(lambda x, p: weighed(ours(x, p)), argnums=(0, 1))
    together = jax.jit(jax.vmap(gradient))(x, params)
    for i, arrays in enumerate(draws):
        alone = value_and_gradient(begun(run_with(kernel="xla")), *arrays)[1]
        assert distance(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone) < 2e-6


@pytest.mark.parametrize("width, low", TILES)
def test_both_kernels_are_lowered_for_a_gpu(width, low):
    precision = "bf16" if low else "tf32"
    run = lambda x, p: residual_tower(x, p, Compute(kernel="triton", precision=precision))
    loss = lambda x, p: weighed(run(x, p))
    with jax.sharding.use_abstract_mesh(GPU):
        traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*tower(Case(8, width, 21)))
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2


@pytest.mark.parametrize("width", [128, 256])
def test_with_a_first_layer_they_are_lowered_for_a_gpu(width):
    compute = Compute(kernel="triton", precision="bf16")
    run = lambda x, p, first: residual_towers([x], [p], compute, firsts=[first])[0]
    gradient = jax.grad(lambda *arrays: weighed(run(*arrays)), argnums=(0, 1, 2))
    case = Case(8, width, 21)
    first = jnp.ones((3, width))
    with jax.sharding.use_abstract_mesh(GPU):
        traced = jax.jit(gradient).trace(*tower(case), first)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2


@pytest.mark.parametrize("name", ["usual", "deepest"])
def test_the_largest_are_lowered_for_a_gpu(name):
    x, params = jax.eval_shape(lambda: draw(CASES[name], key=jax.random.key(0)))
    run = run_with(kernel="triton", precision="bf16")
    gradient = jax.grad(lambda x, p: weighed(run(x, p)), argnums=(0, 1))
    with jax.sharding.use_abstract_mesh(GPU):
        text = jax.jit(gradient).trace(x, params).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2


@pytest.mark.parametrize(
    "width, options, message",
    [
        (96, {}, r"a width of 96 at `precision='auto'.*128 or 256 at 'auto'.*512 at 'bf16'"),
        (512, {}, r"a width of 512 at `precision='auto'.*512 at 'bf16'"),
        (128, {"precision": "f32"}, r"precision='f32'.*'auto' or 'tf32' or 'bf16'"),
        (128, {"remat": "block"}, r"remat='block'.*'auto' or 'dots'"),
        (128, {"unroll": 2}, r"unroll=2.*needs 1"),
    ],
)
def test_what_it_cannot_do_on_a_gpu(width, options, message):
    with jax.sharding.use_abstract_mesh(GPU):
        with pytest.raises(UnsupportedError, match=message):
            residual_tower(*tower(Case(8, width, 21)), Compute(kernel="triton", **options))
        block = lambda key: nn.ResidualBlock(width, key=key)
        with pytest.raises(UserError, match=message):
            nn.Stacked(block, 1, compute=Compute("triton", **options), key=jax.random.key(0))


def test_it_needs_a_gpu():
    with pytest.raises(UnsupportedError, match="'triton'.*a CPU: it needs a GPU"):
        residual_tower(*tower(Case(8, 128, 21)), Compute(kernel="triton"))


def test_it_needs_pallas(monkeypatch):
    module = "crl_eqx.kernels.residual_tower._triton"
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas", None)
    with (
        jax.sharding.use_abstract_mesh(GPU),
        pytest.raises(UnsupportedError, match="'triton'.*needs Pallas, and this JAX .* lacks it"),
    ):
        residual_tower(*tower(Case(8, 128, 21)), Compute(kernel="triton"))


@pytest.mark.parametrize(
    "capability, width, precision, refused",
    [
        ("9.0", 512, "bf16", None),
        ("8.0", 256, "bf16", None),
        ("8.9", 128, "bf16", None),
        ("8.9", 256, "tf32", None),
        ("8.9", 256, "bf16", "a width of 256 at .*; 128 at 'bf16'"),
        ("7.5", 128, "bf16", "one of NVIDIA's, of compute capability 8.0 or newer"),
        ("7.5", 128, "tf32", "'tf32'` needs an NVIDIA GPU of compute capability 8.0 or newer"),
        ("gfx942", 128, "bf16", "one of NVIDIA's"),
    ],
)
def test_gpus_that_it_does_not_compile_for(capability, width, precision, refused, monkeypatch):
    """As XLA and ptxas said ahead of time, of which nothing is asked here."""
    card = types.SimpleNamespace(platform="gpu", compute_capability=capability)
    monkeypatch.setattr(_platform, "_device", lambda: card)
    ask = lambda: check_compute(Compute("triton", precision), width=width)
    if refused is None:
        return ask()
    with pytest.raises(UserError, match=refused):
        ask()
