"""The definition of a residual tower, in plain JAX."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._precision import dot, Precision


LAYERS_PER_BLOCK = 4
EPSILON = 1e-6
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


def unit(z: Float[Array, "... width"]) -> tuple[Float[Array, "... width"], Float[Array, "... 1"]]:
    """z with zero mean and unit variance over the last axis, and 1 / what it was divided by."""
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    rstd = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + EPSILON)
    return centred * rstd, rstd


def norm_swish(
    z: Float[Array, "nets batch width"],
    scale: Float[Array, "nets width"],
    offset: Float[Array, "nets width"],
) -> Float[Array, "nets batch width"]:
    """swish(LayerNorm(z)) for every network."""
    return jax.nn.swish(unit(z)[0] * scale[:, None] + offset[:, None])


def block(
    x: Float[Array, "nets batch width"], params: TowerParams, precision: Precision = "auto"
) -> Float[Array, "nets batch width"]:
    """x + f₄(f₃(f₂(f₁(x)))), f = swish ∘ LayerNorm ∘ Dense; `params` of one block, with nets."""
    h = x
    for i in range(LAYERS_PER_BLOCK):
        vectors = params.vectors[:, i]
        z = dot(h, params.weights[:, i], precision) + vectors[:, BIAS, None]
        h = norm_swish(z, vectors[:, SCALE], vectors[:, OFFSET])
    return x + h


def reference(
    x: Float[Array, "nets batch width"], params: TowerParams, precision: Precision = "auto"
) -> Float[Array, "nets batch width"]:
    """Block after block; what every implementation computes."""
    for i in range(len(params.weights)):
        x = block(x, TowerParams(params.weights[i], params.vectors[i]), precision)
    return x
