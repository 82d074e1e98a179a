"""Named sizes of a tower, shared by tests and benches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._compute import AUTO, Compute
from ._api import residual_towers
from ._reference import LAYERS_PER_BLOCK, TowerParams, WithFirst


class Case(NamedTuple):
    depth: int
    """Dense layers, a multiple of 4."""
    width: int
    batch: int
    nets: int = 1


CASES = {
    "one row": Case(4, 128, 1),
    "not a multiple of the tile": Case(8, 128, 21),
    "three networks": Case(8, 128, 16, nets=3),
    "usual": Case(64, 256, 256, nets=3),
    "deepest": Case(1024, 256, 512, nets=3),
}


def draw(
    case: Case, *, key: Array, dtype: jnp.dtype | type = jnp.float32
) -> tuple[Float[Array, "nets batch width"], TowerParams]:
    """Inputs and parameters as at the start of training, with vectors that are not 0 and 1."""
    blocks = case.depth // LAYERS_PER_BLOCK
    lead = (blocks, case.nets, LAYERS_PER_BLOCK)
    x_key, weights_key, vectors_key = jax.random.split(key, 3)
    bound = case.width**-0.5
    uniform = jax.random.uniform(weights_key, (*lead, case.width, case.width), dtype)
    noise = 0.1 * jax.random.normal(vectors_key, (*lead, 3, case.width), dtype)
    vectors = noise + jnp.asarray([[0], [1], [0]], dtype)[(None,) * 3]
    x = jax.random.normal(x_key, (case.nets, case.batch, case.width), dtype)
    return x, TowerParams(bound * (2 * uniform - 1), vectors)


def draw_with_first(
    case: Case, *, key: Array, first: bool = True
) -> tuple[Float[Array, "nets batch width"], WithFirst]:
    """What `draw` gives, and if `first` the vectors of a layer before each tower."""
    x, tower = draw(case, key=key)
    if not first:
        return x, WithFirst(tower)
    noise = 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (case.nets, 3, case.width))
    return x, WithFirst(tower, noise + jnp.asarray([[[0.0], [1.0], [0.0]]]))


def run_stacked(
    x: Float[Array, "nets batch width"], params: TowerParams, compute: Compute = AUTO
) -> Float[Array, "nets batch width"]:
    """`residual_towers` of what `draw` gives."""
    each = [TowerParams(params.weights[:, n], params.vectors[:, n]) for n in range(len(x))]
    return jnp.stack(residual_towers(list(x), each, compute))
