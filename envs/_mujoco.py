"""What all MuJoCo tasks have in common."""

import abc
import hashlib
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._fork import not_forked
from .._types import Action, Flag, Goal, PRNGKey, State
from ._layout import Layout, Row, rows
from ._maze import Maze
from ._mj import MjModel, MjSpec
from ._physics import AbstractPhysics, PhysicsState


LONGEST = 10_000_000  # control steps of an episode: each has its own key in an evaluation


class Draw(NamedTuple):
    """How an episode begins."""

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    goal: Float[Array, " goal"]


class Rules(NamedTuple):
    """What the numbers of a task mean, and when it is done."""

    layout: Layout
    """What the numbers of the state are."""
    goal_indices: tuple[int, ...]
    """Which numbers of the state are the achieved goal."""
    threshold: float
    """The distance below which a goal is reached, in the goal's units."""
    episode_length: int
    """Control steps after which an episode ends."""
    levels: tuple[tuple[str, float], ...] = ()
    """Further thresholds by name."""
    mark_height: float = 0.0
    """m; the height at which pictures show a goal that has none."""
    maze: Maze | None = None
    """The walls, if there are any."""


class AbstractMujocoEnv(AbstractGoalEnv):
    """A goal environment on a MuJoCo model.

    Actions are clipped to [-1, 1], numbers that are not finite count as 0, and `controls` turns the
    result into the actuators' controls. Success is `distance(state, goal) < threshold`.
    A step whose physics fails keeps the physics from before the step, and ends the episode.
    """

    physics: eqx.AbstractVar[AbstractPhysics]
    rules: eqx.AbstractVar[Rules]

    @abc.abstractmethod
    def draw(self, *, key: PRNGKey) -> Draw:
        """A start and a goal, both fresh."""

    @abc.abstractmethod
    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        """What the agent perceives."""

    def fallen(self, state: State) -> Flag:
        """Whether this state ends the episode. Acts on any leading axes. By default none does."""
        return never(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        """World x, y of the agent, for pictures. Acts on any leading axes. By default that of the
        achieved goal."""
        return _padded(self.achieved_goal(state), 2)

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        """World x, y, z of the body `target`, for pictures. Acts on any leading axes. By default
        the goal itself."""
        xy_or_xyz = goal if goal.shape[-1] > 2 else _padded(goal, 2)
        height = jnp.full((*goal.shape[:-1], 1), self.rules.mark_height, goal.dtype)
        return jnp.concatenate([xy_or_xyz, height], axis=-1)[..., :3]

    @property
    def layout(self) -> Layout:
        return self.rules.layout

    @property
    def goal_indices(self) -> tuple[int, ...]:
        return self.rules.goal_indices

    @property
    def threshold(self) -> float:
        return self.rules.threshold

    @property
    def levels(self) -> tuple[tuple[str, float], ...]:
        return self.rules.levels

    @property
    def maze(self) -> Maze | None:
        return self.rules.maze

    @property
    def episode_length(self) -> int:
        return self.rules.episode_length

    @property
    def state_size(self) -> int:
        return self.layout[-1].stop

    @property
    def goal_size(self) -> int:
        return len(self.goal_indices)

    @property
    def action_size(self) -> int:
        return self.model.nu

    @property
    def model(self) -> MjModel:
        """The MuJoCo model, which shows the goal as the mocap body `target`."""
        return self.physics.model

    def describe_state(self) -> tuple[Row, ...]:
        """What the numbers of the state are, with a line for each part, for tables."""
        return rows(self.layout, self.goal_indices)

    @property
    def control_dt(self) -> float:
        """Seconds per step."""
        return self.physics.control_dt

    def qpos(self, env_state: EnvState) -> Float[Array, "*batch nq"]:
        """MuJoCo's positions, for pictures. Acts on any leading axes."""
        return env_state.physics.qpos

    @not_forked
    def reset(self, *, key: PRNGKey) -> EnvState:
        qpos, qvel, goal = self.draw(key=key)
        physics_state = self.physics.init(qpos, qvel)
        return EnvState(physics_state, self.observe(physics_state), goal)

    @not_forked
    def step(self, env_state: EnvState, action: Action) -> EnvState:
        action = jnp.clip(jnp.where(jnp.isfinite(action), action, 0.0), -1.0, 1.0)
        ctrl = self.controls(action)
        physics_state, failed = self.physics.advance(env_state.physics, ctrl)
        state = self.observe(physics_state)
        terminated = failed | self.fallen(state)
        goal = self.commanded(state, env_state.goal)
        return EnvState(physics_state, state, goal, terminated, failed)

    def controls(self, action: Action) -> Float[Array, " nu"]:
        """MuJoCo's controls for an action in [-1, 1], spread over each actuator's range."""
        low, high = control_ranges(self.model)
        return spread(action, low, high)

    def commanded(self, state: State, goal: Goal) -> Goal:
        """The goal from `state` on. It stays the same, unless it follows an object."""
        del state
        return goal

    def achieved_goal(self, state: State) -> Goal:
        return state[..., np.asarray(self.goal_indices)]

    def success(self, state: State, goal: Goal) -> Flag:
        return self.distance(state, goal) < self.threshold

    def success_levels(self, state: State, goal: Goal) -> dict[str, Flag]:
        distance = self.distance(state, goal)
        return {name: distance < threshold for name, threshold in self.levels}


def model_checksum(model: MjModel) -> str:
    """SHA-256 of what a compiled model computes with: all its numbers and names, and those of
    included files, but not their paths."""
    digest = hashlib.sha256()
    for part in (model, model.opt, model.stat):
        for name in dir(part):
            if name.startswith("_") or "path" in name or name == "nbuffer":
                continue
            value = getattr(part, name)
            if isinstance(value, np.ndarray):
                digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
            elif isinstance(value, int | float | bytes):
                digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()


def never(state: State) -> Bool[Array, "*batch"]:
    """The rule of a task in which nothing can fall."""
    return jnp.zeros(state.shape[:-1], bool)


def substeps(spec: MjSpec, control_dt: float) -> int:
    """Physics steps per control step. **Raises:** `UserError` unless it is a whole number."""
    timestep = spec.option.timestep
    steps = round(control_dt / timestep) if 0 < control_dt < 1e6 else 0
    if steps < 1 or not np.isclose(steps * timestep, control_dt):
        raise UserError(
            f"`control_dt={control_dt}` must be a multiple of {timestep:g} s, the physics step."
        )
    return steps


def _padded(x: Float[Array, "*batch n"], size: int) -> Float[Array, "*batch size"]:
    """The first `size` numbers; zeros where there are fewer."""
    missing = max(size - x.shape[-1], 0)
    return jnp.concatenate([x, jnp.zeros((*x.shape[:-1], missing), x.dtype)], axis=-1)[..., :size]


def control_ranges(model: MjModel) -> tuple[Float[Array, " nu"], Float[Array, " nu"]]:
    """The lowest and the highest control of each actuator; -1 and 1 where it has no range."""
    ranges = model.actuator_ctrlrange.astype("float32")
    limited = model.actuator_ctrllimited.astype(bool)
    return jnp.where(limited, ranges[:, 0], -1.0), jnp.where(limited, ranges[:, 1], 1.0)


def spread(
    action: Float[Array, " n"], low: Float[Array, " n"], high: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Maps the range from -1 to 1 to that from `low` to `high`."""
    return (low + high) / 2 + action * (high - low) / 2
