"""The persistent kernels: their numbers in Pallas' interpreter, and their way to a GPU.

The interpreter knows no limit of a GPU, and lowering computes no number: each needs the other.
"""

import sys

import jax
import jax.numpy as jnp
import pytest

from crl_eqx import nn, UserError
from crl_eqx.kernels import Compute, residual_tower, residual_towers, UnsupportedError
from crl_eqx.kernels.residual_tower._triton import passes, TILES, Tiles, WithFirst
from crl_eqx.kernels.residual_tower._vjp import with_passes
from crl_eqx.kernels.residual_tower.cases import Case, CASES, draw, draw_first

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


def drawn(case, with_first, seed=0):
    """Arrays of a tower, and what makes a way to run it one that takes them."""
    x, params = draw(case, key=jax.random.key(seed))
    if not with_first:
        return (x, params), lambda run: run
    return (x, WithFirst(params, draw_first(case, key=jax.random.key(seed + 9)))), begun


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_both_passes_compute_the_tower(case):
    arrays = draw(case, key=jax.random.key(0))
    plain = value_and_gradient(run_with(kernel="xla"), *arrays)
    assert distance(value_and_gradient(interpreted("auto"), *arrays), plain) < 2e-6


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_norm_and_swish_of_a_first_layer_are_part_of_both_passes(case):
    (x, params), run = drawn(case, with_first=True)
    ours = interpreted("auto", with_first=True)
    expected = value_and_gradient(run(run_with(kernel="xla")), x, params)
    assert distance(value_and_gradient(ours, x, params), expected) < 2e-6
    of_input = jax.jit(jax.grad(lambda x: weighed(ours(x, params))))
    assert distance(of_input(x), expected[1][0]) < 2e-6


@pytest.mark.parametrize("with_first", [False, True])
def test_bf16_errs_as_packed_does(with_first):
    arrays, run = drawn(CASES["three networks"], with_first)
    plain = value_and_gradient(run(run_with(kernel="xla")), *arrays)
    ours = interpreted("bf16", with_first=with_first)
    packed = run(run_with(kernel="packed", precision="bf16"))
    error = lambda of: distance(value_and_gradient(of, *arrays), plain)
    assert 0 < error(ours) < 1.5 * error(packed)


def test_the_gradient_of_the_input_alone_is_the_same():
    x, params = draw(CASES["not a multiple of the tile"], key=jax.random.key(0))
    loss = lambda run: jax.jit(jax.grad(lambda x: weighed(run(x, params))))
    plain = loss(run_with(kernel="xla"))(x)
    assert distance(loss(interpreted("auto"))(x), plain) < 2e-6


def test_the_tiles_change_no_number():
    arrays = draw(CASES["three networks"], key=jax.random.key(0))
    usual = value_and_gradient(interpreted("auto"), *arrays)
    other = value_and_gradient(interpreted("auto", tiles=Tiles(8, 32, 4, 1)), *arrays)
    assert distance(other, usual) < 2e-6


@pytest.mark.parametrize("with_first", [False, True])
def test_under_vmap_over_seeds(with_first):
    draws = [drawn(Case(4, 128, 5), with_first, seed) for seed in range(2)]
    x, params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arrays for arrays, _ in draws))
    ours = interpreted("auto", with_first=with_first)
    gradient = jax.grad(lambda x, p: weighed(ours(x, p)), argnums=(0, 1))
    together = jax.jit(jax.vmap(gradient))(x, params)
    for i, (arrays, run) in enumerate(draws):
        alone = value_and_gradient(run(run_with(kernel="xla")), *arrays)[1]
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
    first = draw_first(case, key=jax.random.key(1))[0]
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
