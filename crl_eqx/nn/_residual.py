import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import require_count, require_key
from .._types import PRNGKey
from ..kernels import TowerParams
from ..kernels.residual_tower._reference import LAYERS_PER_BLOCK
from ._activations import activate, Activation, as_stored
from ._layers import layer_norm as normalised, Linear


class ResidualBlock(eqx.Module):
    r"""$x + f_4(f_3(f_2(f_1(x))))$ with $f_i = \mathrm{swish}\circ\mathrm{LN}\circ\mathrm{Linear}$.

    Its parameters are two arrays, whatever the number of blocks that are stacked: an optimiser of
    a deep network then has two things to update instead of thousands.

    `residual=False` leaves the skip connection out, `layer_norm=False` the normalisation, and
    `activation` may be changed: ablations.

    ??? cite
        [1000 Layer Networks for Self-Supervised RL](https://arxiv.org/abs/2503.14858)
    """

    weights: Float[Array, "*stack 4 width width"]
    """Of the four layers, each `[in, out]`."""
    vectors: Float[Array, "*stack 4 rows width"]
    """Biases, and with LayerNorm its scales and offsets."""
    residual: bool = eqx.field(static=True)
    layer_norm: bool = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        *,
        residual: bool = True,
        layer_norm: bool = True,
        activation: Activation = "swish",
        key: PRNGKey,
    ):
        require_count(width, f"ResidualBlock(width={width!r})")
        require_key(key, "ResidualBlock(..., key=...)")
        keys = jax.random.split(key, LAYERS_PER_BLOCK)
        self.weights = jnp.stack([Linear(width, width, key=key).weight for key in keys])
        zeros, ones = jnp.zeros(width), jnp.ones(width)
        rows = jnp.stack([zeros, ones, zeros] if layer_norm else [zeros])
        self.vectors = jnp.stack([rows] * LAYERS_PER_BLOCK)
        self.residual = residual
        self.layer_norm = layer_norm
        self.activation = as_stored(activation)

    @property
    def tower_params(self) -> TowerParams | None:
        """What `crl_eqx.kernels.residual_tower` takes, or None for an ablation or a class of one's
        own: there is no kernel for those."""
        if type(self) is not ResidualBlock:
            return None
        if self.residual and self.layer_norm and self.activation == "swish":
            return TowerParams(self.weights, self.vectors)
        return None

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        h = x
        for weight, (bias, *norm) in zip(self.weights, self.vectors, strict=True):
            z = h @ weight
            z = z + jnp.broadcast_to(bias, z.shape)
            h = activate(self.activation, normalised(z, *norm) if norm else z)
        return x + h if self.residual else h
