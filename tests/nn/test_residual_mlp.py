"""Shapes, sizes, depth errors and gradients of whole networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from crl_eqx import UserError
from crl_eqx.kernels.residual_tower import _triton
from crl_eqx.kernels.residual_tower._api import _ENTRIES
from crl_eqx.nn import Actor, call_together, Compute, Encoder, LayerNorm, ResidualMLP
from crl_eqx.nn._layers import Layer


MULTIPLES = st.integers(1, 256).map(lambda blocks: 4 * blocks)
BATCHES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
SIZES = st.integers(1, 17)


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def size(module):
    return sum(leaf.size for leaf in jax.tree.leaves(module) if hasattr(leaf, "size"))


def parameters(in_size, out_size, depth, width):
    """Every Dense layer has its matrix and bias, every LayerNorm two vectors."""
    first = in_size * width + 3 * width
    hidden = depth * (width**2 + 3 * width)
    return first + hidden + width * out_size + out_size


@settings(deadline=None, max_examples=40, derandomize=True)
@given(MULTIPLES, SIZES, BATCHES, SIZES, SIZES, st.integers(1, 9))
def test_an_encoder_maps_any_batch_to_representations(
    depth, width, batch, state_size, action_size, repr_size
):
    key = jax.random.key(0)

    def run(state, action):
        encoder = Encoder(
            state_size + action_size, repr_size=repr_size, depth=depth, width=width, key=key
        )
        return encoder, encoder(state, action)

    encoder, out = eqx.filter_eval_shape(
        run, struct(*batch, state_size), struct(*batch, action_size)
    )
    assert out.shape == (*batch, repr_size) and out.dtype == jnp.float32
    assert encoder.network.depth == depth and encoder.network.width == width
    assert size(encoder) == parameters(state_size + action_size, repr_size, depth, width)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(MULTIPLES, SIZES, BATCHES, SIZES, SIZES, st.integers(1, 21))
def test_a_policy_gives_actions_for_any_batch(
    depth, width, batch, state_size, goal_size, action_size
):
    key = jax.random.key(0)

    def run(state, goal):
        sizes = state_size, goal_size, action_size
        distribution = Actor(*sizes, depth=depth, width=width, key=key)(state, goal)
        return distribution.mode(), *distribution.sample_and_log_prob(key=key)

    mode, action, log_prob = eqx.filter_eval_shape(
        run, struct(*batch, state_size), struct(*batch, goal_size)
    )
    assert mode.shape == action.shape == (*batch, action_size)
    assert log_prob.shape == batch


@pytest.mark.parametrize(("depth", "millions"), [(64, 4.3), (1024, 68)])
def test_the_paper_s_sizes_come_out(depth, millions):
    network = eqx.filter_eval_shape(
        lambda: ResidualMLP(29 + 8, 64, depth=depth, key=jax.random.key(0))
    )
    assert size(network) == parameters(37, 64, depth, 256)
    assert size(network) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("depth", "hint"),
    [(6, "Did you mean 4 or 8?"), (7, "4 or 8?"), (1023, "1020 or 1024?")]
    + [(depth, "Did you mean 4?") for depth in (3, 1, 0, -4)],
)
@pytest.mark.parametrize("make", [Encoder, Actor, ResidualMLP])
def test_depth_is_never_rounded(make, depth, hint):
    sizes = {Encoder: (3,), Actor: (3, 2, 1), ResidualMLP: (3, 2)}[make]
    with pytest.raises(UserError) as caught:
        make(*sizes, depth=depth, key=jax.random.key(0))
    assert f"`{make.__name__}(depth={depth})` must be a positive multiple of 4" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("option", ["residual", "layer_norm"])
def test_ablation_flags_change_what_the_network_computes(option, getkey):
    key, x = getkey(), jax.random.normal(getkey(), (3, 5))
    make = lambda **options: ResidualMLP(5, 2, depth=8, width=8, key=key, **options)
    assert not np.allclose(make()(x), make(**{option: False})(x))
    assert not np.allclose(make()(x), make(activation=jax.nn.relu)(x))


def test_layer_norm_is_everywhere_also_in_the_policy(getkey):
    network = Actor(3, 2, 1, depth=8, width=8, key=getkey()).network
    assert network.first.norm is not None and network.trunk.blocks.layer_norm
    assert network.trunk.blocks.vectors.shape == (2, 4, 3, 8)
    # What enters the head's block through the first layer does not depend on the input's scale.
    x = jax.random.normal(getkey(), (3, 5))
    np.testing.assert_allclose(network.first(x), network.first(1e3 * x), rtol=1e-3, atol=1e-3)


@eqx.filter_jit
def value_and_grad_of_deep(network, x):
    loss = lambda both: jnp.sum(jnp.square(both[0](both[1])))
    return eqx.filter_value_and_grad(loss)((network, x))


def deep(depth):
    return ResidualMLP(5, 3, depth=depth, width=8, key=jax.random.key(depth))


@pytest.mark.parametrize("depth", [4, 1024])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e6, 1e15])
def test_gradients_are_finite_at_any_depth_for_extreme_inputs(depth, scale):
    x = scale * jax.random.normal(jax.random.key(0), (4, 5))
    value, grads = value_and_grad_of_deep(deep(depth), x)
    assert jnp.isfinite(value)
    for leaf in jax.tree.leaves(eqx.filter(grads, eqx.is_array)):
        assert jnp.isfinite(leaf).all()


def test_gradients_reach_the_first_of_1024_layers():
    x = jax.random.normal(jax.random.key(0), (4, 5))
    _, (grads, _) = value_and_grad_of_deep(deep(1024), x)
    first = jnp.linalg.norm(grads.first.linear.weight)
    blocks = jnp.linalg.norm(grads.trunk.blocks.weights[:, -1], axis=(1, 2))
    assert first > 0 and (blocks > 0).all()
    assert blocks[0] > 1e-3 * blocks[-1]


def networks(compute, widths=(8, 8, 8)):
    sizes = [(5, 6), (7, 2), (2, 6)]
    keys = jax.random.split(jax.random.key(3), len(sizes))
    return [
        Encoder(i, repr_size=o, depth=4, width=w, compute=compute, key=k)
        for (i, o), w, k in zip(sizes, widths, keys, strict=True)
    ]


def products(function, *args):
    """How many matrix products a call makes, inside of scans, too."""
    return str(jax.make_jaxpr(function)(*args)).count("dot_general")


def alone_and_together(modules):
    """Values and gradients of `modules`, called one by one and by `call_together`."""
    xs = [(jax.random.normal(jax.random.key(i), (4, m.network.in_size)),) for i, m in
          enumerate(modules)]  # fmt: skip
    arrays, static = eqx.partition(modules, eqx.is_array)

    def together(arrays, xs):
        return call_together(eqx.combine(arrays, static), xs)

    def alone(arrays, xs):
        return [m(*x) for m, x in zip(eqx.combine(arrays, static), xs, strict=True)]

    loss = lambda call: lambda *args: sum(jnp.sum(jnp.sin(y)) for y in call(*args))
    results = [jax.jit(jax.value_and_grad(loss(f), (0, 1)))(arrays, xs) for f in (alone, together)]
    assert [y.shape for y in together(arrays, xs)] == [(4, 6), (4, 2), (4, 6)]
    return *results, products(together, arrays, xs)


@pytest.mark.parametrize("widths", [(8, 8, 8), (8, 4, 8)], ids=["alike", "another width"])
def test_networks_of_several_sizes_are_called_together_as_one_by_one(widths):
    """Where a kernel takes their blocks at once, first layers and heads are one product, too."""
    alone, together, made = alone_and_together(networks(Compute("packed"), widths))
    assert eqx.tree_equal(together, alone, rtol=2e-5, atol=2e-5)
    # A network's first layer, its scan's layers, and its head; blocks of two shapes are two scans.
    expected = 1 + 4 + 1 if widths == (8, 8, 8) else 3 + 2 * 4 + 1
    assert made == expected


@pytest.mark.parametrize("widths", [(128,) * 3, (128, 256, 128)], ids=["alike", "another width"])
def test_a_kernel_that_takes_first_layers_gives_what_the_layers_give(
    widths, optimized, monkeypatch
):
    """`triton`, here in the interpreter, takes_first with the product of a first layer."""
    plain, _, _ = alone_and_together(networks(Compute("xla"), widths))
    monkeypatch.setitem(_ENTRIES, "triton", _ENTRIES["triton"]._replace(needs=None))
    passes, given = _triton.passes, []

    def interpreted(precision):
        its = passes(precision, interpret=True)

        def forward_keeping(x, params):
            given.append(params.first)
            return its.forward_keeping(x, params)

        return its._replace(forward_keeping=forward_keeping)

    monkeypatch.setattr(_triton, "passes", interpreted)
    alone, together, _ = alone_and_together(networks(Compute("triton"), widths))
    assert given and not any(first is None for first in given)
    leaves = lambda tree: jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    for ours in (alone, together):
        for leaf, expected in zip(leaves(ours), leaves(plain), strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5)


def test_a_first_layer_that_a_kernel_does_not_know_has_no_vectors_for_it():
    key = jax.random.key(0)
    usual = Layer(5, 8, key=key)
    other = eqx.tree_at(lambda layer: layer.norm, usual, LayerNorm(8, epsilon=1e-3))
    foreign = eqx.tree_at(lambda layer: layer.linear, usual, eqx.nn.Linear(8, 8, key=key))
    assert foreign.tower_vectors is None
    assert usual.tower_vectors.shape == (3, 8)
    assert other.tower_vectors is None
    assert Layer(5, 8, activation="relu", key=key).tower_vectors is None
    assert Layer(5, 8, layer_norm=False, key=key).tower_vectors is None
