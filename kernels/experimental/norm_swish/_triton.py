"""`triton`: forward and backward as one kernel each. The smallest example of a kernel of ours; XLA
itself fuses each into one kernel, so nothing is gained here."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton
from jaxtyping import Array, Float

from ..._norm_swish import norm_swish as reference, through_norm_swish
from ..._padding import padded_to


ROWS = 8
"""Per program."""


def _rows():
    return pl.ds(pl.program_id(0) * ROWS, ROWS)


def _forward_kernel(z_ref, scale_ref, offset_ref, h_ref):
    vectors = scale_ref[:][None, :], offset_ref[:][None, :]
    h_ref[_rows(), :] = reference(z_ref[_rows(), :], *vectors)


def _backward_kernel(z_ref, scale_ref, offset_ref, dh_ref, dz_ref, dscale_ref, doffset_ref):
    vectors = scale_ref[:][None, :], offset_ref[:][None, :]
    back = through_norm_swish(z_ref[_rows(), :], dh_ref[_rows(), :], *vectors)
    dz_ref[_rows(), :] = back.product
    dscale_ref[pl.program_id(0), :] = jnp.sum(back.normalised * back.unit, axis=0)
    doffset_ref[pl.program_id(0), :] = jnp.sum(back.normalised, axis=0)


def _call(kernel, name: str, arrays, outputs, interpret: bool):
    return pl.pallas_call(
        kernel,
        grid=(arrays[0].shape[0] // ROWS,),
        out_shape=outputs,
        compiler_params=pltriton.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name=name,
    )(*arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def norm_swish(
    z: Float[Array, "rows width"],
    scale: Float[Array, " width"],
    offset: Float[Array, " width"],
    interpret: bool = False,
) -> Float[Array, "rows width"]:
    padded = padded_to(z, ROWS)
    like = jax.ShapeDtypeStruct(padded.shape, z.dtype)
    arrays = padded, scale, offset
    return _call(_forward_kernel, "norm_swish_forward", arrays, like, interpret)[: len(z)]


def _forward(z, scale, offset, interpret):
    return norm_swish(z, scale, offset, interpret), (z, scale, offset)


def _backward(interpret, kept, dh):
    z, scale, offset = kept
    arrays = padded_to(z, ROWS), scale, offset, padded_to(dh, ROWS)
    programs, width = arrays[0].shape[0] // ROWS, z.shape[1]
    like = lambda *shape: jax.ShapeDtypeStruct(shape, z.dtype)
    outputs = like(programs * ROWS, width), like(programs, width), like(programs, width)
    dz, dscale, doffset = _call(_backward_kernel, "norm_swish_backward", arrays, outputs, interpret)
    return dz[: len(z)], jnp.sum(dscale, axis=0), jnp.sum(doffset, axis=0)


norm_swish.defvjp(_forward, _backward)
