import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


class Normalizer(eqx.Module):
    """Running mean and variance of every number of an input (Chan's parallel update).

    The paper does not normalise; see `docs/algorithm.md` for what it does to the curves.
    """

    count: Scalar
    mean: Float[Array, " size"]
    sum_of_squares: Float[Array, " size"]

    def __init__(self, size: int):
        self.count = jnp.zeros(())
        self.mean = jnp.zeros(size)
        self.sum_of_squares = jnp.zeros(size)

    def __call__(self, x: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
        """(x - mean) / std, clipped to ±10; the identity before the first `update`."""
        variance = self.sum_of_squares / jnp.maximum(self.count, 1.0)
        std = jnp.where(self.count > 0, jnp.sqrt(variance + 1e-6), 1.0)
        spread = lambda row: jnp.broadcast_to(row, x.shape)
        normalized = jnp.clip((x - spread(self.mean)) / spread(std), -10, 10)
        return jnp.where(self.count > 0, normalized, x)

    def update(self, x: Float[Array, "*batch size"]) -> "Normalizer":
        """Takes in a batch."""
        rows = x.reshape(-1, x.shape[-1])
        size = float(rows.shape[0])
        mean = jnp.mean(rows, axis=0)
        squares = jnp.sum(jnp.square(rows - mean[None, :]), axis=0)
        count = self.count + size
        delta = mean - self.mean
        between = jnp.square(delta) * self.count * size / count
        new = count, self.mean + delta * size / count, self.sum_of_squares + squares + between
        return eqx.tree_at(
            lambda n: (n.count, n.mean, n.sum_of_squares), self, jax.lax.stop_gradient(new)
        )
