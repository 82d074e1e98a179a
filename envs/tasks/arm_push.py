"""An arm pushes a cube over a table to a point."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._types import Action, Flag, Goal, PRNGKey, State
from .._bodies._arm_body import add_cube, ArmBody, CubeState, HALF, in_reach, OPEN, Square
from .._layout import Layout
from .._maze import Maze
from .._mujoco import AbstractMujocoEnv, Draw, never, with_height
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._redraw import redraw
from .._scene import add_target, load_asset


LAYOUT = CubeState()
GOAL = LAYOUT.cube.indices


class Push(NamedTuple):
    """Where the cube starts and where it shall be."""

    start: Square
    goal: Square


PUSHES = {
    "easy": Push(start=Square(-0.1, 0.6, 0.1), goal=Square(0.1, 0.6, 0.1)),
    "hard": Push(start=Square(-0.25, 0.65, 0.25), goal=Square(0.25, 0.65, 0.25)),
}


class ArmPush(AbstractMujocoEnv):
    """An `ArmBody` and a cube on a table; the state is laid out in `CubeState`.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise.

    **Start:** the arm within 0.05 rad of `START`, the cube 0.04 m above the table, at
    (-0.1, 0.6) ± 0.1 m (`hard`: (-0.25, 0.65) ± 0.25 m). **Goal:** the cube on the table, at
    (0.1, 0.6) ± 0.1 m (`hard`: (0.25, 0.65) ± 0.25 m). **Success:** the cube's middle closer than
    0.1 m (`easy`: 0.3 m, `hard`: 0.03 m). **Time:** 5 physics steps of 0.01 s per control step.

    Starts and goals farther than 0.85 m from the base, where the gripper does not reach the
    table, are drawn anew, and so are starts with success from the first moment on; published
    versions have both, and so has `within_reach=False`. There the servos settled at about half of
    the angles that were commanded; here they reach them.
    """

    physics: AbstractPhysics
    arm: ArmBody
    push: Push = eqx.field(static=True)
    within_reach: bool = eqx.field(static=True)
    episode_length: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True, default=LAYOUT)
    goal_indices: tuple[int, ...] = eqx.field(static=True, default=GOAL)
    threshold: float = eqx.field(static=True, default=0.1)
    levels: tuple[tuple[str, float], ...] = eqx.field(
        static=True, default=(("easy", 0.3), ("hard", 0.03))
    )
    maze: Maze | None = eqx.field(static=True, default=None)

    def __init__(
        self,
        push: str,
        *,
        episode_length: int = 150,
        within_reach: bool = True,
        physics: str | None = None,
    ):
        """`push` is a key of `PUSHES`; `within_reach=False` takes starts and goals as they come."""
        self.push, self.within_reach = PUSHES[push], within_reach
        self.episode_length = episode_length
        spec = load_asset("arm")
        add_cube(spec)
        add_target(spec, HALF)
        self.physics = select_physics(physics, spec.compile(), substeps=5)
        self.arm = ArmBody(self.physics.model)

    @property
    def action_size(self) -> int:
        return 5

    def draw(self, key: PRNGKey) -> Draw:
        arm_key, places_key = jax.random.split(key)
        start, goal = redraw(places_key, self._places, self._accepted)
        return Draw(*self.arm.start(arm_key, OPEN, start), with_height(goal, HALF))

    def _places(self, key: PRNGKey) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        start_key, goal_key = jax.random.split(key)
        return self.push.start.draw(start_key), self.push.goal.draw(goal_key)

    def _accepted(self, places: tuple[Float[Array, "2"], Float[Array, "2"]]) -> Bool[Array, ""]:
        start, goal = places
        far = jnp.linalg.norm(start - goal) > self.threshold
        return far & in_reach(start) & in_reach(goal) | (not self.within_reach)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.arm.observe_cube(physics_state)

    def controls(self, action: Action) -> Float[Array, " nu"]:
        return self.arm.controls(action[:4], closes=action[4] > 0)

    def fallen(self, state: State) -> Flag:
        return never(state)

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return state[..., LAYOUT.cube.at][..., :2]

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return goal
