"""`xla` and `checkpoint`: a scan over blocks, differentiated by JAX."""

import functools

from jaxtyping import Array, Float

from .._precision import Precision
from .._scan import Remat, scan_blocks
from ._reference import block, TowerParams


def scanned(
    x: Float[Array, "batch width"],
    params: TowerParams,
    *,
    precision: Precision,
    remat: Remat,
    unroll: int,
) -> Float[Array, "batch width"]:
    body = functools.partial(block, precision=precision)
    return scan_blocks(body, x, params, remat=remat, unroll=unroll)
