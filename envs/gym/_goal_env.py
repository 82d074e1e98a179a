"""Gymnasium environments as tasks."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Array, Bool, Float, Int

from ..._checks import require_count, require_number, require_repeatable
from ..._env import AbstractGoalEnv, EnvState
from ..._errors import first_line, keeping, UserError
from ..._fork import not_forked
from ..._types import Action, Flag, Goal, PRNGKey, State
from .._mujoco import LONGEST
from ._host import Host
from ._inspection import inspect_environment, Inspection, places_of
from ._pick import Pick, picker, with_achieved
from ._source import Source, source


class GymnasiumGoalEnv(AbstractGoalEnv):
    """A Gymnasium environment as a task.

    A goal environment, whose observations are `observation`, `achieved_goal` and `desired_goal`,
    needs only its name. Its state is the observation, followed by the achieved goal unless that is
    already part of it: that is, unless it equals exactly one part of the observation in a few
    random episodes. A later step where the two differ raises an error. For other environments, say
    what is achieved and where goals come from:

    ```python
    GymnasiumGoalEnv("FetchReach-v4")
    GymnasiumGoalEnv(
        "Pendulum-v1",
        achieved_goal=[0, 1],
        draw_goal=lambda key: jnp.array([1.0, 0.0]),
        threshold=0.2,
    )
    ```

    Success is a Euclidean distance below `threshold`. Gymnasium's time limit is lifted, because the
    rollout has its own. An episode that Gymnasium ends for another reason, terminated or truncated,
    ends here too.

    Simulators live outside JAX, one for each episode in progress; an `EnvState` only says which.
    So an episode cannot go back or branch, and it is not in a checkpoint: a resumed run begins
    fresh episodes.
    """

    state_size: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    goal_size: int = eqx.field(static=True)
    episode_length: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    """The distance below which a goal is reached, in the goal's units."""
    control_dt: float | None = eqx.field(static=True)
    """Seconds per step, if the environment gives it."""
    _host: Host = eqx.field(static=True)
    _low: tuple[float, ...] = eqx.field(static=True)
    _high: tuple[float, ...] = eqx.field(static=True)
    _state: Callable[[Array], Array] = eqx.field(static=True)
    _achieved: Callable[[Array], Array] = eqx.field(static=True)
    _desired: Callable[[Array], Array] | None = eqx.field(static=True)
    _draw_goal: Callable[[PRNGKey], Array] | None = eqx.field(static=True)
    _made: "_Call" = eqx.field(static=True)

    @not_forked
    def __init__(
        self,
        env: str | Callable[[], gymnasium.Env] | None = None,
        *,
        achieved_goal: Pick | None = None,
        draw_goal: Callable[[PRNGKey], Array] | None = None,
        desired_goal: Pick | None = None,
        state: Pick | None = None,
        threshold: float | None = None,
        episode_length: int | None = None,
        vector: Callable[[int], VectorEnv] | None = None,
        **options: Any,
    ):
        """**Main arguments:**

        - `env`: a name that Gymnasium knows (those of gymnasium-robotics are registered if it is
            installed), `MODULE:NAME` for one that is registered when its module is imported, or a
            function that makes an environment.
        - `achieved_goal`: the numbers of the state that are the achieved goal, or a function of the
            state.
        - `draw_goal`: a function from a random key to a goal; or
        - `desired_goal`: if the environment has its own goal, its numbers in the observation, or
            a function of the observation.
        - `threshold`: success is a distance below this; by default a goal environment's own.

        **Other arguments:**

        - `state`: the numbers of the observation that are the state, or a function of the
            observation; by default all numbers. It must not contain the goal. In a goal environment
            the achieved goal follows the function's result.
        - `episode_length`: by default Gymnasium's limit.
        - `vector`: instead of `env`, a function from a number to a vector environment of that many,
            such as an `AsyncVectorEnv`, with `AutoresetMode.DISABLED`.
        - `options`: the environment's options, for `gymnasium.make`.

        **Raises:** `UserError` if there is no such environment, if its actions or observations are
        not numbers in a `Box`, or if the arguments do not fit it.
        """
        self._made = _Call(
            (env,),
            dict(
                achieved_goal=achieved_goal,
                draw_goal=draw_goal,
                desired_goal=desired_goal,
                state=state,
                threshold=threshold,
                episode_length=episode_length,
                vector=vector,
                **options,
            ),
        )
        found = source(env, vector, options)
        seen = inspect_environment(found)
        if seen.is_goal_env:
            _refuse(
                found, achieved_goal=achieved_goal, draw_goal=draw_goal, desired_goal=desired_goal
            )
            self._desired = lambda row: row[..., seen.observed + seen.goal :]
            self._state, self._achieved, twins = with_achieved(seen, state)
        else:
            if achieved_goal is None or (draw_goal is None) == (desired_goal is None):
                raise UserError(_what_is_missing(found, seen))
            self._desired = None if desired_goal is None else picker(desired_goal, "desired_goal")
            self._state, twins = picker(state, "state"), None
            self._achieved = picker(achieved_goal, "achieved_goal")
        self._draw_goal = draw_goal
        self._low, self._high = seen.low, seen.high
        self.action_size = len(seen.low)
        self.control_dt = found.control_dt
        self.threshold = _needed(found, "threshold", threshold, found.threshold)
        self.episode_length = _needed(found, "episode_length", episode_length, found.limit)
        states, goals = _sizes_of(found, seen, self)
        self.state_size, self.goal_size = states.shape[-1], goals.shape[-1]
        self._host = Host(found.store, seen.size, self.episode_length, found.call, twins)

    def __reduce__(self):
        # Copies, pickles and spawned workers make their own simulators.
        return self._made, ()

    @property
    def resumable(self) -> bool:
        return False

    def close(self) -> None:
        """Closes the simulators, which may hold windows, files or processes."""
        self._host.close()

    @not_forked
    def reset(self, *, key: PRNGKey) -> EnvState:
        seed_key, goal_key = jax.random.split(key)
        token = jax.ShapeDtypeStruct((3,), jnp.int32)
        shapes = token, self._moment_shape
        token, moment = _call(self._host.begin, shapes, _seed(seed_key))
        return self._env_state(token, moment, self._drawn(goal_key))

    def renew(self, env_state: EnvState, done: Bool[Array, ""], *, key: PRNGKey) -> EnvState:
        seed_key, goal_key = jax.random.split(key)
        token = env_state.physics
        moment = _call(self._host.renew, self._moment_shape, token, done, _seed(seed_key))
        fresh = self._env_state(_after(token), moment, self._drawn(goal_key))
        pick = lambda fresh, old: jnp.where(done, fresh, old)
        return jax.tree.map(pick, fresh, env_state)

    @not_forked
    def step(self, env_state: EnvState, action: Action) -> EnvState:
        token = env_state.physics
        moment = _call(self._host.advance, self._moment_shape, token, self._spread(action))
        return self._env_state(_after(token), moment, env_state.goal)

    def achieved_goal(self, state: State) -> Goal:
        return self._achieved(state)

    def success(self, state: State, goal: Goal) -> Flag:
        return self.distance(state, goal) < self.threshold

    @property
    def _moment_shape(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self._host.moment_size,), jnp.float32)

    def _drawn(self, key: PRNGKey) -> Goal:
        """A goal; zeros if the environment draws its goals itself."""
        return jnp.zeros(self.goal_size) if self._draw_goal is None else self._draw_goal(key)

    def _env_state(
        self, token: Int[Array, "3"], moment: Float[Array, " _"], goal: Goal
    ) -> EnvState:
        row, over, failed = moment[:-2], moment[-2] > 0, moment[-1] > 0
        goal = goal if self._desired is None else self._desired(row)
        return EnvState(token, self._state(row), goal, over, failed)

    def _spread(self, action: Action) -> Float[Array, " action"]:
        """From [-1, 1] over the bounds of the environment's actions."""
        action = jnp.clip(jnp.where(jnp.isfinite(action), action, 0.0), -1.0, 1.0)
        low, high = jnp.array(self._low), jnp.array(self._high)
        return jnp.clip((low + high) / 2 + action * (high - low) / 2, low, high)


