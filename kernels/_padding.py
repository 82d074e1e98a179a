"""Batches that are not a multiple of a kernel's tile."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def padded_to(x: Float[Array, "*nets batch width"], rows: int) -> Float[Array, "*nets more width"]:
    """The batch padded to a multiple of `rows` with zeros, which change no gradient."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, -x.shape[-2] % rows), (0, 0)])
