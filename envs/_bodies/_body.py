"""What the robots' bodies have in common."""

import dataclasses
from typing import Any

import equinox as eqx

from .._mj import MjModel
from .._physics import own_model


class AbstractBody(eqx.Module):
    """A robot in a model that engines share. Static: it has no leaves, and bodies of equal models
    are equal, as copies and pickles are."""

    model: eqx.AbstractVar[MjModel]

    def __reduce__(self):
        rest = [getattr(self, field.name) for field in dataclasses.fields(self)][1:]
        return _restored, (type(self), self.model, rest)


def _restored(kind: Any, model: MjModel, rest: list[Any]) -> AbstractBody:
    return kind(own_model(model), *rest)
