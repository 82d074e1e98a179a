"""An arm takes a cube between its fingers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._types import Flag, Goal, PRNGKey, State
from .._bodies._arm_body import AbstractArmTask, add_cube, in_reach, OPEN, Square
from .._layout import Part
from .._mj import MjSpec
from .._mujoco import Draw, Rules
from .._physics import PhysicsState
from .._redraw import redraw
from .._scene import add_target


CUBES = Square(0.0, 0.6, 0.3)
OPENING = 0.075  # m, between the tips of fingers that hold the cube
TOLERANCES = {"": 0.02, "easy": 0.05, "hard": 0.005}  # m, of the opening


class ArmGraspState(NamedTuple):
    """The layout of the state."""

    cube: Part = Part(0, 3, "m", "x, y, z")
    joints: Part = Part(3, 10, "rad", "joint1 … joint7")
    end_effector: Part = Part(10, 13, "m", "x, y, z")
    end_effector_velocity: Part = Part(13, 16, "m/s")
    left_tip: Part = Part(16, 19, "m", "x, y, z")
    right_tip: Part = Part(19, 22, "m", "x, y, z")
    opening: Part = Part(22, 23, "m", "distance between the tips of the fingers")


LAYOUT = ArmGraspState()
RULES = Rules(
    LAYOUT,
    goal_indices=(*LAYOUT.left_tip.indices, *LAYOUT.right_tip.indices, *LAYOUT.opening.indices),
    threshold=0.05,  # for the cube's distance from the midpoint of the tips, not `distance`
    levels=(("easy", 0.15), ("hard", 0.02)),
    episode_length=150,
)


class ArmGrasp(AbstractArmTask):
    """An `ArmBody` and a cube on a table; the state is laid out in `ArmGraspState`.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise.

    **Start:** the arm within 0.05 rad of its rest, the cube 0.04 m above the table, at
    (0, 0.6) ± 0.3 m. **Goal:** the tips of the fingers at the cube's middle ± (0.0375, 0, 0) m,
    0.075 m apart; it follows the cube. **Success:** the midpoint of the tips closer than 0.05 m to
    the cube's middle (`easy`: 0.15 m, `hard`: 0.02 m), and the tips 0.075 m ± 0.02 m apart (`easy`:
    ± 0.05 m, `hard`: ± 0.005 m), whatever the direction; this does not depend on the commanded
    goal. **Time:** 5 physics steps of 0.01 s per control step.

    Cubes farther than 0.85 m from the base, where the gripper does not reach the table, are
    redrawn; published versions keep them, and so does `within_reach=False`. In published versions
    the servos settled at about half of the commanded angles; here they reach them.
    """

    def __init__(self, **arm: Any):
        super().__init__(RULES, _furnish, **arm)

    def draw(self, *, key: PRNGKey) -> Draw:
        arm_key, cube_key = jax.random.split(key)
        accepted = lambda xy: in_reach(xy) | (not self.within_reach)
        cube = redraw(cube_key, CUBES.draw, accepted)
        qpos, qvel = self.arm.start(arm_key, OPEN, cube)
        return Draw(qpos, qvel, _around(self.arm.cube(qpos)))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        arm = self.arm
        parts = (arm.joints, arm.end_effector, arm.tips)
        cube = arm.cube(physics_state.qpos)
        return jnp.concatenate([cube, *(part(physics_state) for part in parts)])

    def commanded(self, state: State, goal: Goal) -> Goal:
        del goal
        return _around(state[..., LAYOUT.cube.at])

    def success(self, state: State, goal: Goal) -> Flag:
        del goal
        return _grasped(state, self.threshold, TOLERANCES[""])

    def success_levels(self, state: State, goal: Goal) -> dict[str, Flag]:
        del goal
        return {name: _grasped(state, near, TOLERANCES[name]) for name, near in self.levels}

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        return state[..., LAYOUT.cube.at][..., :2]

    def target(self, goal: Goal) -> Float[Array, "*batch 3"]:
        return (goal[..., :3] + goal[..., 3:6]) / 2


def _around(cube: Float[Array, "*batch 3"]) -> Float[Array, "*batch 7"]:
    """The tips on both sides of the cube, and how far apart they are."""
    side = jnp.asarray([OPENING / 2, 0.0, 0.0])
    side = jnp.broadcast_to(side, cube.shape)
    opening = jnp.full((*cube.shape[:-1], 1), OPENING, cube.dtype)
    return jnp.concatenate([cube + side, cube - side, opening], axis=-1)


def _grasped(state: State, near: float, tolerance: float) -> Bool[Array, "*batch"]:
    middle = (state[..., LAYOUT.left_tip.at] + state[..., LAYOUT.right_tip.at]) / 2
    distance = jnp.linalg.norm(state[..., LAYOUT.cube.at] - middle, axis=-1)
    opening = state[..., LAYOUT.opening.start]
    return (distance < near) & (jnp.abs(opening - OPENING) < tolerance)


def _furnish(spec: MjSpec) -> None:
    add_cube(spec)
    add_target(spec, 0.015, [(OPENING / 2, 0.0, 0.0), (-OPENING / 2, 0.0, 0.0)])
