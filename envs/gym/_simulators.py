"""Many Gymnasium environments: one by one, or together as a vector environment."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from ..._errors import UserError


GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")


def flat(observation: Any, lead: tuple[int, ...] = ()) -> np.ndarray:
    """The observation, followed by the two goals in a goal environment: `[*lead, numbers]`."""
    if isinstance(observation, dict):
        parts = [flat(observation[key], lead) for key in GOAL_KEYS]
        return np.concatenate(parts, axis=-1)
    numbers = np.asarray(observation)
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"An observation must be real numbers, but one is {observation!r}.")
    return numbers.astype(float).reshape(*lead, -1)


def _as_in(space: Any, actions: np.ndarray) -> np.ndarray:
    """The actions in the space's shape and type; rounded if that needs whole numbers."""
    whole = np.issubdtype(space.dtype, np.integer)
    return (np.rint(actions) if whole else actions).reshape(space.shape).astype(space.dtype)


def _require_new(env: Any, made: list[Any]) -> None:
    """**Raises:** `UserError` if a function returned the same environment twice."""
    if any(env.unwrapped is other for other in made):
        raise UserError(
            f"`GymnasiumGoalEnv` needs a function that makes a new environment at every call, but "
            f"the given one returned the same {type(env.unwrapped).__name__} again."
        )
    made.append(env.unwrapped)


class Singles:
    """Environments that are stepped one after another."""

    def __init__(self, envs: Sequence[gymnasium.Env]):
        self.envs = envs

    def reset(self, at: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        pairs = zip(at, seeds, strict=True)
        return np.stack([flat(self.envs[i].reset(seed=int(seed))[0]) for i, seed in pairs])

    def step(self, at: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, over = [], []
        for i, action in zip(at, actions, strict=True):
            shaped = _as_in(self.envs[i].action_space, action)
            observation, _, terminated, truncated, _ = self.envs[i].step(shaped)
            rows.append(flat(observation))
            over.append(bool(terminated or truncated))
        return np.stack(rows), np.array(over)


class SinglesStore:
    """Environments that are made when first needed, and then reused."""

    def __init__(self, make: Callable[[], gymnasium.Env], *made: gymnasium.Env):
        self._make, self._free = make, list(made)
        self._made = [env.unwrapped for env in made]

    def take(self, count: int) -> Singles:
        return Singles([self._free.pop() if self._free else self._new() for _ in range(count)])

    def _new(self) -> gymnasium.Env:
        env = self._make()
        _require_new(env, self._made)
        return env

    def give_back(self, simulators: Any) -> None:
        self._free.extend(simulators.envs)

    def close(self) -> None:
        self._made.clear()
        while self._free:
            self._free.pop().close()


class Together:
    """A vector environment; its parts can be reset singly but are always stepped together."""

    def __init__(self, envs: VectorEnv):
        self.envs = envs
        self._over = np.zeros(envs.num_envs, bool)

    def reset(self, at: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        self._over[at] = False
        mask, chosen = np.zeros(self.envs.num_envs, bool), np.zeros(self.envs.num_envs, int)
        mask[at], chosen[at] = True, seeds
        every: Any = chosen.tolist()
        options = None if mask.all() else {"reset_mask": mask}
        observation, _ = self.envs.reset(seed=every, options=options)
        return flat(observation, (self.envs.num_envs,))[at]

    def step(self, at: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        others = np.setdiff1d(np.arange(self.envs.num_envs), at)
        if not self._over[others].all():
            raise RuntimeError("A vector environment of Gymnasium can only be stepped as a whole.")
        if len(others):  # a step must not reach episodes that are over
            self.reset(others, np.zeros_like(others))
        every = np.zeros((self.envs.num_envs, actions.shape[1]))
        every[at] = actions
        shaped = _as_in(self.envs.action_space, every)
        observation, _, terminated, truncated, _ = self.envs.step(shaped)
        self._over = terminated | truncated
        self._over[others] = True
        return flat(observation, (self.envs.num_envs,))[at], self._over[at]


class TogetherStore:
    """Vector environments of every size that was requested."""

    def __init__(self, make: Callable[[int], VectorEnv], *made: VectorEnv):
        self._make = make
        self._free: dict[int, list[VectorEnv]] = defaultdict(list)
        self._made = [envs.unwrapped for envs in made]
        for envs in made:
            self._free[envs.num_envs].append(envs)

    def take(self, count: int) -> Together:
        free = self._free[count]
        envs = free.pop() if free else self._new(count)
        mode = envs.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.DISABLED, AutoresetMode.DISABLED.value):
            raise UserError(
                f"`GymnasiumGoalEnv(vector=...)` was given one with autoreset_mode {mode}: it must "
                f"be `AutoresetMode.DISABLED`, because the rollout resets ended episodes."
            )
        return Together(envs)

    def _new(self, count: int) -> VectorEnv:
        envs = self._make(count)
        _require_new(envs, self._made)
        return envs

    def give_back(self, simulators: Any) -> None:
        self._free[simulators.envs.num_envs].append(simulators.envs)

    def close(self) -> None:
        for free in self._free.values():
            while free:
                free.pop().close()
