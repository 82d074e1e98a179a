"""The definition of a residual tower, in plain JAX."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Array, Float

from .._norm_swish import norm_swish
from .._precision import dot, Precision


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


class WithFirst(NamedTuple):
    """A tower, and the vectors of a first layer whose product it is given; None if it is given x
    itself."""

    tower: TowerParams
    first: Float[Array, "*nets 3 width"] | None = None


def rows(vectors: Float[Array, "... 3 width"], row: int) -> Float[Array, "... 1 width"]:
    """One of BIAS, SCALE and OFFSET, ready to be broadcast over a batch."""
    return vectors[..., row, None, :]


def after_first(
    product: Float[Array, "*nets batch width"], vectors: Float[Array, "*nets 3 width"] | None
) -> Float[Array, "*nets batch width"]:
    """What a first layer before a tower makes of its product; without one, that itself."""
    if vectors is None:
        return product
    biased = product + rows(vectors, BIAS)
    return norm_swish(biased, rows(vectors, SCALE), rows(vectors, OFFSET))


class Layer(NamedTuple):
    """What one layer of one block, or of all blocks, is made of."""

    weight: Float[Array, "*lead width width"]
    bias: Float[Array, "*lead 1 width"]
    scale: Float[Array, "*lead 1 width"]
    offset: Float[Array, "*lead 1 width"]


def layers(params: TowerParams) -> list[Layer]:
    """The four of each block."""
    each = range(LAYERS_PER_BLOCK)
    vectors = [params.vectors[..., i, :, :] for i in each]
    named = lambda v: (rows(v, BIAS), rows(v, SCALE), rows(v, OFFSET))
    return [Layer(params.weights[..., i, :, :], *named(vectors[i])) for i in each]


def block(
    x: Float[Array, "*nets batch width"], layers: Sequence[Layer], precision: Precision = "auto"
) -> Float[Array, "*nets batch width"]:
    """x + f₄(f₃(f₂(f₁(x)))), f = swish ∘ LayerNorm ∘ Dense."""
    h = x
    for layer in layers:
        h = norm_swish(dot(h, layer.weight, precision) + layer.bias, layer.scale, layer.offset)
    return x + h


def reference(
    x: Float[Array, "*nets batch width"], params: TowerParams, precision: Precision = "auto"
) -> Float[Array, "*nets batch width"]:
    """Block after block; what every implementation computes."""
    for weights, vectors in zip(*params, strict=True):
        x = block(x, layers(TowerParams(weights, vectors)), precision)
    return x
