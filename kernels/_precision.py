"""What a matrix product rounds its operands to."""

from typing import get_args, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from .._checks import require_one_of
from .._errors import UserError
from ._platform import AMPERE, capability, on_amd


Precision: TypeAlias = Literal["auto", "f32", "tf32", "bf16"]
"""In the residual blocks; other layers take the hardware's usual. `"auto"`: the same there (TF32
on recent NVIDIA GPUs, float32 on CPUs); `"f32"`: float32 on all hardware; `"tf32"`: 10 bits of
mantissa, NVIDIA GPUs only; `"bf16"`: 7 bits. Sums, LayerNorm and the residual stream are in float32
throughout."""

PRODUCT = "product"
"""The name of a product of `dot` that `jax.checkpoint` cannot see."""

_LAX = {"auto": None, "f32": jax.lax.Precision.HIGHEST, "tf32": "TF32_TF32_F32"}


def check_precision(precision: str, platform: str) -> None:
    """**Raises:** `UserError` for an unknown one, or one that `platform` does not support."""
    require_one_of(precision, get_args(Precision), f"precision={precision!r}")
    too_old = (capability() or AMPERE) < AMPERE
    if precision == "tf32" and (platform != "gpu" or on_amd() or too_old):
        raise UserError(
            "`precision='tf32'` needs an NVIDIA GPU of compute capability 8.0 or newer; here "
            "'auto', 'f32' or 'bf16' will do."
        )


def rounded(x: Float[Array, "..."], precision: Precision) -> Float[Array, "..."]:
    """As an operand is kept between the forward and the backward pass."""
    return x.astype(jnp.bfloat16) if precision == "bf16" else x


def widened(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """float32, or float64 where it is."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def einsum(
    subscripts: str, a: Float[Array, "..."], b: Float[Array, "..."], precision: Precision
) -> Float[Array, "..."]:
    """`jnp.einsum` of two operands, rounded as `precision` says, summed in float32 (or float64)."""
    wide = widened(a), widened(b)
    out = wide[0].dtype
    if precision == "bf16":
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
        return jnp.einsum(subscripts, a, b, preferred_element_type=out)
    return jnp.einsum(subscripts, *wide, precision=_LAX[precision], preferred_element_type=out)


@jax.custom_vjp
def _bf16_dot(x, w):
    return einsum("...bi,...io->...bo", x, w, "bf16")


def _bf16_dot_bwd(operands, dz):
    # Of itself JAX would keep the cotangent in float32 and multiply it with a promoted operand.
    x, w = operands
    dx = einsum("...bo,...io->...bi", dz, w, "bf16")
    dw = einsum("...bi,...bo->...io", x, dz, "bf16")
    return dx.astype(x.dtype), dw.astype(w.dtype)


_bf16_dot.defvjp(lambda x, w: (_bf16_dot(x, w), (x, w)), _bf16_dot_bwd)


def dot(
    x: Float[Array, "*nets batch in"], w: Float[Array, "*nets in out"], precision: Precision
) -> Float[Array, "*nets batch out"]:
    """x w for every network; differentiable, with both products of the gradient rounded alike."""
    if precision == "bf16":
        return checkpoint_name(_bf16_dot(x, w), PRODUCT)
    return einsum("...bi,...io->...bo", x, w, precision)
