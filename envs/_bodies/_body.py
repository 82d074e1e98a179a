"""What the robots' bodies have in common, and the tasks for those that walk."""

import abc
import dataclasses
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ..._types import Flag, State
from .._mj import MjModel
from .._mujoco import AbstractMujocoEnv
from .._physics import own_model, PhysicsState


class AbstractBody(eqx.Module):
    """A robot in a model that engines share. It is static: it has no leaves. Bodies of equal models
    are equal, and so are copies and pickles."""

    model: eqx.AbstractVar[MjModel]

    def __reduce__(self):
        rest = [getattr(self, field.name) for field in dataclasses.fields(self)][1:]
        return _restored, (type(self), self.model, rest)


def _restored(kind: Any, model: MjModel, rest: list[Any]) -> AbstractBody:
    return kind(own_model(model), *rest)


class AbstractWalkingBody(AbstractBody):
    """A body that walks and may fall."""

    @abc.abstractmethod
    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        """The numbers that its layout describes."""

    @abc.abstractmethod
    def position(self, state: State) -> Float[Array, "*batch 2"]:
        """The torso's x, y."""

    @abc.abstractmethod
    def fallen(self, state: State) -> Flag:
        """Whether the episode ends here."""


class AbstractWalk(AbstractMujocoEnv):
    """A task for a body that walks."""

    body: eqx.AbstractVar[AbstractWalkingBody]

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.body.observe(physics_state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.body.position(state)

    def fallen(self, state: State) -> Flag:
        return self.body.fallen(state)
