"""An arm pushes a cube across a table to a point."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._types import PRNGKey
from .._bodies._arm_body import (
    AbstractArmTask,
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


class Push(NamedTuple):
    """Where the cube starts and where it is to end up."""

    start: Square
    goal: Square


PUSHES = {
    "easy": Push(start=Square(-0.1, 0.6, 0.1), goal=Square(0.1, 0.6, 0.1)),
    "hard": Push(start=Square(-0.25, 0.65, 0.25), goal=Square(0.25, 0.65, 0.25)),
}


class ArmPush(AbstractArmTask):
    """An `ArmBody` and a cube on a table; the state is laid out in `CubeState`.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise.

    **Start:** the arm within 0.05 rad of its rest, the cube 0.04 m above the table, at
    (-0.1, 0.6) ± 0.1 m (`hard`: (-0.25, 0.65) ± 0.25 m). **Goal:** the cube on the table, at
    (0.1, 0.6) ± 0.1 m (`hard`: (0.25, 0.65) ± 0.25 m). **Success:** the cube's middle closer than
    0.1 m in either task; laxer and stricter rules, `easy` (0.3 m) and `hard` (0.03 m), are reported
    beside it. **Time:** 5 physics steps of 0.01 s per control step.

    Starts and goals farther than 0.85 m from the base, where the gripper does not reach the
    table, are redrawn, and so are starts that succeed from the first moment; published versions
    keep both, and so does `within_reach=False`. In published versions the servos settled at about
    half of the commanded angles; here they reach them.
    """

    push: Push = eqx.field(static=True)

    def __init__(self, push: str, **arm: Any):
        """`push` is a key of `PUSHES`."""
        self.push = PUSHES[push]
        super().__init__(CUBE_RULES, _furnish, **arm)

    def draw(self, *, key: PRNGKey) -> Draw:
        arm_key, places_key = jax.random.split(key)
        start, goal = redraw(places_key, self._places, self._accepted)
        return Draw(*self.arm.start(arm_key, OPEN, start), jnp.append(goal, HALF))

    def _places(self, key: PRNGKey) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        start_key, goal_key = jax.random.split(key)
        return self.push.start.draw(start_key), self.push.goal.draw(goal_key)

    def _accepted(self, places: tuple[Float[Array, "2"], Float[Array, "2"]]) -> Bool[Array, ""]:
        start, goal = places
        far = jnp.linalg.norm(start - goal) > self.threshold
        return far & in_reach(start) & in_reach(goal) | (not self.within_reach)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        return self.arm.observe_cube(physics_state)


def _furnish(spec: MjSpec) -> None:
    add_cube(spec)
    add_target(spec, HALF)
