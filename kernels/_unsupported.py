"""What an implementation says about what it cannot do."""

import importlib
from types import ModuleType

import jax

from .._errors import UserError


class UnsupportedError(UserError, NotImplementedError):
    """An implementation was asked for what it cannot do."""


def import_pallas(module: str, call: str) -> ModuleType:
    """A module whose kernels are written in Pallas, which not every JAX has.

    **Raises:** `UnsupportedError` in the words of `call` where it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"{call} needs Pallas, and this JAX {jax.__version__} lacks it: {error}."
        ) from error
