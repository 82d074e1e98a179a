"""Domain randomization: the same task, in a world that differs from episode to episode."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .._checks import require_count, require_number
from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._fork import not_forked
from .._types import Action, PRNGKey, State
from ._mujoco import AbstractMujocoEnv
from ._physics import AbstractPhysics
from ._variants import make_variants, Range, SAME
from ._wrapped import layers, Wrapped, wrappers_key


@not_forked
def randomize(
    env: AbstractGoalEnv,
    *,
    masses: Range = SAME,
    friction: Range = SAME,
    gains: Range = SAME,
    sensor_noise: float = 0.0,
    action_delay: tuple[int, int] = (0, 0),
    variants: int = 64,
    seed: int = 0,
) -> "Randomized":
    """`env` with episodes that differ as given; everything is off by default.

    ```python
    env = randomize(make("ant"), masses=(0.8, 1.2), friction=(0.7, 1.3), action_delay=(0, 2))
    ```

    **Arguments:**

    - `masses`: lowest and highest factor on a body's mass and inertia, drawn for each body.
    - `friction`: the same for a single factor on the sliding friction of everything.
    - `gains`: the same for a factor on an actuator's force, drawn for each actuator.
    - `sensor_noise`: standard deviation of the Gaussian noise on every number of the state, in that
        number's unit, fresh at every step. Success is judged by the state without noise.
    - `action_delay`: fewest and most control steps until an action takes effect, drawn for each
        episode; until the first one does, the action is 0.
    - `variants`: how many models with other masses, friction and gains are made; each episode draws
        one.
    - `seed`: the seed of these models. What an episode draws follows from the key of its `reset`.

    **Raises:** `UserError` if a range, a deviation or a delay makes no sense, or if `env` is
    not a MuJoCo task or is already randomized.
    """
    plain = isinstance(env, AbstractMujocoEnv)
    if not plain or any(isinstance(layer, Randomized) for layer in layers(env)):
        raise UserError(
            f"`randomize` needs a MuJoCo task that is not randomized, such as `make` and "
            f"`MujocoGoalEnv` give, but got a {type(env).__name__}."
        )
    require_count(seed, f"randomize(seed={seed!r})", least=0, most=2**32 - 1)
    check_randomization(
        masses=masses,
        friction=friction,
        gains=gains,
        sensor_noise=sensor_noise,
        action_delay=action_delay,
        variants=variants,
    )
    masses, friction, gains = (_span(factors) for factors in (masses, friction, gains))
    if masses == friction == gains == SAME:
        variants = 0
    else:
        models = make_variants(env.model, masses, friction, gains, variants, seed)
        env = _with_physics(env, env.physics.pooled(models))
    low, high = action_delay
    return Randomized(env, variants, float(sensor_noise), (low, high))


class Drawn(eqx.Module):
    """The task's physics, and what an episode has drawn; None where it is not randomized."""

    physics: Any
    state: State | None
    """Without noise."""
    variant: Int[Array, "*batch"] | None
    delay: Int[Array, "*batch"] | None
    waiting: Float[Array, "*batch delay action"] | None
    """The latest actions, the newest last."""
    key: Key[Array, "*batch"] | None
    """For future noise."""


