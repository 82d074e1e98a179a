"""What one step leaves behind, and what a batch of training data holds."""

import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

from .._types import Action, Goal, PRNGKey, State


class Transition(eqx.Module):
    """What one environment step leaves behind: the moment *before* `action` acted.

    `episode` numbers the episodes of one environment 0, 1, 2, … without gaps. `terminated` says
    that the environment ended the episode in this very step (a fall, not a time limit);
    [`crl_eqx.TrajectoryBuffer`][] needs it under `absorbing`, and so does a Bellman backup.

    `next_state` is the state that `action` led to, even where the episode ended there. Only
    objectives that look one step ahead ask for it: it doubles what a replay holds.
    """

    state: State
    action: Action
    goal: Goal
    episode: Int[Array, "*batch"]
    terminated: Bool[Array, "*batch"] | None = None
    next_state: State | None = None


AchievedGoal: TypeAlias = Callable[[State], Float[Array, "*batch achieved"]]
"""The part of a state that is a goal."""


def whole_state(state: State) -> State:
    """The `AchievedGoal` where states are goals as they are."""
    return state


class Batch(eqx.Module):
    """Training data: steps, and for each a goal that its own future achieved."""

    state: State
    action: Action
    goal: Goal
    """The goal that was commanded, not the relabelled one."""
    future_goal: Float[Array, "*batch achieved"]
    """What a state of the step's own future achieved."""
    next_state: State | None = None
    """Where `action` led; None unless it is stored."""
    terminated: Bool[Array, "*batch"] | None = None
    """Whether the environment ended the episode there, so that nothing follows `next_state`. The
    time limit is no such end."""


class AbstractData(eqx.Module):
    """What batches are drawn from. It knows what a goal is, and how far ahead goals lie."""

    @abc.abstractmethod
    def sample(self, shape: tuple[int, ...], *, key: PRNGKey) -> Batch:
        """`shape` steps, uniform over those that have a future, each with a goal that a state of
        its own future achieves."""

    def require_samples(self, call: str) -> None:
        """**Raises:** `UserError`, which names `call`, if there is no such step, as far as can be
        told: not within a transformation. By default there is one."""
        del call
