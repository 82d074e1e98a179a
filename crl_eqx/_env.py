"""What a goal-reaching environment is, as far as the algorithm can see."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._types import Action, Flag, Goal, PRNGKey, State


def _no() -> Bool[Array, ""]:
    return jnp.zeros((), bool)


class EnvState(eqx.Module):
    """One moment of one environment. `physics` is private to the environment.

    Time limits are not in here: the rollout counts steps, so that a custom environment need
    not.
    """

    physics: PyTree[Any]
    state: State
    goal: Goal
    terminated: Flag = eqx.field(default_factory=_no)
    """The environment itself ended the episode (the robot fell, or its physics failed)."""
    failed: Flag = eqx.field(default_factory=_no)
    """The physics became non-finite; `physics` and `state` are the last finite ones."""


class AbstractGoalEnv(eqx.Module):
    """An environment whose task is to bring `achieved_goal(state)` to the commanded goal.

    Written for one environment, on arrays without batch axes, and vmapped by its users. A
    custom class gives the four sizes and the four methods.
    """

    state_size: eqx.AbstractVar[int]
    action_size: eqx.AbstractVar[int]
    goal_size: eqx.AbstractVar[int]
    episode_length: eqx.AbstractVar[int]
    """Control steps after which an episode ends."""

    @property
    def resumable(self) -> bool:
        """Whether an `EnvState` is all that an episode needs to go on, in another process too."""
        return True

    @abc.abstractmethod
    def reset(self, *, key: PRNGKey) -> EnvState:
        """A fresh start with a freshly commanded goal."""

    def renew(self, env_state: EnvState, done: Bool[Array, ""], *, key: PRNGKey) -> EnvState:
        """A fresh start if `done`, else `env_state`.

        For environments whose reset has side effects; others are reset and selected from.
        """
        pick = lambda fresh, old: jnp.where(done, fresh, old)
        return jax.tree.map(pick, self.reset(key=key), env_state)

    @abc.abstractmethod
    def step(self, env_state: EnvState, action: Action) -> EnvState:
        """Advances by one control step; `action` is in [-1, 1]."""

    @abc.abstractmethod
    def achieved_goal(self, state: State) -> Goal:
        """The goal that `state` satisfies. Acts on any leading axes."""

    @abc.abstractmethod
    def success(self, state: State, goal: Goal) -> Flag:
        """Whether `goal` is reached in this very `state`. Acts on any leading axes."""

    def true_state(self, env_state: EnvState) -> State:
        """The state by which success is judged: what is perceived, without sensor noise.
        Acts on any leading axes."""
        return env_state.state

    def success_levels(self, state: State, goal: Goal) -> dict[str, Flag]:
        """Further success rules by name, such as `easy` and `hard`; evaluation reports each."""
        del state, goal
        return {}

    def distance(self, state: State, goal: Goal) -> Float[Array, "*batch"]:
        """Euclidean distance from the achieved to the commanded goal, in the goal's units."""
        return jnp.linalg.norm(self.achieved_goal(state) - goal, axis=-1)
