from collections.abc import Callable

import jax
import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """As for users, for whom nobody enforces annotations: sentences are what they get instead."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def play():
    """`play(env, policy, keys)`: an episode per key; start, then states and successes over time."""
    return _play


def _play(env, policy: Callable, keys, steps: int | None = None):
    def episode(key):
        start_key, policy_key = jax.random.split(key)
        start = env.reset(key=start_key)

        def step(env_state, key):
            env_state = env.step(env_state, policy(env_state, key))
            return env_state, (env_state, env.success(env_state.state, env_state.goal))

        step_keys = jax.random.split(policy_key, steps or env.episode_length)
        _, (env_states, successes) = jax.lax.scan(step, start, step_keys)
        return start, env_states, successes

    return jax.jit(jax.vmap(episode))(keys)