class _Call:
    """The call that made a task. Compared and hashed by identity."""

    def __init__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]):
        self._arguments, self._keywords = arguments, keywords

    def __call__(self) -> GymnasiumGoalEnv:
        return GymnasiumGoalEnv(*self._arguments, **self._keywords)


def _call(callback: Callable[..., Any], shapes: Any, *arrays: Array) -> Any:
    return jax.pure_callback(keeping(callback), shapes, *arrays, vmap_method="broadcast_all")


def _seed(key: PRNGKey) -> Int[Array, ""]:
    return jax.random.randint(key, (), 0, 2**31 - 1)


def _after(token: Int[Array, "3"]) -> Int[Array, "3"]:
    """The token for the next call."""
    return token + jnp.array([0, 0, 1], token.dtype)


def _needed(found: Source, name: str, given: Any, own: Any) -> Any:
    value = own if given is None else given
    if value is None:
        raise UserError(
            f"`{found.call}` has no `{name}` of its own: give one (`crl-eqx train` has "
            f"`--{FLAGS[name]}`)."
        )
    call = f"GymnasiumGoalEnv({name}={value!r})"
    if name == "threshold":
        require_number(value, call, positive=True)
        return float(value)
    require_count(value, call, most=LONGEST)
    return value


FLAGS = {"threshold": "goal-threshold", "episode_length": "episode-length"}


