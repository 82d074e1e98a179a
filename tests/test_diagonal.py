"""Masks instead of gathers: the same numbers and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx._diagonal import diagonal, with_diagonal


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 1)])
def test_the_diagonal_is_taken_and_put_as_by_index(shape):
    matrix = jax.random.normal(jax.random.key(0), shape)
    new = jax.random.normal(jax.random.key(1), (min(shape),))
    i = jnp.arange(min(shape))
    by_index = lambda matrix, new: jnp.sin(matrix.at[i, i].set(new)).sum()
    masked = lambda matrix, new: jnp.sin(with_diagonal(matrix, new)).sum()
    for ours, theirs in (
        (diagonal(matrix), jnp.diagonal(matrix)),
        (with_diagonal(matrix, new), matrix.at[i, i].set(new)),
        *zip(*(jax.grad(f, (0, 1))(matrix, new) for f in (masked, by_index)), strict=True),
        (
            jax.grad(lambda m: jnp.sin(diagonal(m)).sum())(matrix),
            jax.grad(lambda m: jnp.sin(jnp.diagonal(m)).sum())(matrix),
        ),
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_not_on_the_diagonal_may_be_infinite():
    matrix = jnp.array([[1.0, jnp.inf], [-jnp.inf, 2.0]])
    assert diagonal(matrix).tolist() == [1.0, 2.0]
