"""The derivative of a tower, written once for every implementation that has its own passes.

The forward pass keeps z, the outputs of the Dense layers, and the input of each block; the backward
pass walks the layers once for the gradient with respect to x and keeps dh, the cotangents of the
layers' outputs. Everything else is elementwise in z and dh, so that the gradients of all weights
are one batched product after the walk. (`triton` keeps each layer's input and dz instead.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._norm_swish import through_norm_swish
from .._precision import einsum, Precision
from ._reference import BIAS, OFFSET, rows, SCALE, TowerParams


class Kept(NamedTuple):
    """What is kept after the forward pass."""

    inputs: Float[Array, "blocks nets batch width"]
    products: Float[Array, "blocks 4 nets batch width"] | None
    """z; None where the backward pass computes it again."""


class Passes(NamedTuple):
    """How a tower goes forward and backward.

    `forward(x, params)` gives y alone; `forward_keeping(x, params)` gives y and what is kept, such
    as `Kept`. `backward(dy, params, kept, wanted)` gives dx and, if `wanted`, the gradient of
    `params`. Those are `TowerParams`, or what else an implementation takes.
    """

    forward: Callable[[Any, Any], Any]
    forward_keeping: Callable[[Any, Any], tuple[Any, Any]]
    backward: Callable[[Any, Any, Any, bool], tuple[Any, Any | None]]


def parameter_gradient(
    params: TowerParams,
    inputs: Float[Array, "*lead nets batch width"],
    products: Float[Array, "*lead 4 nets batch width"],
    dh: Float[Array, "*lead 4 nets batch width"],
    precision: Precision,
) -> TowerParams:
    """Gradients of all parameters from what the two passes kept; `lead` is `blocks` or nothing."""
    vectors = jnp.moveaxis(params.vectors, -4, -3)  # [*lead, 4, nets, 3, width]
    back = through_norm_swish(products, dh, rows(vectors, SCALE), rows(vectors, OFFSET))
    first = inputs[..., None, :, :, :].astype(back.output.dtype)
    h = jnp.concatenate([first, back.output[..., :3, :, :, :]], axis=-4)
    dweights = einsum("...inbd,...inbe->...nide", h, back.product, precision)
    sums = {
        BIAS: back.product,
        SCALE: back.normalised * back.unit,
        OFFSET: back.normalised,
    }
    dvectors = jnp.stack([jnp.sum(sums[row], axis=-2) for row in (BIAS, SCALE, OFFSET)], axis=-2)
    dvectors = jnp.moveaxis(dvectors, -3, -4)
    return TowerParams(dweights.astype(params.weights.dtype), dvectors.astype(params.vectors.dtype))


@eqx.filter_custom_vjp
def with_passes(x_and_params, passes: Passes):
    """The tower; only the derivatives asked for are computed."""
    x, params = x_and_params
    return passes.forward(x, params)


@with_passes.def_fwd
def _forward(perturbed, x_and_params, passes: Passes):
    x, params = x_and_params
    return passes.forward_keeping(x, params)


@with_passes.def_bwd
def _backward(kept, dy, perturbed, x_and_params, passes: Passes):
    _, params = x_and_params
    wanted = any(jax.tree.leaves(perturbed[1]))
    dx, dparams = passes.backward(dy, params, kept, wanted)
    return dx, dparams if wanted else jax.tree.map(lambda _: None, params)
