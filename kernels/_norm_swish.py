"""The definition of swish ∘ LayerNorm and of its derivative, in plain JAX."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._precision import widened


EPSILON = 1e-6


def unit(
    z: Float[Array, "... width"], epsilon: float = EPSILON
) -> tuple[Float[Array, "... width"], Float[Array, "... 1"]]:
    """z with zero mean and unit variance over the last axis, and 1 / its divisor."""
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    rstd = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    return centred * rstd, rstd


def norm_swish(
    z: Float[Array, "... width"], scale: Float[Array, "..."], offset: Float[Array, "..."]
) -> Float[Array, "... width"]:
    """swish(LayerNorm(z)); scale and offset broadcast."""
    return jax.nn.swish(unit(z)[0] * scale + offset)


class Gradient(NamedTuple):
    """dL/dn and dL/dz, where h = swish(n), n = LayerNorm(z)."""

    normalised: Float[Array, "... width"]
    product: Float[Array, "... width"]
    unit: Float[Array, "... width"]
    output: Float[Array, "... width"]
    """h."""


def through_norm_swish(
    z: Float[Array, "... width"],
    dh: Float[Array, "... width"],
    scale: Float[Array, "..."],
    offset: Float[Array, "..."],
) -> Gradient:
    """Back through swish and LayerNorm, from z and h's cotangent; scale and offset broadcast."""
    z, dh = widened(z), widened(dh)
    unit_, rstd = unit(z)
    n = unit_ * scale + offset
    gate = jax.nn.sigmoid(n)
    dn = dh * gate * (1 + n * (1 - gate))
    dunit = dn * scale
    mean = lambda x: jnp.mean(x, axis=-1, keepdims=True)
    dz = rstd * (dunit - mean(dunit) - unit_ * mean(dunit * unit_))
    return Gradient(dn, dz, unit_, n * gate)
