from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._types import PRNGKey
from ._layers import Layer


LAYERS_PER_BLOCK = 4


class ResidualBlock(eqx.Module):
    r"""$x + f_4(f_3(f_2(f_1(x))))$ with $f_i = \mathrm{swish}\circ\mathrm{LN}\circ\mathrm{Linear}$.

    `residual=False` leaves the skip connection out: an ablation.

    ??? cite
        [1000 Layer Networks for Self-Supervised RL](https://arxiv.org/abs/2503.14858)
    """

    layers: tuple[Layer, ...]
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        *,
        residual: bool = True,
        layer_norm: bool = True,
        activation: Callable[[Array], Array] = jax.nn.swish,
        key: PRNGKey,
    ):
        self.layers = tuple(
            Layer(width, width, layer_norm=layer_norm, activation=activation, key=k)
            for k in jax.random.split(key, LAYERS_PER_BLOCK)
        )
        self.residual = residual

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        h = x
        for layer in self.layers:
            h = layer(h)
        return x + h if self.residual else h
