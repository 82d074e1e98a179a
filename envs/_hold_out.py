"""Goals that training never commands, so that evaluation can tell seen from unseen ones."""

from typing import get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._checks import as_number, require_count, require_one_of
from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._fork import not_forked
from .._types import Goal, PRNGKey
from ._mujoco import AbstractMujocoEnv, Draw
from ._resample_goals import ResampledGoals
from ._wrapped import layers, require_still_goals, Wrapped, wrappers_key


Commands = Literal["seen", "unseen"]

REGIONS = 16
DRAWS = 4096
RAREST = 0.01  # a smaller share of goals is not searched for by redrawing


@not_forked
def hold_out(env: AbstractGoalEnv, share: float, *, seed: int = 0) -> "HoldOut":
    """`env` without about `share` of its goals.

    ```python
    seen = hold_out(make("ant_u_maze"), 0.25)  # for training
    unseen = seen.commanding("unseen")         # for evaluation
    ```

    The goals fall into up to 16 regions. If there are no more goals than that, as in most mazes,
    each goal is a region. Otherwise a region is made of the goals nearest to one of 16 goals that
    lie far apart; on a circle, the regions are arcs. `seed` draws the regions that are held out.
    Their share of goals is as close to `share` as whole regions allow, and is `HoldOut.share`.

    Only commands are held out. An agent may still pass through such a place and learn from it.

    **Raises:** `UserError` unless 0 < `share` < 1, or if `env` is not a MuJoCo task, has only one
    goal, or commands others on the way, as `resample_goals` does, and `arm_grasp`, whose goal
    follows the cube.
    """
    if not isinstance(env, AbstractMujocoEnv):
        raise UserError(
            f"`hold_out` needs a MuJoCo task, such as `make` and `MujocoGoalEnv` give, but got a "
            f"{type(env).__name__}."
        )
    require_count(seed, f"hold_out(seed={seed!r})", least=0, most=2**32 - 1)
    if not 0 < as_number(share) < 1:
        raise UserError(f"`share={share}` must lie between 0 and 1.")
    require_still_goals(env, "held out")
    if any(isinstance(layer, ResampledGoals) for layer in layers(env)):
        raise UserError(
            "`hold_out(resample_goals(env, ...), ...)` would not hold out the goals on the way: "
            "say `resample_goals(hold_out(env, ...), ...)`."
        )
    goals = _some_goals(env)
    anchors = _far_apart(goals)
    if len(anchors) < 2:
        raise UserError("There is a single goal in this task: none can be held out.")
    weights = np.bincount(_nearest(goals, anchors), minlength=len(anchors)) / len(goals)
    order = np.random.default_rng(seed).permutation(len(anchors))
    shares = np.cumsum(weights[order])[:-1]  # at least one region stays
    count = int(np.argmin(np.abs(shares - share))) + 1
    held = np.isin(np.arange(len(anchors)), order[:count])
    return HoldOut(env, jnp.asarray(anchors), jnp.asarray(held), float(shares[count - 1]))


class HoldOut(Wrapped):
    """A task that commands only some of its goals. Made by `hold_out`."""

    env: AbstractMujocoEnv
    """The task itself."""
    anchors: Float[Array, "regions goal"]
    """A goal's region is that of the nearest of these."""
    held: Bool[Array, " regions"]
    """Whether a region is held out."""
    share: float = eqx.field(static=True)
    """The share of the task's goals that is held out."""
    commands: Commands = eqx.field(static=True)

    def __init__(
        self,
        env: AbstractMujocoEnv,
        anchors: Float[Array, "regions goal"],
        held: Bool[Array, " regions"],
        share: float,
        commands: Commands = "seen",
    ):
        self.env, self.anchors, self.held = env, anchors, held
        self.share, self.commands = share, commands

    def commanding(self, commands: Commands, env: AbstractMujocoEnv | None = None) -> "HoldOut":
        """This task, or another with the same goal space, with only the `"seen"` goals, which are
        not held out, or only the `"unseen"` ones.

        **Raises:** `UserError` if the task has no such goal.
        """
        require_one_of(commands, get_args(Commands), f"HoldOut.commanding({commands!r})")
        new = HoldOut(env or self.env, self.anchors, self.held, self.share, commands)
        admitted = np.mean(new._admits(jnp.asarray(_some_goals(new.env))))
        if admitted < RAREST:
            kind = "not held out" if commands == "seen" else "held out"
            raise UserError(f"Next to none of this task's goals is {kind}: {admitted:.1%}.")
        return new

    def unseen(self, goal: Goal) -> Bool[Array, "*batch"]:
        """Whether a goal is held out. Acts on any leading axes."""
        region = lambda goal: jnp.argmin(jnp.linalg.norm(goal[None] - self.anchors, axis=-1))
        return self.held[jnp.vectorize(region, signature="(goal)->()")(goal)]

    def reset(self, *, key: PRNGKey) -> EnvState:
        return self.env.reset(key=self._admitted(key))

    def draw(self, *, key: PRNGKey) -> Draw:
        return self.env.draw(key=self._admitted(key))

    def _admits(self, goal: Goal) -> Bool[Array, "*batch"]:
        unseen = self.unseen(goal)
        return unseen if self.commands == "unseen" else ~unseen

    def _admitted(self, key: PRNGKey) -> PRNGKey:
        """The first key derived from `key` with which the task draws such a goal. So the task
        itself still begins its episodes."""
        admits = lambda key: self._admits(self.env.draw(key=key).goal)
        return jax.lax.while_loop(lambda key: ~admits(key), wrappers_key, key)


def _some_goals(env: AbstractMujocoEnv) -> Float[np.ndarray, "draws goal"]:
    """Goals, always drawn on a CPU, so that they are the same wherever a run is resumed."""
    with jax.default_device(jax.devices("cpu")[0]):
        keys = jax.random.split(jax.random.key(0), DRAWS)
        return np.asarray(jax.jit(jax.vmap(lambda key: env.draw(key=key).goal))(keys))


def _far_apart(goals: Float[np.ndarray, "draws goal"]) -> Float[np.ndarray, "regions goal"]:
    """Goals, each the farthest from all before it: `REGIONS` of them, or all if there are fewer."""
    distinct = np.unique(np.round(goals, 4), axis=0)
    found = [distinct[0]]
    nearest = np.full(len(distinct), np.inf)
    for _ in range(REGIONS - 1):
        nearest = np.minimum(nearest, np.linalg.norm(distinct - found[-1], axis=1))
        if nearest.max() < 1e-3:
            break
        found.append(distinct[nearest.argmax()])
    return np.stack(found)


def _nearest(goals: Float[np.ndarray, "draws goal"], anchors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(goals[:, None] - anchors, axis=-1).argmin(axis=1)
