"""An arm carries a cube from one bin to another."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._types import PRNGKey
from .._bodies._arm_body import (
    AbstractArmTask,
    add_bin,
    add_cube,
    CUBE_RULES,
    HALF,
    in_reach,
    OPEN,
    Square,
)
from .._mj import MjSpec
from .._mujoco import Draw
from .._physics import PhysicsState
from .._redraw import redraw
from .._scene import add_target


class Bins(NamedTuple):
    """The insides of the two bins, and where in them the cube starts and is to end up."""

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


class ArmBinpick(AbstractArmTask):
    """An `ArmBody`, a cube and two bins; the state is laid out in `CubeState`.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise. The bins' walls are 0.066 m high.

    **Start:** the arm within 0.05 rad of its rest, the cube 0.04 m above the table, in the first
    bin at (-0.15, 0.6) ± 0.07 m (`hard`: (-0.3, 0.6) ± 0.15 m). **Goal:** the cube on the table,
    in the second bin at (0.17, 0.6) ± 0.09 m (`hard`: (0.3, 0.6) ± 0.15 m). **Success:** the
    cube's middle closer than 0.1 m in either task; laxer and stricter rules, `easy` (0.3 m) and
    `hard` (0.03 m), are reported beside it. **Time:** 5 physics steps of 0.01 s per control step.

    Starts and goals farther than 0.85 m from the base, where the gripper does not reach the table,
    are redrawn; published versions keep them, and so does `within_reach=False`. In published
    versions the servos settled at about half of the commanded angles; here they reach them.
    """

    bins: Bins = eqx.field(static=True)

    def __init__(self, bins: str, **arm: Any):
        """`bins` is a key of `BINS`."""
        self.bins = BINS[bins]
        super().__init__(CUBE_RULES, self._furnish, **arm)

    def draw(self, *, key: PRNGKey) -> Draw:
        arm_key, start_key, goal_key = jax.random.split(key, 3)
        start = redraw(start_key, self.bins.start.draw, self._accepted)
        goal = redraw(goal_key, self.bins.goal.draw, self._accepted)
        return Draw(*self.arm.start(arm_key, OPEN, start), jnp.append(goal, HALF))

    def _accepted(self, xy: Float[Array, "2"]) -> Bool[Array, ""]:
        return in_reach(xy) | (not self.within_reach)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.arm.observe_cube(physics_state)

    def _furnish(self, spec: MjSpec) -> None:
        add_cube(spec)
        add_bin(spec, "first_bin", self.bins.first, (0.25, 0.4, 0.7, 1.0))
        add_bin(spec, "second_bin", self.bins.second, (0.75, 0.4, 0.3, 1.0))
        add_target(spec, HALF)