def _refuse(found: Source, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise UserError(f"`{found.call}` is a goal environment and takes no `{name}`.")


def _what_is_missing(found: Source, seen: Inspection) -> str:
    return (
        f"`{found.call}` is no goal environment: of its {seen.observed} observed numbers name the "
        f"`achieved_goal`, and either `draw_goal` or `desired_goal` (`crl-eqx train` has "
        f"`--goal-indices`, `--goal-low` and `--goal-high`)."
    )


def _sizes_of(found: Source, seen: Inspection, env: GymnasiumGoalEnv):
    """States and achieved goals of the sampled rows.

    **Raises:** `UserError` if they do not fit the desired goals, or if the state contains the goal.
    """
    rows: Any = seen.rows  # NumPy's, which refuse an index out of bounds
    try:
        states = env._state(rows)
        achieved = env._achieved(states)
        draw = env._draw_goal or (lambda key: achieved[0])
        goals, again = draw(jax.random.key(0)), draw(jax.random.key(0))
        goals = goals if env._desired is None else env._desired(rows)
    except (IndexError, TypeError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"`{found.call}` with these goals cannot be traced: {reason}") from error
    if achieved.shape[-1:] != goals.shape[-1:] or goals.dtype != jnp.float32:
        raise UserError(
            f"`{found.call}`: an achieved goal is {achieved.dtype}{list(achieved.shape[1:])}, and "
            f"a desired one {goals.dtype}{list(goals.shape[-1:])}; they must match and be float32."
        )
    if not np.isfinite(np.asarray(goals)).all():
        raise UserError(f"`{found.call}`: its goals are not finite, such as {np.asarray(goals)}.")
    if env._desired is None:
        require_repeatable(goals, again, f"`draw_goal` of `{found.call}`", "goal")
        return states, achieved
    if places := places_of(np.asarray(goals), np.asarray(states)):
        first, last = places[0], places[0] + goals.shape[-1] - 1
        raise UserError(
            f"`{found.call}`: the numbers {first} to {last} of its state are the desired goal, "
            f"which it must not contain: name the numbers to keep, `state=[...]`."
        )
    return states, achieved
