"""Does an environment keep to its own sizes? Asked once, by tracing, before any compilation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._env import AbstractGoalEnv, EnvState
from ._errors import first_line, UserError


SEVERAL = 3
"""States that are asked about at once."""


def _expect(
    env: AbstractGoalEnv,
    call: str,
    found: Any,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    of: str = "",
) -> None:
    """`found` is what `call`, in its author's terms, gave."""
    wanted = jnp.dtype(dtype)
    if getattr(found, "shape", None) != shape or found.dtype != wanted:
        given = f"{found.dtype}{list(found.shape)}" if hasattr(found, "shape") else repr(found)
        raise UserError(
            f"`{type(env).__name__}.{call}`{of} gives {given}, and must give {wanted}{list(shape)}."
        )


def _shapes(env: AbstractGoalEnv, call: str, function: Any, *arguments: Any, of: str = "") -> Any:
    try:
        # Behind a lambda: a bound method would be flattened, and its environment compared.
        return eqx.filter_eval_shape(lambda *given: function(*given), *arguments)
    except (TypeError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise UserError(f"`{type(env).__name__}.{call}`{of} cannot be traced: {reason}") from error


def _check_moment(env: AbstractGoalEnv, call: str, moment: Any) -> None:
    if not isinstance(moment, EnvState):
        raise UserError(
            f"`{type(env).__name__}.{call}` gives a {type(moment).__name__}, and must give an "
            f"`EnvState`."
        )
    _expect(env, f"{call}.state", moment.state, (env.state_size,), jnp.float32)
    _expect(env, f"{call}.goal", moment.goal, (env.goal_size,), jnp.float32)
    _expect(env, f"{call}.terminated", moment.terminated, (), jnp.bool_)
    _expect(env, f"{call}.failed", moment.failed, (), jnp.bool_)


def _form(moment: EnvState) -> Any:
    """Structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(moment)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves if hasattr(leaf, "dtype")]


def _check_rules(env: AbstractGoalEnv, batch: tuple[int, ...], of: str = "") -> None:
    """Goals and success of one state, and of several: a mean or norm over all axes would pass for
    one, and teach a wrong reward."""
    several = lambda size: jax.ShapeDtypeStruct((*batch, size), jnp.float32)
    states, goals = several(env.state_size), several(env.goal_size)
    for call, method, given, shape, dtype in (
        ("achieved_goal(state)", env.achieved_goal, (states,), goals.shape, jnp.float32),
        ("success(state, goal)", env.success, (states, goals), batch, jnp.bool_),
        ("distance(state, goal)", env.distance, (states, goals), batch, jnp.float32),
    ):
        found = _shapes(env, call, method, *given, of=of)
        _expect(env, call, found, shape, dtype, of=of)


def check_env(env: AbstractGoalEnv) -> None:
    """Compares what the four methods give with the sizes that the environment declares.

    **Raises:** `UserError`, one sentence that names the method, what it gives and what it must
    give. Nothing is computed.
    """
    first = _shapes(env, "reset(key=...)", lambda key: env.reset(key=key), jax.random.key(0))
    _check_moment(env, "reset(key=...)", first)
    action = jax.ShapeDtypeStruct((env.action_size,), jnp.float32)
    then = _shapes(env, "step(env_state, action)", env.step, first, action)
    _check_moment(env, "step(env_state, action)", then)
    if _form(first) != _form(then):
        raise UserError(
            f"`{type(env).__name__}.step(env_state, action)` gives an `EnvState` of another form "
            f"(shapes, dtypes, structure) than `reset`'s: `physics` must keep its form."
        )
    _check_rules(env, ())
    _check_rules(env, (SEVERAL,), f" of {SEVERAL} states at once")
