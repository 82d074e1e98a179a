"""The diagonal of a matrix by masks, which XLA fuses with what is around them: a gather or a
scatter is a launch of its own, and its derivative three."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def eye(matrix: Float[Array, "n m"]) -> Bool[Array, "n m"]:
    """Where `matrix` has its diagonal."""
    return jnp.eye(*matrix.shape, dtype=bool)


def diagonal(matrix: Float[Array, "n m"]) -> Float[Array, " k"]:
    """`jnp.diagonal(matrix)`."""
    return jnp.sum(jnp.where(eye(matrix), matrix, 0), axis=1)[: matrix.shape[1]]


def with_diagonal(matrix: Float[Array, "n m"], new: Float[Array, " k"]) -> Float[Array, "n m"]:
    """`matrix`, whose diagonal is `new`."""
    rows = jnp.pad(new, (0, matrix.shape[0] - new.shape[0]))
    return jnp.where(eye(matrix), rows[:, None], matrix)
