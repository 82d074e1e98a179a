from typing import get_args, Literal, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...._errors import UserError
from ..._norm_swish import norm_swish as reference
from ..._platform import platform
from ..._unsupported import import_pallas, UnsupportedError


NormSwish: TypeAlias = Literal["xla", "triton"]
WIDTHS = (128, 256, 512)
"""Of the Triton kernel."""


def norm_swish(
    z: Float[Array, "*batch width"],
    scale: Float[Array, " width"],
    offset: Float[Array, " width"],
    *,
    implementation: NormSwish | None = None,
) -> Float[Array, "*batch width"]:
    """swish(LayerNorm(z) · scale + offset).

    `implementation=None` is `"xla"` everywhere: XLA makes one kernel of it each way, as `"triton"`
    does by hand.

    **Raises:** `UserError` for an unknown implementation; its subclass `UnsupportedError` where
    `"triton"` has no GPU, a type other than float32, a width other than 128, 256 or 512, or an
    empty batch.
    """
    if implementation is not None and implementation not in get_args(NormSwish):
        raise UserError(
            f"`norm_swish(implementation={implementation!r})` must be None or one of "
            f"{get_args(NormSwish)}."
        )
    if implementation != "triton":
        widened = [v.reshape((1,) * (z.ndim - 1) + v.shape) for v in (scale, offset)]
        return reference(z, *widened)
    call = "`norm_swish(implementation='triton')`"
    if platform() != "gpu":
        raise UnsupportedError(f"{call} needs a GPU, and this is a {platform().upper()}.")
    if z.shape[-1] not in WIDTHS or z.size == 0:
        raise UnsupportedError(
            f"{call} takes rows of {WIDTHS} numbers, and at least one; this is {z.shape}."
        )
    if {z.dtype, scale.dtype, offset.dtype} != {jnp.dtype("float32")}:
        raise UnsupportedError(f"{call} takes float32, and was given {z.dtype}, {scale.dtype}.")
    triton = import_pallas(f"{__package__}._triton", call)
    return triton.norm_swish(z.reshape(-1, z.shape[-1]), scale, offset).reshape(z.shape)
