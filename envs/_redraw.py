"""Draws by rejection."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import Array, Bool, PyTree

from .._types import PRNGKey


T = TypeVar("T", bound=PyTree[Array])


def redraw(key: PRNGKey, draw: Callable[[PRNGKey], T], accept: Callable[[T], Bool[Array, ""]]) -> T:
    """Draws again until a draw is accepted, and so draws from the distribution of accepted ones."""

    def again(carry: tuple[PRNGKey, T]) -> tuple[PRNGKey, T]:
        key, this_key = jax.random.split(carry[0])
        return key, draw(this_key)

    first_key, key = jax.random.split(key)
    rejected = lambda carry: ~accept(carry[1])
    return jax.lax.while_loop(rejected, again, (key, draw(first_key)))[1]
