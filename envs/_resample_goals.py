"""Another goal for whoever has arrived, so that training is not mostly standing at goals."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import as_number
from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._fork import not_forked
from .._types import Action, PRNGKey, State
from ._mujoco import AbstractMujocoEnv
from ._wrapped import require_still_goals, Wrapped, wrappers_key


@not_forked
def resample_goals(env: AbstractGoalEnv, chance: float) -> "ResampledGoals":
    """`env` in which every control step that ends at the goal commands another with that chance.

    ```python
    step = crl_eqx.TrainStep(resample_goals(make("ant_u_maze"), 0.05))
    ```

    For training. Who has come to its goal otherwise stands there until the episode ends, and what
    is learnt of an agent that stands is that it goes on standing, whatever it does. Here it stays
    for 1 / `chance` control steps on average, and walks off again. Goals are drawn as those of
    fresh episodes are, and may be the same one again.

    **Raises:** `UserError` unless 0 < `chance` <= 1, or if `env` is not a MuJoCo task, or commands
    other goals on the way, as `arm_grasp` does, whose goal follows the cube.
    """
    if not isinstance(env, AbstractMujocoEnv):
        raise UserError(
            f"`resample_goals` needs a MuJoCo task, such as `make` and `MujocoGoalEnv` give, but "
            f"got a {type(env).__name__}."
        )
    if not 0 < as_number(chance) <= 1:
        raise UserError(f"`chance={chance}` must lie above 0, and not above 1.")
    require_still_goals(env, "drawn anew")
    return ResampledGoals(env, float(chance))


class Underway(eqx.Module):
    """The task's physics, and the key of the goals to come."""

    physics: Any
    key: Key[Array, "*batch"]


class ResampledGoals(Wrapped):
    """A task that commands another goal once one is reached. Made by `resample_goals`."""

    env: AbstractMujocoEnv
    """The task itself."""
    chance: float = eqx.field(static=True)
    """Of another goal, at every control step that ends at the present one."""

    def __init__(self, env: AbstractMujocoEnv, chance: float):
        self.env, self.chance = env, chance

    def reset(self, *, key: PRNGKey) -> EnvState:
        inner = self.env.reset(key=key)
        # Folded twice: other wrappers draw from `wrappers_key(key)` itself.
        goals_key = jax.random.fold_in(wrappers_key(key), 0x474F414C)
        return dataclasses.replace(inner, physics=Underway(inner.physics, goals_key))

    def step(self, env_state: EnvState, action: Action) -> EnvState:
        inner = self.env.step(_inner(env_state), action)
        key, chance_key, goal_key = jax.random.split(env_state.physics.key, 3)
        arrived = self.env.success(self.env.true_state(inner), inner.goal)
        another = arrived & jax.random.bernoulli(chance_key, self.chance)
        goal = jnp.where(another, self.env.draw(key=goal_key).goal, inner.goal)
        return dataclasses.replace(inner, physics=Underway(inner.physics, key), goal=goal)

    def true_state(self, env_state: EnvState) -> State:
        return self.env.true_state(_inner(env_state))

    def qpos(self, env_state: EnvState) -> Float[Array, "*batch nq"]:
        return self.env.qpos(_inner(env_state))


def _inner(env_state: EnvState) -> EnvState:
    """What the task itself would hold at this moment."""
    return dataclasses.replace(env_state, physics=env_state.physics.physics)
