from typing import Literal

import jax

from ..._errors import UserError
from .._mj import MjModel
from ._base import AbstractPhysics
from ._native import NativePhysics


PHYSICS = ("native", "mjx")


def default_physics() -> Literal["native", "mjx"]:
    """`native` where JAX runs on a CPU, else `mjx`."""
    return "native" if jax.default_backend() == "cpu" else "mjx"


def select_physics(physics: str | None, model: MjModel, substeps: int) -> AbstractPhysics:
    """The engine of that name, or the default one.

    **Raises** `UserError` if there is no such engine.
    """
    physics = default_physics() if physics is None else physics
    if physics == "native":
        return NativePhysics(model, substeps)
    if physics == "mjx":
        from ._mjx import MjxPhysics  # takes seconds to import

        return MjxPhysics(model, substeps)
    raise UserError(f"`physics={physics!r}`: no such physics. Choose one of {', '.join(PHYSICS)}.")
