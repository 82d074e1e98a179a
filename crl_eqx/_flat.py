"""Many small arrays as one, for what treats every number alike.

An optimiser moves each array in launches of its own, and a network has dozens of arrays of which
few are large: on a GPU most launches of an update were those.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree


LARGE = 2**17
"""Arrays of so many numbers stay as they are: copying them would cost more than a launch."""


class Elementwise(optax.GradientTransformationExtraArgs):
    """An optimiser that moves each number by its own gradients, and by no more of the others'
    than their norm over all arrays: Adam is one, LAMB is none."""

    @classmethod
    def of(cls, optimizer: optax.GradientTransformation) -> "Elementwise":
        """`optimizer`, of which the caller knows that."""
        return cls(*optax.with_extra_args_support(optimizer))


class Flat(NamedTuple):
    """The small arrays of a tree one after the other, and its large ones as they are."""

    small: Float[Array, " n"]
    large: tuple[Array, ...]


class Layout:
    """How the numbers of trees like `example` lie in their flat form."""

    def __init__(self, example: PyTree):
        leaves, self._structure = jax.tree.flatten(example)
        self._shapes = [leaf.shape for leaf in leaves]
        self._small = [leaf.size < LARGE for leaf in leaves]
        self._kinds = {leaf.dtype for leaf in leaves if leaf.size < LARGE}

    @property
    def gains(self) -> bool:
        """Whether there is more than one array to join, all of one kind."""
        return sum(self._small) > 1 and len(self._kinds) == 1

    def flat(self, tree: PyTree) -> Flat:
        of_size = list(zip(jax.tree.leaves(tree), self._small, strict=True))
        rows = [leaf.reshape(-1) for leaf, small in of_size if small]
        return Flat(jnp.concatenate(rows), tuple(leaf for leaf, small in of_size if not small))

    def tree(self, flat: Flat) -> PyTree:
        large, start, leaves = iter(flat.large), 0, []
        for shape, small in zip(self._shapes, self._small, strict=True):
            if not small:
                leaves.append(next(large))
                continue
            end = start + math.prod(shape)
            leaves.append(flat.small[start:end].reshape(shape))
            start = end
        return jax.tree.unflatten(self._structure, leaves)

    def flat_within(self, state: PyTree) -> PyTree:
        """`state`, in which every tree of this structure is made flat."""
        return jax.tree.map(
            lambda part: self.flat(part) if self._is_tree(part) else part,
            state,
            is_leaf=self._is_tree,
        )

    def trees_within(self, state: PyTree) -> PyTree:
        """What `flat_within` was made of."""
        is_flat = lambda part: isinstance(part, Flat)
        back = lambda part: self.tree(part) if is_flat(part) else part
        return jax.tree.map(back, state, is_leaf=is_flat)

    def _is_tree(self, part: Any) -> bool:
        return jax.tree.structure(part) == self._structure
