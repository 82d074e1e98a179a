"""A policy as a file that JAX alone can run."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._agent import Agent
from .._env import AbstractGoalEnv
from .._fork import not_forked
from ..envs import AbstractMujocoEnv
from ..envs._layout import parts
from ..store._files import replace_file


PLATFORMS = ("cpu", "cuda")


@not_forked
def export_policy(
    agent: Agent, env: AbstractGoalEnv, path: Path, about: dict[str, Any] | None = None
) -> Path:
    """Writes the deterministic policy with its weights as StableHLO in the format of `jax.export`:
    `(state [batch, state_size], goal [batch, goal_size]) -> action [batch, action_size]`, for any
    batch, on CPUs and NVIDIA GPUs. `path` with `.json` appended says what the numbers are.

    The numbers of state and goal are described with their indices and units, what the actions -1,
    0 and 1 command with the actuators of the model, and how long an action acts.

    `jax.export.deserialize` reads it back; newer versions of JAX read what older ones wrote, for
    at least six months. `examples/exported_policy.py` is all that a robot needs.
    """
    arrays, static = eqx.partition(agent, eqx.is_array)

    def act(state: jax.Array, goal: jax.Array) -> jax.Array:
        return eqx.combine(arrays, static).policy(state, goal).mode()

    (batch,) = jax.export.symbolic_shape("batch")
    shape = lambda size: jax.ShapeDtypeStruct((batch, size), jnp.float32)
    exported = jax.export.export(jax.jit(act), platforms=PLATFORMS)(
        shape(env.state_size), shape(env.goal_size)
    )
    replace_file(path, bytes(exported.serialize()))
    facts = (about or {}) | {
        "state_size": env.state_size,
        "goal_size": env.goal_size,
        "action_size": env.action_size,
        "action_range": [-1, 1],
        "platforms": PLATFORMS,
        "jax": jax.__version__,
        **(_numbers(env) if isinstance(env, AbstractMujocoEnv) else {}),
    }
    replace_file(description(path), json.dumps(facts, indent=2, default=str).encode())
    return path


def _numbers(env: AbstractMujocoEnv) -> dict[str, Any]:
    """What a program needs to feed the policy and to follow it."""
    state = [
        {"name": name, "numbers": part.indices, "unit": part.unit, "meaning": part.meaning}
        for name, part in parts(env.layout).items()
        if part.indices
    ]
    actions = (jnp.full(env.action_size, value) for value in (-1.0, 0.0, 1.0))
    ranges = zip(*(env.controls(action).tolist() for action in actions), strict=True)
    model = env.model
    controls = [
        {"actuator": model.actuator(index).name, "at_minus_1": low, "at_0": middle, "at_1": high}
        for index, (low, middle, high) in enumerate(ranges)
    ]
    return {
        "seconds_per_step": env.control_dt,
        "state": state,
        "achieved_goal": env.goal_indices,
        "controls": controls,
    }


def description(path: Path) -> Path:
    """The file beside an exported policy that describes its input and output."""
    return path.with_name(f"{path.name}.json")
