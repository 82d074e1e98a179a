"""Tasks as Gymnasium vector environments."""

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool

from ..._checks import require_count, require_one_of
from ..._env import AbstractGoalEnv, EnvState
from ..._errors import UserError
from ..._fork import not_forked
from ._to_gymnasium import (
    action_space,
    as_numpy,
    draw_key,
    numbers_of,
    Observation,
    observation_space,
    observe,
    require_task,
    Reward,
)


class ToGymnasiumVector(VectorEnv):
    """Many environments of a task as a `gymnasium.vector.VectorEnv`, stepped in one call.

    Observations, rewards and episodes are those of [`crl_eqx.envs.gym.ToGymnasium`][]: environment
    i with seed s does what the single one with seed s + i does. What happens at the end of an
    episode is in `metadata["autoreset_mode"]`:

    - `NEXT_STEP`: the next step ignores the action, and returns the fresh start with reward 0.
    - `SAME_STEP`: the step itself returns the fresh start; the last observation and its info are
        in `info["final_obs"]` and `info["final_info"]`.
    - `DISABLED`: the caller begins the next one by `reset(options={"reset_mask": mask})`.

    **Arguments:**

    - `task`, `reward_type`: as for `ToGymnasium`.
    - `num_envs`: how many environments.
    - `autoreset_mode`: by default `NEXT_STEP`, as in Gymnasium.
    """

    @not_forked
    def __init__(
        self,
        task: AbstractGoalEnv,
        num_envs: int,
        *,
        reward_type: Literal["sparse", "dense"] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        require_count(num_envs, f"ToGymnasiumVector(num_envs={num_envs!r})")
        require_task(task, "ToGymnasiumVector")
        self.task, self.num_envs = task, num_envs
        self.reward = Reward(self.task, reward_type)
        call = f"ToGymnasiumVector(autoreset_mode={autoreset_mode!r})"
        modes = tuple(mode.value for mode in AutoresetMode)
        require_one_of(getattr(autoreset_mode, "value", autoreset_mode), modes, call)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.render_mode = None
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = action_space(self.task)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._numbers = [np_random()[0] for _ in range(num_envs)]
        self._keys = jax.random.split(jax.random.key(0), num_envs)
        self._start, self._renew = jax.jit(self._start_all), jax.jit(self._renew_some)
        self._step = jax.jit(self._step_all)
        self._moment: EnvState | None = None
        self._age = np.zeros(num_envs, int)
        self._ended = np.zeros(num_envs, bool)

    def _start_all(self, keys):
        return self._seen(jax.vmap(lambda key: self.task.reset(key=key))(keys))

    def _renew_some(self, moment: EnvState, mask, keys):
        renew = lambda moment, done, key: self.task.renew(moment, done, key=key)
        return self._seen(jax.vmap(renew)(moment, mask, keys))

    def _step_all(self, moment: EnvState, action, standing):
        """One step of all that are not `standing`."""

        def one(moment, action, standing):
            stay = lambda old, new: jnp.where(standing, old, new)
            return jax.tree.map(stay, moment, self.task.step(moment, action))

        return self._seen(jax.vmap(one)(moment, action, standing))

    def _seen(self, moment: EnvState):
        success = jax.vmap(self.task.success)(self.task.true_state(moment), moment.goal)
        return moment, observe(self.task, moment), success

    @not_forked
    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """With a `reset_mask` among the options, only some of the environments are reset."""
        mask = (options or {}).get("reset_mask")
        every = np.ones(self.num_envs, bool)
        mask = every if mask is None else np.asarray(mask, bool)
        if mask.shape != every.shape:
            raise UserError(
                f"`reset(options={{'reset_mask': ...}})` needs {self.num_envs} flags, one for each "
                f"environment, and was given an array of shape {mask.shape}."
            )
        self._reseed(seed, mask)
        return self._begin(mask)

    def _reseed(self, seed: int | Sequence[int | None] | None, mask: Bool[np.ndarray, " n"]):
        if seed is None:
            return
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise UserError(f"`seed` names {len(seeds)} seeds for {self.num_envs} environments.")
        for i, one in enumerate(seeds):
            if mask[i] and one is not None:
                self._numbers[i] = np_random(one)[0]

    def _begin(self, mask: Bool[np.ndarray, " n"]) -> tuple[Observation, dict[str, Any]]:
        """Fresh episodes where `mask` is true."""
        places = np.flatnonzero(mask)
        if len(places):
            drawn = jnp.stack([draw_key(self._numbers[i]) for i in places])
            self._keys = self._keys.at[places].set(drawn)
        if self._moment is None or mask.all():
            self._moment, seen, success = self._start(self._keys)
        else:
            self._moment, seen, success = self._renew(self._moment, mask, self._keys)
        self._age[mask], self._ended[mask] = 0, False
        return as_numpy(seen), _info(np.array(success), mask)

    @not_forked
    def step(self, actions: Any):
        if self._moment is None:
            raise gymnasium.error.ResetNeeded("Call `reset` before `step`.")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise gymnasium.error.ResetNeeded(
                "Episodes have ended: call `reset(options={'reset_mask': mask})` before `step`."
            )
        fresh = self._ended.copy()
        actions = numbers_of(actions, self.action_space)
        moment, seen, success = self._step(self._moment, actions, fresh)
        self._moment = moment
        self._age += 1
        observation, successes = as_numpy(seen), np.array(success)
        rewards = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {})
        terminated = np.array(moment.terminated)
        truncated = self._age >= self.task.episode_length
        if fresh.any():  # these begin instead
            observation, info = self._begin(fresh)
            rewards, terminated = np.where(fresh, 0.0, rewards), terminated & ~fresh
            truncated &= ~fresh
            successes = np.where(fresh, info["is_success"], successes)
        self._ended = terminated | truncated
        info = _info(successes, np.ones(self.num_envs, bool))
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended.copy()
            final = observation
            observation, info = self._begin(ended)
            info["is_success"] = np.where(ended, info["is_success"], successes)
            info["_is_success"] = np.ones(self.num_envs, bool)
            info |= {"final_obs": _each(final, ended), "_final_obs": ended}
            info |= {"final_info": _info(successes & ended, ended), "_final_info": ended.copy()}
        return observation, rewards, terminated, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> np.ndarray:
        del info
        return self.reward(achieved_goal, desired_goal)


def _info(success: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """As Gymnasium gives it: an array, and where it holds."""
    return {"is_success": success & mask, "_is_success": mask.copy()}


def _each(observation: Observation, mask: np.ndarray) -> np.ndarray:
    """One dictionary for every environment of `mask`, None for the others."""
    rows = np.full(len(mask), None, dtype=object)
    for i in np.flatnonzero(mask):
        rows[i] = {name: value[i] for name, value in observation.items()}
    return rows
