"""An arm carries a cube from one bin to another."""

from typing import NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float

from ..._types import Action, Flag, Goal, PRNGKey, State
from .._bodies._arm_body import add_bin, add_cube, ArmBody, CubeState, HALF, in_reach, OPEN, Square
from .._layout import Layout
from .._maze import Maze
from .._mujoco import AbstractMujocoEnv, Draw, never, with_height
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._redraw import redraw
from .._scene import add_target, load_asset


LAYOUT = CubeState()
GOAL = LAYOUT.cube.indices


class Bins(NamedTuple):
    """The insides of the two bins, and where in them the cube starts and shall be."""

    first: Square
    second: Square
    start: Square
    goal: Square


BINS = {
    "easy": Bins(
        first=Square(-0.17, 0.6, 0.135),
        second=Square(0.17, 0.6, 0.135),
        start=Square(-0.15, 0.6, 0.07),
        goal=Square(0.17, 0.6, 0.09),
    ),
    "hard": Bins(
        first=Square(-0.3, 0.6, 0.185),
        second=Square(0.3, 0.6, 0.185),
        start=Square(-0.3, 0.6, 0.15),
        goal=Square(0.3, 0.6, 0.15),
    ),
}


class ArmBinpick(AbstractMujocoEnv):
    """An `ArmBody`, a cube and two bins; the state is laid out in `CubeState`.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise. The bins' walls are 0.066 m high.

    **Start:** the arm within 0.05 rad of `START`, the cube 0.04 m above the table, in the first
    bin at (-0.15, 0.6) ± 0.07 m (`hard`: (-0.3, 0.6) ± 0.15 m). **Goal:** the cube on the table,
    in the second bin at (0.17, 0.6) ± 0.09 m (`hard`: (0.3, 0.6) ± 0.15 m). **Success:** the
    cube's middle closer than 0.1 m (`easy`: 0.3 m, `hard`: 0.03 m). **Time:** 5 physics steps of
    0.01 s per control step.

    Starts and goals farther than 0.85 m from the base, where the gripper does not reach the table,
    are drawn anew; published versions have them, and so has `within_reach=False`. There the servos
    settled at about half of the angles that were commanded; here they reach them.
    """

    physics: AbstractPhysics
    arm: ArmBody
    bins: Bins = eqx.field(static=True)
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
        bins: str,
        *,
        episode_length: int = 150,
        within_reach: bool = True,
        physics: str | None = None,
    ):
        """`bins` is a key of `BINS`; `within_reach=False` takes starts and goals as they come."""
        self.bins, self.within_reach = BINS[bins], within_reach
        self.episode_length = episode_length
        spec = load_asset("arm")
        add_cube(spec)
        add_bin(spec, "first_bin", self.bins.first, (0.25, 0.4, 0.7, 1.0))
        add_bin(spec, "second_bin", self.bins.second, (0.75, 0.4, 0.3, 1.0))
        add_target(spec, HALF)
        self.physics = select_physics(physics, spec.compile(), substeps=5)
        self.arm = ArmBody(self.physics.model)

    @property
    def action_size(self) -> int:
        return 5

    def draw(self, key: PRNGKey) -> Draw:
        arm_key, start_key, goal_key = jax.random.split(key, 3)
        start = redraw(start_key, self.bins.start.draw, self._accepted)
        goal = redraw(goal_key, self.bins.goal.draw, self._accepted)
        return Draw(*self.arm.start(arm_key, OPEN, start), with_height(goal, HALF))

    def _accepted(self, xy: Float[Array, "2"]) -> Bool[Array, ""]:
        return in_reach(xy) | (not self.within_reach)

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
