"""How often, how long and how closely a policy reaches its goals."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ._checks import require_count, require_key, require_kind
from ._env import AbstractGoalEnv, EnvState
from ._fork import not_forked
from ._rollout import act, Policy, select, start_episodes
from ._types import PRNGKey


class Evaluation(eqx.Module):
    """Every metric for every episode, `[episodes]`; `summary` gives means and standard errors."""

    per_episode: dict[str, Float[Array, " episodes"]]

    def summary(self) -> dict[str, Float[Array, ""]]:
        """`name` (the mean) and `name_se` (its standard error, unless there is one episode alone)
        of each metric."""
        rows = {}
        for name, values in self.per_episode.items():
            rows[name] = jnp.mean(values)
            if (others := values.shape[0] - 1) > 0:
                rows[f"{name}_se"] = jnp.std(values) / others**0.5
        return rows


class _Tally(eqx.Module):
    """Sums over the steps that an episode lived."""

    alive: Float[Array, " episodes"]
    length: Float[Array, " episodes"]
    time_at: dict[str, Float[Array, " episodes"]]
    final_distance: Float[Array, " episodes"]


def _rules(env: AbstractGoalEnv, env_state: EnvState) -> dict[str, Float[Array, " episodes"]]:
    """Every success rule of the task as 0 or 1; the main one has the empty name."""

    def one(state, goal):
        return {"": env.success(state, goal), **env.success_levels(state, goal)}

    flags = jax.vmap(one)(env.true_state(env_state), env_state.goal)
    return {name: flag.astype(jnp.float32) for name, flag in flags.items()}


@not_forked
def run_episodes(
    policy: Policy,
    env: AbstractGoalEnv,
    num_episodes: int,
    *,
    trace: Callable[[EnvState], PyTree[Any]] = lambda env_state: None,
    key: PRNGKey,
) -> tuple[Evaluation, PyTree[Any]]:
    """Plays fresh episodes once, to their end, and keeps `trace(env_state)` of every moment.

    Each step has its own key. A terminated episode stands still, and nothing after its
    end counts.

    **Returns:** the evaluation, and the traces with axes `[1 + episode_length, ...]`.
    """
    _check("run_episodes", env, num_episodes, key)
    return _run_episodes(policy, env, num_episodes, trace=trace, key=key)


def _check(call: str, env: AbstractGoalEnv, num_episodes: int, key: PRNGKey) -> None:
    require_kind(env, AbstractGoalEnv, f"{call}(policy, {env!r})", "a task, as `make` gives")
    require_key(key, f"{call}(..., key=...)")
    require_count(num_episodes, f"{call}(num_episodes={num_episodes!r})")


def _run_episodes(policy, env, num_episodes, *, trace, key) -> tuple[Evaluation, PyTree[Any]]:
    first, keys = begin(env, num_episodes, key=key)
    last, traces = go_on(policy, env, first, keys, trace=trace)
    moments = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest]), trace(first.env_state), traces
    )
    return last.evaluation(), moments


class UnderWay(eqx.Module):
    """Episodes in the middle of an evaluation."""

    env_state: EnvState
    tally: _Tally

    def evaluation(self) -> Evaluation:
        """What has been seen so far."""
        return Evaluation(_metrics(self.tally))


def begin(
    env: AbstractGoalEnv, num_episodes: int, *, key: PRNGKey
) -> tuple[UnderWay, Key[Array, " steps"]]:
    """Fresh episodes, and the keys of their steps, which `go_on` may take all at once or in
    pieces."""
    start_key, key = jax.random.split(key)
    first = start_episodes(env, num_episodes, key=start_key).env_state
    zeros = jnp.zeros(num_episodes)
    rules = {name: zeros for name in jax.eval_shape(lambda: _rules(env, first))}
    tally = _Tally(jnp.ones(num_episodes), zeros, rules, zeros)
    return UnderWay(first, tally), jax.random.split(key, env.episode_length)


def go_on(
    policy: Policy,
    env: AbstractGoalEnv,
    under_way: UnderWay,
    keys: Key[Array, " steps"],
    *,
    trace: Callable[[EnvState], PyTree[Any]] = lambda env_state: None,
) -> tuple[UnderWay, PyTree[Any]]:
    """One step for every key; the traces are of the moments after them."""

    def body(under_way, key):
        env_state, tally = under_way.env_state, under_way.tally
        action = act(policy, env, env_state.state, env_state.goal, key)
        was_alive = tally.alive
        env_state = select(was_alive > 0, jax.vmap(env.step)(env_state, action), env_state)
        distance = jax.vmap(env.distance)(env.true_state(env_state), env_state.goal)
        rules = _rules(env, env_state)
        tally = _Tally(
            alive=was_alive * (~env_state.terminated).astype(jnp.float32),
            length=tally.length + was_alive,
            time_at={name: tally.time_at[name] + was_alive * rules[name] for name in rules},
            final_distance=jnp.where(was_alive > 0, distance, tally.final_distance),
        )
        return UnderWay(env_state, tally), trace(env_state)

    return jax.lax.scan(body, under_way, keys)


def _metrics(tally: _Tally) -> dict[str, Float[Array, " episodes"]]:
    rows = {"final_distance": tally.final_distance, "episode_length": tally.length}
    for name, steps in tally.time_at.items():
        suffix = f"_{name}" if name else ""
        rows[f"time_at_goal{suffix}"] = steps
        rows[f"success_rate{suffix}"] = (steps > 0).astype(jnp.float32)
    return rows


@not_forked
def evaluate(
    policy: Policy, env: AbstractGoalEnv, num_episodes: int = 128, *, key: PRNGKey
) -> Evaluation:
    """Plays `num_episodes` fresh episodes of `env`, with fresh starts and goals.

    ```python
    policy = lambda state, goal, key: agent.act(state, goal)
    crl_eqx.evaluate(policy, env, key=key).summary()["success_rate"]
    ```
    """
    _check("evaluate", env, num_episodes, key)
    nothing = lambda env_state: None
    return _run_episodes(policy, env, num_episodes, trace=nothing, key=key)[0]