class Randomized(Wrapped):
    """A task whose episodes each draw a model, noise and a delay. Made by `randomize`."""

    env: AbstractMujocoEnv
    """The task itself."""
    variants: int = eqx.field(static=True)
    """How many models to draw from; 0 if there is only the task's own."""
    sensor_noise: float = eqx.field(static=True)
    action_delay: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        env: AbstractMujocoEnv,
        variants: int,
        sensor_noise: float,
        action_delay: tuple[int, int],
    ):
        self.env, self.variants = env, variants
        self.sensor_noise, self.action_delay = sensor_noise, action_delay

    def reset(self, *, key: PRNGKey) -> EnvState:
        # The task gets the key that it would get by itself, and draws the same start and goal.
        variant_key, delay_key, noise_key = jax.random.split(wrappers_key(key), 3)
        variant = delay = waiting = None
        if self.variants:
            variant = jax.random.randint(variant_key, (), 0, self.variants)
        low, high = self.action_delay
        if high:
            delay = jax.random.randint(delay_key, (), low, high + 1)
            waiting = jnp.zeros((high, self.action_size))
        inner = self._world(variant).reset(key=key)
        noise_key = noise_key if self.sensor_noise else None
        return self._perceived(inner, Drawn(None, None, variant, delay, waiting, noise_key))

    def step(self, env_state: EnvState, action: Action) -> EnvState:
        drawn: Drawn = env_state.physics
        if drawn.delay is not None and drawn.waiting is not None:
            queue = jnp.concatenate([drawn.waiting, action[None]])
            action = queue[len(queue) - 1 - drawn.delay]
            drawn = dataclasses.replace(drawn, waiting=queue[1:])
        inner = self._world(drawn.variant).step(self._inner(env_state), action)
        return self._perceived(inner, drawn)

    def true_state(self, env_state: EnvState) -> State:
        return self.env.true_state(self._inner(env_state))

    def qpos(self, env_state: EnvState) -> Float[Array, "*batch nq"]:
        return self.env.qpos(self._inner(env_state))

    def _world(self, variant: Int[Array, ""] | None) -> AbstractMujocoEnv:
        if variant is None:
            return self.env
        return _with_physics(self.env, self.env.physics.at(variant))

    def _inner(self, env_state: EnvState) -> EnvState:
        """What the task itself would hold at this moment."""
        drawn: Drawn = env_state.physics
        state = env_state.state if drawn.state is None else drawn.state
        goal, terminated, failed = env_state.goal, env_state.terminated, env_state.failed
        return EnvState(drawn.physics, state, goal, terminated, failed)

    def _perceived(self, inner: EnvState, drawn: Drawn) -> EnvState:
        """The task's moment as the agent sees it."""
        drawn = dataclasses.replace(drawn, physics=inner.physics)
        if drawn.key is None:
            return dataclasses.replace(inner, physics=drawn)
        key, now = jax.random.split(drawn.key)
        noise = self.sensor_noise * jax.random.normal(now, inner.state.shape)
        drawn = dataclasses.replace(drawn, state=inner.state, key=key)
        return dataclasses.replace(inner, physics=drawn, state=inner.state + noise)


def _with_physics(env: AbstractMujocoEnv, physics: AbstractPhysics) -> AbstractMujocoEnv:
    return eqx.tree_at(lambda e: e.physics, env, physics, is_leaf=lambda x: x is env.physics)


MOST_DELAY = 1000


def _span(factors: Range) -> Range:
    """A list compares with no tuple."""
    low, high = factors
    return float(low), float(high)


def _check_factors(factors: Range, call: str) -> None:
    """**Raises:** `UserError` unless `factors`, which the user wrote as `call`, is a range."""
    numbers = isinstance(factors, tuple | list) and len(factors) == 2
    numbers = numbers and all(isinstance(x, float | int) and math.isfinite(x) for x in factors)
    good = numbers and 0 < factors[0] <= factors[1]
    if not good:
        raise UserError(f"`{call}` must be two positive factors, the smaller one first.")


def _check_delay(delay: tuple[int, int], call: str) -> None:
    """**Raises:** `UserError` unless `delay`, which the user wrote as `call`, is a range."""
    whole = isinstance(delay, tuple | list) and len(delay) == 2
    whole = whole and all(isinstance(steps, int) for steps in delay)
    if not whole or not 0 <= delay[0] <= delay[1] <= MOST_DELAY:
        raise UserError(
            f"`{call}` must be two numbers of control steps, whole numbers from 0 to "
            f"{MOST_DELAY}, the smaller one first."
        )


def check_randomization(
    *,
    masses: Range,
    friction: Range,
    gains: Range,
    sensor_noise: float,
    action_delay: tuple[int, int],
    variants: int,
) -> None:
    """**Raises:** `UserError` for arguments that `randomize` does not accept."""
    for name, factors in dict(masses=masses, friction=friction, gains=gains).items():
        _check_factors(factors, f"{name}={factors}")
    _check_delay(action_delay, f"action_delay={action_delay}")
    require_number(sensor_noise, f"randomize(sensor_noise={sensor_noise!r})")
    require_count(variants, f"randomize(variants={variants!r})")
