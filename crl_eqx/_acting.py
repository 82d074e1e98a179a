"""How an agent acts: policies made of agents, to collect and to be judged by."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from ._agent import Agent
from ._checks import as_number, require_count, require_number, require_share
from ._errors import UserError
from ._rollout import Policy


Acting: TypeAlias = Callable[[Agent], Policy]


def stochastic(agent: Agent) -> Policy:
    """Samples of the policy."""
    return lambda state, goal, key: agent.act(state, goal, key=key)


def deterministic(agent: Agent) -> Policy:
    """tanh of the policy's mean."""
    return lambda state, goal, key: agent.act(state, goal)


def partly_deterministic(share: float) -> Acting:
    """Samples of the policy, except for the first `share` of the batch, which acts
    deterministically.

    For collecting: noise frees a robot from corners and standstills where the deterministic
    policy, which evaluations use, stays for good. Only if some environments act like it are such
    states in the data to learn from.
    """
    if not 0 <= as_number(share) <= 1:
        raise UserError(f"`partly_deterministic({share!r})` must be given a share in [0, 1].")
    return _partly_deterministic(float(share))


@functools.cache  # equal choices are one object, so that what is compiled for one is for all
def _partly_deterministic(share: float) -> Acting:
    def acting(agent: Agent) -> Policy:
        def policy(state, goal, key):
            distribution = agent.policy(state, goal)
            calm = jnp.arange(state.shape[0]) < round(share * state.shape[0])
            return jnp.where(calm[:, None], distribution.mode(), distribution.sample(key=key))

        return policy

    return acting


def noisy(scale: float, *, deterministic_share: float = 0.0) -> Acting:
    """tanh of the policy's mean, and normal noise of standard deviation `scale`, cut off at ±1: how
    deterministic policy gradients explore. The first `deterministic_share` of the batch acts
    without noise, as in [`crl_eqx.partly_deterministic`][]."""
    require_number(scale, f"noisy({scale!r})")
    require_share(deterministic_share, f"noisy(deterministic_share={deterministic_share!r})")
    return _noisy(float(scale), float(deterministic_share))


@functools.cache
def _noisy(scale: float, share: float) -> Acting:
    def acting(agent: Agent) -> Policy:
        def policy(state, goal, key):
            action = agent.act(state, goal)
            noise = scale * jax.random.normal(key, action.shape)
            calm = jnp.arange(state.shape[0]) < round(share * state.shape[0])
            return jnp.where(calm[:, None], action, jnp.clip(action + noise, -1.0, 1.0))

        return policy

    return acting


def best_of(candidates: int) -> Acting:
    """The sample, among `candidates`, that the critic gives the highest energy."""
    require_count(candidates, f"best_of({candidates!r})")
    return _best_of(candidates)


@functools.cache
def _best_of(candidates: int) -> Acting:
    return lambda agent: (
        lambda state, goal, key: agent.act(state, goal, key=key, candidates=candidates)
    )
