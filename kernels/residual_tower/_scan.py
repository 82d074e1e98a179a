"""`xla` and `checkpoint`: a scan over blocks, differentiated by JAX."""

from jaxtyping import Array, Float

from .._precision import Precision
from .._scan import Remat, scan_blocks
from ._reference import block, Layer, layers, TowerParams


def scanned(
    x: Float[Array, "batch width"],
    params: TowerParams,
    *,
    precision: Precision,
    remat: Remat,
    unroll: int,
) -> Float[Array, "batch width"]:
    # Vectors are taken apart before the loop: inside, XLA's CPU backend would compute where each
    # number of a packed array lies again and again, which makes the whole loop half as slow again.
    # The weights stay together, as taking them apart would copy them.
    vectors = [layer[1:] for layer in layers(params)]

    def body(x, here):
        weights, vectors = here
        return block(x, [Layer(weights[i], *v) for i, v in enumerate(vectors)], precision)

    return scan_blocks(body, x, (params.weights, vectors), remat=remat, unroll=unroll)
