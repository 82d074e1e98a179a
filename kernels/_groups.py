"""What is alike, computed at once."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


T = TypeVar("T")


def by_group(keys: Sequence[Hashable], run: Callable[[list[int]], Iterable[T]]) -> list[T]:
    """`run` of the places with equal keys, all such at once; what it gives, in the given order."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    found: dict[int, T] = {}
    for places in groups.values():
        found |= zip(places, run(places), strict=True)
    return [found[place] for place in range(len(keys))]


@jax.custom_vjp
def apart(stack: Float[Array, "n *rest"]) -> list[Float[Array, "*rest"]]:
    """`list(stack)`. JAX's own derivative is a sum of arrays filled up with zeros, a launch; this
    one is a stack, which XLA leaves out where the cotangents come from one."""
    return list(stack)


apart.defvjp(lambda stack: (list(stack), None), lambda _, cotangents: (jnp.stack(cotangents),))
