"""Playing a policy in many environments at once; episodes end and begin here."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ._checks import require_count
from ._env import AbstractGoalEnv, EnvState
from ._errors import UserError
from ._fork import not_forked
from ._types import Action, Count, Goal, PRNGKey, State
from .replay import Transition


Policy: TypeAlias = Callable[[State, Goal, PRNGKey], Action]
"""`policy(state, goal, key)` for a whole batch."""


class Episodes(eqx.Module):
    """Environments under way, each with the age and the number of its episode."""

    env_state: EnvState
    age: Int[Array, " envs"]
    """Control steps since the last reset."""
    number: Int[Array, " envs"]

    @property
    def num_envs(self) -> int:
        return self.age.shape[0]


class RolloutCounts(eqx.Module):
    """What happened during a rollout."""

    episodes: Count
    """Episodes that ended, for whatever reason."""
    failures: Count
    """Those whose physics became non-finite."""
    nonfinite: Count
    """Steps whose state, action or goal is not finite: nothing can be learnt from them."""


@not_forked
def start_episodes(env: AbstractGoalEnv, num_envs: int, *, key: PRNGKey) -> Episodes:
    """Fresh episodes number 0."""
    require_count(num_envs, f"start_episodes(num_envs={num_envs!r})")
    env_state = jax.vmap(lambda key: env.reset(key=key))(jax.random.split(key, num_envs))
    zeros = jnp.zeros(num_envs, jnp.int32)
    return Episodes(env_state, zeros, zeros)


def act(policy: Policy, env: AbstractGoalEnv, state: State, goal: Goal, key: PRNGKey) -> Action:
    """What `policy` does, `[envs, action]`.

    **Raises:** `UserError` while tracing, if it is not a policy or gives another shape.
    """
    if not callable(policy):
        raise UserError(
            f"A {type(policy).__name__} is no policy, `(state, goal, key) -> action`: "
            f"`crl_eqx.deterministic(agent)` makes one."
        )
    action = policy(state, goal, key)
    wanted = (state.shape[0], env.action_size)
    if jnp.shape(action) != wanted:
        raise UserError(
            f"The policy gives actions of shape {jnp.shape(action)}; this task needs {wanted}."
        )
    return action


def select(mask: Bool[Array, " envs"], new, old):
    """`new` where `mask`, leaf by leaf, along the first axis."""

    def pick(new, old):
        return jnp.where(mask.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(pick, new, old)


def _renewed(
    env: AbstractGoalEnv, env_state: EnvState, done: Bool[Array, " envs"], key: PRNGKey
) -> EnvState:
    """Fresh starts where `done`, the same ones that `start_episodes` would give."""
    keys = jax.random.split(key, done.shape[0])
    return jax.vmap(lambda *moment, key: env.renew(*moment, key=key))(env_state, done, key=keys)


def _is_finite(*arrays: Array) -> Bool[Array, " envs"]:
    """`[envs, numbers]` each."""
    return jnp.all(jnp.stack([jnp.isfinite(x).all(axis=-1) for x in arrays]), axis=0)


@jax.custom_batching.custom_vmap
def _any(flags: Bool[Array, " envs"]) -> Bool[Array, ""]:
    """Under `vmap` whether any is set in the whole batch: a branch on it then stays a branch."""
    return jnp.any(flags)


@_any.def_vmap
def _any_of_all(axis_size: int, in_batched: list[bool], flags):
    del axis_size, in_batched
    return jnp.any(flags), False


def advance(
    env: AbstractGoalEnv,
    episodes: Episodes,
    action: Action,
    key: PRNGKey,
    *,
    episode_length: int,
    next_states: bool,
    applied: Callable[[Action], Action],
) -> tuple[Episodes, Transition, RolloutCounts]:
    """One control step; ended episodes restart, with a fresh start and a fresh goal. The arguments
    are those of `collect`."""
    env_state = jax.vmap(env.step)(episodes.env_state, applied(action))
    reached = env_state.state
    age = episodes.age + 1
    terminated = env_state.terminated
    done = terminated | (age >= episode_length)
    seen = episodes.env_state
    observed = seen.state, seen.goal, applied(action)
    wrong = ~_is_finite(*observed, *([reached] if next_states else []))
    counts = RolloutCounts(jnp.sum(done), jnp.sum(env_state.failed), jnp.sum(wrong))
    # Resets are the exception: skip their work in the steps in which nothing ends.
    env_state = jax.lax.cond(
        _any(done), lambda: _renewed(env, env_state, done, key), lambda: env_state
    )
    step = Transition(seen.state, action, seen.goal, episodes.number, terminated)
    if next_states:
        step = dataclasses.replace(step, next_state=reached)
    number = episodes.number + done.astype(jnp.int32)
    return Episodes(env_state, jnp.where(done, 0, age), number), step, counts


@not_forked
def collect(
    policy: Policy,
    env: AbstractGoalEnv,
    episodes: Episodes,
    *,
    length: int,
    episode_length: int | None = None,
    next_states: bool = False,
    applied: Callable[[Action], Action] = lambda action: action,
    key: PRNGKey,
) -> tuple[Episodes, Transition, RolloutCounts]:
    """Plays `length` control steps in every environment; under `next_states` each also says where
    it led. The environment is given `applied(action)`, and the step keeps `action`. An episode ends
    after `episode_length` control steps, by default the environment's.

    **Returns:** the episodes under way afterwards, the steps `[length, num_envs, ...]` for a
    [`crl_eqx.TrajectoryBuffer`][], and what happened.
    """
    if episode_length is None:
        episode_length = env.episode_length

    def body(episodes, key):
        action_key, reset_key = jax.random.split(key)
        now = episodes.env_state
        action = act(policy, env, now.state, now.goal, action_key)
        episodes, step, counts = advance(
            env,
            episodes,
            action,
            reset_key,
            episode_length=episode_length,
            next_states=next_states,
            applied=applied,
        )
        return episodes, (step, counts)

    episodes, (steps, counts) = jax.lax.scan(body, episodes, jax.random.split(key, length))
    return episodes, steps, jax.tree.map(jnp.sum, counts)
