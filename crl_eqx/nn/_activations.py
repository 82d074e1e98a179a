"""Activations by name.

A network stores the name: a copy, a pickle or a saved network then has the very same activation,
and is the same network to the audit and to the compiler.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
from jaxtyping import Array

from .._errors import UserError


Activation: TypeAlias = str | Callable[[Array], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "swish": jax.nn.swish,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jax.nn.tanh,
}
_ALIASES = {"silu": "swish"}


def as_stored(activation: Activation) -> Activation:
    """The name of one of `ACTIVATIONS`, given as its name or itself; any other function as it is.

    **Raises:** `UserError` for any other name, and for what is no function.
    """
    if isinstance(activation, str):
        name = _ALIASES.get(activation, activation)
        if name in ACTIVATIONS:
            return name
    if not callable(activation):
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"`activation={activation!r}`: there are {known}, and any function.")
    return next((name for name, known in ACTIVATIONS.items() if known is activation), activation)


def activate(activation: Activation, x: Array) -> Array:
    """Applies what `as_stored` gave."""
    return (ACTIVATIONS[activation] if isinstance(activation, str) else activation)(x)
