import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx

from .._agent import Agent
from .._replay import Batch
from .._types import Count, Goal, PRNGKey, Scalar, State


AchievedGoal: TypeAlias = Callable[[State], Goal]
Metrics: TypeAlias = dict[str, Scalar | Count]


class AbstractObjective(eqx.Module):
    """One scalar whose gradient trains everything in an agent.

    Its terms are built so that each touches the parameters of its own network only; one backward
    pass then gives every gradient at the same, old, parameters.
    """

    @abc.abstractmethod
    def __call__(
        self, agent: Agent, batch: Batch, achieved_goal: AchievedGoal, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        """The scalar to differentiate with respect to `agent`, and what to report."""
