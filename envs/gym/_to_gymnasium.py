"""Tasks as Gymnasium environments."""

from typing import Any, Literal, SupportsFloat

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from ..._env import AbstractGoalEnv, EnvState
from ..._errors import UserError
from ..._fork import not_forked


Observation = dict[str, Any]


class ToGymnasium(gymnasium.Env):
    """A task as a `gymnasium.Env` with the observations of a goal environment.

    ```python
    env = ToGymnasium(crl_eqx.envs.make("ant"))
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    ```

    Observations are dictionaries with `observation` (the state), `achieved_goal` and
    `desired_goal`. Episodes are truncated at the task's `episode_length`. `info["is_success"]` is
    the task's own rule. The reward is 0 if the two goals are closer than the task's threshold, else
    -1 (`reward_type="sparse"`), or it is minus their distance (`"dense"`). `compute_reward` gives
    it for any two goals, with any leading axes.

    **Arguments:**

    - `task`: a task, such as `crl_eqx.envs.make` returns. Workers of an `AsyncVectorEnv` share it
        if it is made outside the function that they call.
    - `reward_type`: by default `"sparse"` for a task with a `threshold`.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        task: AbstractGoalEnv,
        *,
        reward_type: Literal["sparse", "dense"] | None = None,
    ):
        # Nothing is computed here: a forked worker of `AsyncVectorEnv` reports to its parent only
        # what goes wrong in `reset`.
        require_task(task, "ToGymnasium")
        self.render_mode = None
        self.task = task
        self.reward = Reward(self.task, reward_type)
        self.observation_space = observation_space(self.task)
        self.action_space = action_space(self.task)
        self._reset = jax.jit(lambda key: self._seen(self.task.reset(key=key)))
        self._step = jax.jit(lambda moment, action: self._seen(self.task.step(moment, action)))
        self._moment: EnvState | None = None
        self._age = 0

    def _seen(self, moment: EnvState):
        success = self.task.success(self.task.true_state(moment), moment.goal)
        return moment, observe(self.task, moment), success

    @not_forked
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """`options` are accepted, as Gymnasium requires, but there are none."""
        super().reset(seed=seed)
        self._age = 0
        self._moment, observation, success = self._reset(draw_key(self.np_random))
        return as_numpy(observation), {"is_success": bool(success)}

    @not_forked
    def step(self, action: Any) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        if self._moment is None:
            raise gymnasium.error.ResetNeeded("Call `reset` before `step`.")
        action = numbers_of(action, self.action_space)
        moment, seen, success = self._step(self._moment, action)
        self._moment = moment
        self._age += 1
        observation = as_numpy(seen)
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {})
        terminated = bool(moment.terminated)
        truncated = self._age >= self.task.episode_length
        return observation, float(reward), terminated, truncated, {"is_success": bool(success)}

    def compute_reward(
        self, achieved_goal: Any, desired_goal: Any, info: Any
    ) -> Float[np.ndarray, "*batch"]:
        del info
        return self.reward(achieved_goal, desired_goal)


class Reward:
    """The reward for two goals."""

    def __init__(self, task: AbstractGoalEnv, kind: Literal["sparse", "dense"] | None):
        self._threshold = getattr(task, "threshold", None)
        self._kind = kind or ("dense" if self._threshold is None else "sparse")
        if self._kind not in ("sparse", "dense"):
            raise UserError(f'`reward_type={kind!r}` must be "sparse" or "dense".')
        if self._kind == "sparse" and self._threshold is None:
            raise UserError(
                f'`reward_type="sparse"` needs a task with a `threshold`, but '
                f"{type(task).__name__} has none."
            )

    def __call__(self, achieved_goal: Any, desired_goal: Any) -> Float[np.ndarray, "*batch"]:
        difference = np.asarray(achieved_goal) - np.asarray(desired_goal)
        distance = np.linalg.norm(difference, axis=-1)
        if self._kind == "dense":
            return -distance
        return np.where(distance < self._threshold, 0.0, -1.0)


def numbers_of(action: Any, space: gymnasium.Space) -> Float[np.ndarray, "*shape"]:
    """**Raises:** `UserError` unless it is an action of the space's shape."""
    try:
        numbers = np.asarray(action, np.float32)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(())
    if numbers.shape != space.shape:
        raise UserError(f"`step({action!r})` needs numbers of shape {space.shape}.")
    return numbers


def require_task(task: Any, owner: str) -> None:
    """**Raises:** `UserError` unless it is a task; a name alone is not."""
    if isinstance(task, AbstractGoalEnv):
        return
    name = repr(task) if isinstance(task, str) else "'ant'"
    raise UserError(f"`{owner}({task!r})` needs a task, as `crl_eqx.envs.make({name})` gives.")


def observation_space(task: AbstractGoalEnv) -> gymnasium.Space:
    box = lambda size: spaces.Box(-np.inf, np.inf, (size,), np.float32)
    return spaces.Dict(
        observation=box(task.state_size),
        achieved_goal=box(task.goal_size),
        desired_goal=box(task.goal_size),
    )


def action_space(task: AbstractGoalEnv) -> gymnasium.Space:
    return spaces.Box(-1.0, 1.0, (task.action_size,), np.float32)


def observe(task: AbstractGoalEnv, moment: EnvState) -> Observation:
    """The observation of one environment, or of many."""
    achieved = task.achieved_goal(moment.state)
    return dict(observation=moment.state, achieved_goal=achieved, desired_goal=moment.goal)


def as_numpy(observation: Observation) -> Observation:
    """Writable copies: JAX's arrays cannot be written to."""
    return {name: np.array(value) for name, value in observation.items()}


def draw_key(numbers: np.random.Generator):
    """A JAX key from Gymnasium's generator, so that its seed is the only one."""
    return jax.random.key(int(numbers.integers(2**32)))
