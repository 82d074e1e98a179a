"""The definition of a residual tower, in plain JAX."""

from typing import NamedTuple

from jaxtyping import Array, Float

from .._precision import dot, Precision
from ..norm_swish import norm_swish


LAYERS_PER_BLOCK = 4
BIAS, SCALE, OFFSET = 0, 1, 2
"""Rows of `TowerParams.vectors`."""


class TowerParams(NamedTuple):
    """Two arrays hold a whole tower, so that an optimiser has two things to update.

    With a `nets` axis they hold several towers of one shape, which then run together.
    """

    weights: Float[Array, "blocks *nets layers width width"]
    """Each `[in, out]`."""
    vectors: Float[Array, "blocks *nets layers 3 width"]
    """Bias, and LayerNorm's scale and offset."""


def rows(vectors: Float[Array, "... 3 width"], row: int) -> Float[Array, "... 1 width"]:
    """One of BIAS, SCALE and OFFSET, ready to be broadcast over a batch."""
    return vectors[..., row, None, :]


def block(
    x: Float[Array, "*nets batch width"], params: TowerParams, precision: Precision = "auto"
) -> Float[Array, "*nets batch width"]:
    """x + f₄(f₃(f₂(f₁(x)))), f = swish ∘ LayerNorm ∘ Dense; `params` of one block."""
    h = x
    for i in range(LAYERS_PER_BLOCK):
        vectors = params.vectors[..., i, :, :]
        z = dot(h, params.weights[..., i, :, :], precision) + rows(vectors, BIAS)
        h = norm_swish(z, rows(vectors, SCALE), rows(vectors, OFFSET))
    return x + h


def reference(
    x: Float[Array, "*nets batch width"], params: TowerParams, precision: Precision = "auto"
) -> Float[Array, "*nets batch width"]:
    """Block after block; what every implementation computes."""
    for weights, vectors in zip(*params, strict=True):
        x = block(x, TowerParams(weights, vectors), precision)
    return x
