"""An ant pushes a block out of its way, and one of the two directions shuts it in."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._types import PRNGKey
from .._bodies._ant_body import AbstractAntTask, AntObjectState, RULES, TOUCHES_WALLS
from .._maze import Maze
from .._mj import linear_damping, MjSpec, mjtGeom, mjtJoint
from .._mujoco import Draw
from .._names import qpos_indices
from .._physics import PhysicsState
from .._scene import add_walls


# The block starts in the middle, between the start and both goals.
MAZE = Maze(("#####", "#R.##", "#..G#", "##G##", "#####"), scale=8.0, origin=(-8.0, -8.0))
HEIGHT = 3.6  # m
GOALS = ((16.0, 8.0), (8.0, 16.0))  # m; lowest x, y of the two goal regions
GOAL_SIZE = 2.0  # m
BLOCK_AT = (8.0, 8.0)  # m
HALF_SIZE = (3.6, 3.6, 1.8)  # m
BLOCK_MASS = 0.5  # kg
CORNER = 0.1  # m


class AntPush(AbstractAntTask):
    """An `AntBody` among walls, and a block, 7.2 m wide and 0.5 kg, that slides on the floor.

    **Start:** upright at the origin ± 0.1 m, joints and velocities perturbed, the block at (8, 8).
    **Goal:** x in [16, 18] m, y in [8, 10] m, or with x and y swapped, equally likely. An ant that
    pushes the block towards the goal finds the goal behind the block; one that pushes the block the
    other way can walk around it. **Ends** when the ant lies on its back. **Success:** torso closer
    than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics steps of 0.01 s per control step.

    The block never turns, and slides without friction but with a damping of 1 N s/m. Published
    versions keep one goal per environment for a whole run; here it is drawn at every reset.
    """

    def __init__(self, **robot: Any):
        super().__init__(RULES._replace(layout=AntObjectState(), maze=MAZE), _add_block, **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        start_key, region_key, place_key = jax.random.split(key, 3)
        region = jax.random.choice(region_key, jnp.asarray(GOALS))
        goal = region + jax.random.uniform(place_key, (2,), maxval=GOAL_SIZE)
        return Draw(*self.body.start(start_key, jnp.zeros(2)), goal)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        slid = physics_state.qpos[qpos_indices(self.model, "block_x", "block_y")]
        block = slid + np.asarray(BLOCK_AT, np.float32)
        return jnp.concatenate([self.body.observe(physics_state), block])


def _add_block(spec: MjSpec) -> None:
    """Adds the block and the walls.

    The block touches walls with balls at its corners. It never turns and is shorter than any wall,
    so a corner always touches first; and two boxes are what engines find hardest to keep apart.
    """
    block = spec.worldbody.add_body(name="block", pos=[*BLOCK_AT, HALF_SIZE[2]])
    for name, axis in (("block_x", [1, 0, 0]), ("block_y", [0, 1, 0])):
        slide = mjtJoint.mjJNT_SLIDE
        block.add_joint(name=name, type=slide, axis=axis, damping=linear_damping(1.0), armature=0)
    shape = dict(contype=0, conaffinity=0)
    box = mjtGeom.mjGEOM_BOX
    colour = [0.15, 0.4, 0.75, 1]
    block.add_geom(name="block", type=box, size=HALF_SIZE, mass=BLOCK_MASS, rgba=colour, **shape)
    for geom in TOUCHES_WALLS:
        spec.add_pair(geomname1=geom, geomname2="block")
    corners = []
    for x, y in itertools.product((-1, 1), repeat=2):
        corners.append(f"block_corner_{len(corners)}")
        place = [x * (HALF_SIZE[0] - CORNER), y * (HALF_SIZE[1] - CORNER), 0]
        ball = dict(name=corners[-1], pos=place, size=[CORNER, 0, 0], mass=0, rgba=colour)
        block.add_geom(type=mjtGeom.mjGEOM_SPHERE, **ball, **shape)
    add_walls(spec, MAZE, [*TOUCHES_WALLS, *corners], height=HEIGHT, friction=1.0)
