"""A wrapper that changes part of a MuJoCo task."""

from collections.abc import Iterator

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._env import EnvState
from .._errors import UserError
from .._types import Action, Flag, Goal, PRNGKey, State
from ._mujoco import AbstractMujocoEnv, Draw, Rules
from ._physics import AbstractPhysics, PhysicsState


def wrappers_key(key: PRNGKey) -> PRNGKey:
    """A key for draws beside those that the task itself makes from `key`. `split` makes its keys as
    `fold_in` does with 0, 1, 2, …: with a small number it would be one of the task's own."""
    return jax.random.fold_in(key, 0x57524150)


def layers(env: AbstractMujocoEnv) -> Iterator[AbstractMujocoEnv]:
    """The wrappers of a task, the outermost first, and last the task itself."""
    yield env
    while isinstance(env, Wrapped):
        env = env.env
        yield env


def require_still_goals(env: AbstractMujocoEnv, wanted: str) -> None:
    """**Raises:** `UserError`, with what cannot be done to them, if the task's goals move."""
    *_, task = layers(env)
    if type(task).commanded is not AbstractMujocoEnv.commanded:
        raise UserError(
            f"The goals of {type(task).__name__} move within an episode: none can be {wanted}."
        )


class Wrapped(AbstractMujocoEnv):
    """Everything is the task's own; a subclass overrides what it changes."""

    env: eqx.AbstractVar[AbstractMujocoEnv]
    """The task itself."""

    def reset(self, *, key: PRNGKey) -> EnvState:
        return self.env.reset(key=key)

    def step(self, env_state: EnvState, action: Action) -> EnvState:
        return self.env.step(env_state, action)

    def true_state(self, env_state: EnvState) -> State:
        return self.env.true_state(env_state)

    def qpos(self, env_state: EnvState) -> Float[Array, "*batch nq"]:
        return self.env.qpos(env_state)

    @property
    def physics(self) -> AbstractPhysics:
        return self.env.physics

    @property
    def rules(self) -> Rules:
        return self.env.rules

    @property
    def action_size(self) -> int:
        return self.env.action_size

    def draw(self, *, key: PRNGKey) -> Draw:
        return self.env.draw(key=key)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.env.observe(physics_state)

    def fallen(self, state: State) -> Flag:
        return self.env.fallen(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return self.env.position(state)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return self.env.target(goal)

    def controls(self, action: Action) -> Float[Array, " nu"]:
        return self.env.controls(action)

    def commanded(self, state: State, goal: Goal) -> Goal:
        return self.env.commanded(state, goal)

    def achieved_goal(self, state: State) -> Goal:
        return self.env.achieved_goal(state)

    def distance(self, state: State, goal: Goal) -> Float[Array, "*batch"]:
        return self.env.distance(state, goal)

    def success(self, state: State, goal: Goal) -> Flag:
        return self.env.success(state, goal)

    def success_levels(self, state: State, goal: Goal) -> dict[str, Flag]:
        return self.env.success_levels(state, goal)
