"""All implementations compute the same tower, and say what they cannot do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx import UserError
from crl_eqx.kernels import (
    check_compute,
    check_precision,
    check_remat,
    choose,
    Compute,
    residual_tower,
    residual_towers,
    TowerParams,
    UnsupportedError,
)
from crl_eqx.kernels.residual_tower.cases import Case, CASES, draw

from .towers import (
    distance,
    exactly,
    GPU,
    highest,
    run_with,
    tower,
    value_and_gradient,
    weighed,
)


SMALL = Case(8, 16, 6, nets=3)
ROUNDING = 1.2e-7
ALL = [
    dict(kernel="xla"),
    dict(kernel="checkpoint", remat="dots"),
    dict(kernel="checkpoint", remat="block"),
    dict(kernel="packed"),
    dict(kernel="packed", remat="block"),
    dict(kernel="packed", unroll=2),
]


def name(options):
    return "-".join(str(value) for value in options.values())


@settings(deadline=None, max_examples=6, derandomize=True)
@given(
    blocks=st.integers(1, 4),
    width=st.sampled_from([3, 8, 31, 64]),
    batch=st.integers(1, 9),
    nets=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**16),
    remat=st.sampled_from(["auto", "block"]),
)
def test_packed_errs_at_most_twice_as_much_as_autodiff(blocks, width, batch, nets, seed, remat):
    arrays, exact = exactly(Case(4 * blocks, width, batch, nets), seed)
    ours = value_and_gradient(run_with(kernel="packed", remat=remat), *arrays)
    plain = value_and_gradient(run_with(kernel="xla"), *arrays)
    for of_ours, of_plain, of_exact in zip(ours, plain, exact, strict=True):
        assert distance(of_ours, of_exact) <= 2 * distance(of_plain, of_exact) + ROUNDING / 2


@pytest.fixture(scope="module")
def small():
    return exactly(SMALL, 0)


@pytest.mark.parametrize("options", ALL, ids=name)
def test_every_implementation_computes_the_tower_and_its_gradient(options, small):
    arrays, exact = small
    assert distance(value_and_gradient(run_with(**options), *arrays), exact) < 8 * ROUNDING


@pytest.mark.parametrize("options", ALL, ids=name)
def test_bf16_errs_as_much_as_its_mantissa_says(options, small):
    arrays, exact = small
    ours = value_and_gradient(run_with(**options, precision="bf16"), *arrays)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(ours))
    assert 2**-12 < distance(ours, exact) < 2**-5


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("remat, kept", [("dots", 1 + 4), ("block", 1)])
def test_what_is_kept_between_the_passes(remat, kept, precision):
    """Of each block its input, and with "dots" the four products."""
    x, params = tower(Case(8, 16, 6))
    compute = Compute("checkpoint", remat=remat, precision=precision)
    _, back = jax.vjp(lambda x, p: residual_tower(x, p, compute), x, params)
    assert sum(leaf.shape == (2, 6, 16) for leaf in jax.tree.leaves(back)) == kept


def test_f32_is_asked_for_where_the_hardware_would_round():
    x, params = tower(Case(4, 8, 3))
    text = lambda precision: str(
        jax.make_jaxpr(lambda x: residual_tower(x, params, Compute(precision=precision)))(x)
    )
    assert "HIGHEST" in text("f32") and "HIGHEST" not in text("auto")


def test_the_error_of_bf16_does_not_grow_with_depth():
    def error(depth):
        arrays = draw(Case(depth, 32, 8), key=jax.random.key(0))
        run = lambda precision: run_with(kernel="packed", precision=precision)
        rounded, plain = (value_and_gradient(run(p), *arrays) for p in ("bf16", "f32"))
        return distance(rounded, plain)

    assert error(128) < 2 * error(8)


@pytest.mark.parametrize("options", ALL, ids=name)
def test_under_vmap_over_seeds(options):
    draws = [draw(SMALL, key=jax.random.key(seed)) for seed in range(2)]
    x, params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    gradient = jax.grad(lambda x, params: weighed(run_with(**options)(x, params)), argnums=(0, 1))
    together = highest(jax.jit(jax.vmap(gradient)))(x, params)
    for i, (x, params) in enumerate(draws):
        alone = value_and_gradient(run_with(**options), x, params)[1]
        assert distance(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone) < 8 * ROUNDING


@pytest.mark.parametrize("remat, products", [("auto", 4 + 4), ("block", 4 + 4 + 4)])
def test_the_gradient_of_the_input_alone_computes_none_of_the_weights(remat, products):
    """Forward, backward and, with "block", forward again: of each one product a layer."""
    x, params = draw(SMALL, key=jax.random.key(0))
    loss = lambda x, params: weighed(run_with(kernel="packed", remat=remat)(x, params))

    def count(argnums):
        return str(jax.make_jaxpr(jax.grad(loss, argnums))(x, params)).count("dot_general[")

    assert count(0) == products
    assert count((0, 1)) == products + 1


@pytest.mark.parametrize("kernel, scans", [("xla", 4), ("checkpoint", 4), ("packed", 3)])
def test_towers_of_several_shapes_give_what_each_gives_alone(kernel, scans):
    """`packed` runs those together that are equal in shape: here the first and the last."""
    one = SMALL._replace(nets=1)
    cases = [one, one._replace(batch=4), Case(4, 8, 6), one]
    drawn = [draw(case, key=jax.random.key(i)) for i, case in enumerate(cases)]
    xs = [x[0] for x, _ in drawn]
    towers = [TowerParams(p.weights[:, 0], p.vectors[:, 0]) for _, p in drawn]
    run = functools.partial(residual_towers, compute=Compute(kernel))
    assert str(jax.make_jaxpr(run)(xs, towers)).count("scan[") == scans
    together = run(xs, towers)
    for x, params, y in zip(xs, towers, together, strict=True):
        alone = residual_tower(x, params, Compute(kernel=kernel))
        np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["auto", "xla", "checkpoint", "packed"])
def test_any_shape_of_batch(kernel):
    x, params = tower(Case(4, 8, 6))
    y = residual_tower(x, params, Compute(kernel=kernel))
    of_shape = residual_tower(x.reshape(2, 3, 8), params, Compute(kernel=kernel))
    np.testing.assert_allclose(of_shape.reshape(6, 8), y, rtol=1e-5, atol=1e-6)
    one = residual_tower(x[0], params, Compute(kernel=kernel))
    np.testing.assert_allclose(one, y[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["auto", "xla", "checkpoint", "packed"])
def test_inputs_of_another_type_are_taken(kernel):
    x, params = tower(Case(4, 8, 6))
    low = x.astype(jnp.bfloat16)
    y = residual_tower(low, params, Compute(kernel=kernel))
    plain = residual_tower(low.astype(jnp.float32), params, Compute(kernel=kernel))
    np.testing.assert_array_equal(y, plain)


@pytest.mark.parametrize("kernel", ["xla", "checkpoint", "packed"])
def test_what_is_not_finite_stays_so_and_stays_in_its_row(kernel):
    x, params = tower(Case(4, 8, 3))
    y = residual_tower(x.at[1, 2].set(jnp.nan), params, Compute(kernel=kernel))
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[0]).all() and np.isfinite(y[2]).all()


def test_the_choice_depends_on_where_it_will_run():
    assert choose() == "checkpoint"
    assert choose("none") == "xla"
    with jax.sharding.use_abstract_mesh(GPU):
        assert choose() == "packed"
        assert choose("none") == "xla"


def test_an_empty_batch_goes_where_it_can():
    x, params = tower(CASES["one row"])
    assert residual_tower(x[:0], params).shape == (0, 128)
    with (
        jax.sharding.use_abstract_mesh(GPU),
        pytest.raises(UnsupportedError, match=r"kernel='packed'.*\(0, 128\).*'xla'"),
    ):
        residual_tower(x[:0], params, Compute(kernel="packed"))


@pytest.mark.parametrize(
    "check, message",
    [
        (lambda: check_compute(Compute("packed", remat="none")), "'packed'.*remat='none'.*'dots'"),
        (lambda: check_precision("fp8", "gpu"), "precision='fp8'.*'bf16'"),
        (
            lambda: residual_tower(*tower(CASES["one row"]), Compute(precision="tf32")),
            "'tf32'.*NVIDIA GPU.*'bf16'",
        ),
        (lambda: check_remat("all"), "remat='all'.*'block'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(check, message):
    with pytest.raises(UserError, match=message) as caught:
        check()
    assert ". " not in str(caught.value)


def test_arrays_that_do_not_fit():
    x, params = tower(CASES["one row"])
    with pytest.raises(UserError, match=r"width 128.*\(1, 64\)"):
        residual_tower(x[:, :64], params)
    low = params._replace(weights=params.weights.astype(jnp.bfloat16))
    with pytest.raises(UserError, match="float32 or all in float64, not bfloat16 and float32"):
        residual_tower(x, low)
    with pytest.raises(UserError, match=r"vectors \[blocks.*\(2, 4, 3, 128\)"):
        residual_tower(x, params._replace(vectors=jnp.concatenate([params.vectors] * 2)))
    with pytest.raises(UserError, match=r"weights \[blocks, 4, width, width\].*\(1, 3, 128, 128\)"):
        residual_tower(x, params._replace(weights=params.weights[:, :3]))
    with pytest.raises(UnsupportedError, match=r"firsts=.*`kernel='packed'` at width 128 here"):
        residual_towers([x], [params], Compute("packed"), firsts=[jnp.ones((3, 128))])
    with jax.sharding.use_abstract_mesh(GPU):
        for first in (jnp.ones((2, 128)), jnp.ones((3, 128), jnp.bfloat16)):
            with pytest.raises(UserError, match=r"vectors \[3, 128\] of float32 here; one is \("):
                residual_towers([x], [params], Compute("triton"), firsts=[first])
