"""What pictures are made of: episodes played to their end, and where things are in them."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from .._env import AbstractGoalEnv, EnvState
from .._evaluate import run_episodes
from .._rollout import Policy, start_episodes
from .._types import Goal, PRNGKey, State


@runtime_checkable
class Embodied(Protocol):
    """An environment that shows itself as a MuJoCo model, as all of `crl_eqx.envs` do."""

    @property
    def model(self) -> Any:
        """The `mujoco.MjModel`; its mocap body `target`, if there is one, shows the goal."""
        ...

    def qpos(self, env_state: EnvState) -> Float[Array, "*batch nq"]:
        """MuJoCo's positions."""
        ...

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        """World x, y, z of the goal."""
        ...


@dataclasses.dataclass(frozen=True)
class Record:
    """Episodes as NumPy arrays; the first axis counts moments, the second episodes."""

    state: Float[np.ndarray, "moments episodes state"]
    goal: Float[np.ndarray, "moments episodes goal"]
    position: Float[np.ndarray, "moments episodes 2"]
    goal_position: Float[np.ndarray, "moments episodes 2"]
    distance: Float[np.ndarray, "moments episodes"]
    success: Bool[np.ndarray, "moments episodes"]
    length: Int[np.ndarray, " episodes"]
    """Steps until an episode ended; afterwards it stands still."""
    qpos: Float[np.ndarray, "moments episodes nq"] | None
    target: Float[np.ndarray, "moments episodes 3"] | None

    @property
    def num_episodes(self) -> int:
        return len(self.length)

    @property
    def reached(self) -> Bool[np.ndarray, " episodes"]:
        """Which episodes succeeded after some step, as an evaluation counts."""
        return np.any(self.success[1:], axis=0)


def position(env: AbstractGoalEnv, state: State) -> Float[Array, "*batch 2"]:
    """World x, y: the environment's own `position`, else what its first two goal numbers say."""
    own = getattr(env, "position", None)
    return _planar(env.achieved_goal(state)) if own is None else own(state)


def maze_bounds(env: AbstractGoalEnv) -> Float[np.ndarray, "2 2"] | None:
    """Lowest and highest x, y of a maze with only a rim of its outer wall; None without one."""
    maze = getattr(env, "maze", None)
    if maze is None:
        return None
    first = np.array(maze.centre((0, 0)))
    last = np.array(maze.centre((len(maze.rows) - 1, len(maze.rows[0]) - 1)))
    rim = 0.25 * maze.scale
    return np.array([first + rim, last - rim])


def _planar(x: Float[Array, "*batch n"]) -> Float[Array, "*batch 2"]:
    missing = jnp.zeros((*x.shape[:-1], max(2 - x.shape[-1], 0)), x.dtype)
    return jnp.concatenate([x[..., :2], missing], axis=-1)


def _trace(env: AbstractGoalEnv, env_state: EnvState) -> dict[str, Shaped[Array, "episodes ..."]]:
    """What pictures need of one moment of many environments."""
    state, goal = env.true_state(env_state), env_state.goal
    one = dict(state=state, goal=goal, position=position(env, state))
    if isinstance(env, Embodied):
        one |= dict(qpos=env.qpos(env_state), target=env.target(goal))
        one["goal_position"] = one["target"][..., :2]
    else:
        one["goal_position"] = _planar(goal)
    one["distance"] = jax.vmap(env.distance)(state, goal)
    one["success"] = jax.vmap(env.success)(state, goal)
    return one


def record(policy: Policy, env: AbstractGoalEnv, num_episodes: int, *, key: PRNGKey) -> Record:
    """Plays `num_episodes` fresh episodes to their end."""

    def run(key):
        evaluation, moments = run_episodes(
            policy, env, num_episodes, trace=lambda env_state: _trace(env, env_state), key=key
        )
        return evaluation.per_episode["episode_length"], moments

    # The policy is a closure over an agent: its weights become arguments instead of constants
    # that the compiler would look at.
    length, moments = eqx.filter_jit(eqx.filter_closure_convert(run, key))(key)
    return _record(np.asarray(length, int), moments)


def first_moment(env: AbstractGoalEnv, *, key: PRNGKey) -> Record:
    """One episode of one moment: a fresh start."""

    @jax.jit
    def run(key):
        moment = _trace(env, start_episodes(env, 1, key=key).env_state)
        return jax.tree.map(lambda leaf: leaf[None], moment)

    return _record(np.zeros(1, int), run(key))


def _record(length: Int[np.ndarray, " episodes"], moments: dict[str, Any]) -> Record:
    moments = dict(qpos=None, target=None) | {
        name: np.asarray(values) for name, values in moments.items()
    }
    return Record(length=length, **moments)


def position_indices(env: AbstractGoalEnv, *, key: PRNGKey) -> tuple[int, int] | None:
    """Which two numbers of the state are the position, where they can be overwritten alone.

    They can be where `position` copies them out of the state and, in a MuJoCo model, they are
    coordinates of a joint (an ant's or a point's x and y; not the tip of an arm, which follows
    from the arm's angles). None otherwise.
    """

    @jax.jit
    def look(key):
        env_state = start_episodes(env, 8, key=key).env_state
        state = env.true_state(env_state)
        slopes = jax.vmap(jax.jacfwd(lambda state: position(env, state)))(state)
        joints = env.qpos(env_state) if isinstance(env, Embodied) else state
        return state, joints, slopes

    state, joints, slopes = map(np.asarray, look(key))
    first, second = np.argmax(slopes[0], axis=-1)
    copies = np.zeros_like(slopes)
    copies[:, 0, first] = copies[:, 1, second] = 1
    is_a_joint = lambda index: np.any(np.all(joints == state[:, index, None], axis=0))
    found = first != second and np.array_equal(slopes, copies)
    if not (found and is_a_joint(first) and is_a_joint(second)):
        return None
    return int(first), int(second)
