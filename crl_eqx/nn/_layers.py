"""The two layers everything is built of, initialised as the paper does."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import require_count, require_key
from .._types import PRNGKey
from ..kernels._norm_swish import EPSILON, unit
from ._activations import activate, Activation, as_stored


class Product(eqx.Module):
    """x ↦ x W."""

    weight: Float[Array, "in out"]

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        return x @ self.weight


class Linear(eqx.Module):
    """x ↦ x W + b on `[*batch, in]`, W uniform in ±1/√in, b zero.

    Acts on whole batches, so that a kernel sees them; W is stored `[in, out]`.
    """

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    def __init__(self, in_size: int, out_size: int, *, key: PRNGKey):
        for name, size in dict(in_size=in_size, out_size=out_size).items():
            require_count(size, f"Linear({name}={size!r})")
        require_key(key, "Linear(..., key=...)")
        bound = in_size**-0.5
        self.weight = jax.random.uniform(key, (in_size, out_size), minval=-bound, maxval=bound)
        self.bias = jnp.zeros(out_size)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        y = x @ self.weight
        return y + jnp.broadcast_to(self.bias, y.shape)


def layer_norm(
    x: Float[Array, "*batch width"],
    scale: Float[Array, " width"],
    offset: Float[Array, " width"],
    *,
    epsilon: float = EPSILON,
) -> Float[Array, "*batch width"]:
    """What [`crl_eqx.nn.LayerNorm`][] computes."""
    return unit(x, epsilon)[0] * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(
        offset, x.shape
    )


class LayerNorm(eqx.Module):
    """Zero mean, unit variance over the last axis, then a learned scale and offset (ε = 1e-6).

    ??? cite
        [Layer Normalization](https://arxiv.org/abs/1607.06450)
    """

    scale: Float[Array, " width"]
    offset: Float[Array, " width"]
    epsilon: float = eqx.field(static=True)

    def __init__(self, width: int, *, epsilon: float = EPSILON):
        self.scale = jnp.ones(width)
        self.offset = jnp.zeros(width)
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return layer_norm(x, self.scale, self.offset, epsilon=self.epsilon)


class Layer(eqx.Module):
    """f(x) = activation(LayerNorm(Linear(x))), the paper's one hidden layer.

    `layer_norm=False` leaves the normalisation out: an ablation, not a choice. `activation` is a
    name of `crl_eqx.nn.ACTIVATIONS`, or any function of an array.
    """

    linear: Linear
    norm: LayerNorm | None
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        layer_norm: bool = True,
        activation: Activation = "swish",
        key: PRNGKey,
    ):
        self.linear = Linear(in_size, out_size, key=key)
        self.norm = LayerNorm(out_size) if layer_norm else None
        self.activation = as_stored(activation)

    @property
    def tower_vectors(self) -> Float[Array, "3 width"] | None:
        """What `crl_eqx.kernels.residual_towers(firsts=...)` takes of this layer beside its
        product: bias, scale and offset. None where a part of it is of another kind."""
        linear, norm = self.linear, self.norm
        if type(linear) is not Linear or type(norm) is not LayerNorm:
            return None
        if self.activation != "swish" or norm.epsilon != EPSILON:
            return None
        return jnp.stack([linear.bias, norm.scale, norm.offset])

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        z = self.linear(x)
        return activate(self.activation, z if self.norm is None else self.norm(z))
