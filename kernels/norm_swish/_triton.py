"""`triton`: forward and backward as one kernel each. The smallest example of a kernel of ours; XLA
fuses the same into one kernel each by itself, so that nothing is to be gained here."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton
from jaxtyping import Array, Float

from ._reference import EPSILON


ROWS = 8
"""Per program."""


def _unit(z, width: int):
    centred = z - jnp.sum(z, axis=1, keepdims=True) * (1 / width)
    variance = jnp.sum(centred * centred, axis=1, keepdims=True) * (1 / width)
    rstd = jax.lax.rsqrt(variance + EPSILON)
    return centred * rstd, rstd


def _rows():
    return pl.ds(pl.program_id(0) * ROWS, ROWS)


def _forward_kernel(z_ref, scale_ref, offset_ref, h_ref):
    unit, _ = _unit(z_ref[_rows(), :], z_ref.shape[1])
    n = unit * scale_ref[:][None, :] + offset_ref[:][None, :]
    h_ref[_rows(), :] = n * jax.nn.sigmoid(n)


def _backward_kernel(z_ref, scale_ref, offset_ref, dh_ref, dz_ref, dscale_ref, doffset_ref):
    width = z_ref.shape[1]
    mean = lambda x: jnp.sum(x, axis=1, keepdims=True) * (1 / width)
    unit, rstd = _unit(z_ref[_rows(), :], width)
    scale = scale_ref[:][None, :]
    n = unit * scale + offset_ref[:][None, :]
    gate = jax.nn.sigmoid(n)
    dn = dh_ref[_rows(), :] * gate * (1 + n * (1 - gate))
    dunit = dn * scale
    dz_ref[_rows(), :] = rstd * (dunit - mean(dunit) - unit * mean(dunit * unit))
    dscale_ref[pl.program_id(0), :] = jnp.sum(dn * unit, axis=0)
    doffset_ref[pl.program_id(0), :] = jnp.sum(dn, axis=0)


def _call(kernel, name: str, arrays, outputs, interpret: bool):
    return pl.pallas_call(
        kernel,
        grid=(arrays[0].shape[0] // ROWS,),
        out_shape=outputs,
        compiler_params=pltriton.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name=name,
    )(*arrays)


def _padded(x):
    """Filled up with rows of zeros, whose cotangents are zero."""
    return jnp.pad(x, ((0, -x.shape[0] % ROWS), (0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def norm_swish(
    z: Float[Array, "rows width"],
    scale: Float[Array, " width"],
    offset: Float[Array, " width"],
    interpret: bool = False,
) -> Float[Array, "rows width"]:
    padded = _padded(z)
    like = jax.ShapeDtypeStruct(padded.shape, z.dtype)
    arrays = padded, scale, offset
    return _call(_forward_kernel, "norm_swish_forward", arrays, like, interpret)[: len(z)]


def _forward(z, scale, offset, interpret):
    return norm_swish(z, scale, offset, interpret), (z, scale, offset)


def _backward(interpret, kept, dh):
    z, scale, offset = kept
    arrays = _padded(z), scale, offset, _padded(dh)
    programs, width = arrays[0].shape[0] // ROWS, z.shape[1]
    like = lambda *shape: jax.ShapeDtypeStruct(shape, z.dtype)
    outputs = like(programs * ROWS, width), like(programs, width), like(programs, width)
    dz, dscale, doffset = _call(_backward_kernel, "norm_swish_backward", arrays, outputs, interpret)
    return dz[: len(z)], jnp.sum(dscale, axis=0), jnp.sum(doffset, axis=0)


norm_swish.defvjp(_forward, _backward)
