"""An arm brings its end to a point."""

import functools
import itertools
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._types import Action, PRNGKey
from .._bodies._arm_body import AbstractArmTask, CUBE_RULES, DRIVEN, JOINTS, START, TOUCHES_WALLS
from .._layout import Part
from .._mj import mj_kinematics, MjData, MjModel
from .._mujoco import Draw
from .._names import actuator_indices, qpos_indices
from .._physics import PhysicsState
from .._redraw import redraw
from .._scene import add_target


CENTRE = (0.0, 0.5, 0.3)  # m
HALF = 0.2  # m
CELL = 0.015  # m


class ArmReachState(NamedTuple):
    """The layout of the state."""

    joints: Part = Part(0, 7, "rad", "joint1 … joint7")
    end_effector: Part = Part(7, 10, "m", "x, y, z")
    end_effector_velocity: Part = Part(10, 13, "m/s")


LAYOUT = ArmReachState()
RULES = CUBE_RULES._replace(layout=LAYOUT, goal_indices=LAYOUT.end_effector.indices)

Cells: TypeAlias = tuple[tuple[bool, ...], ...]


class ArmReach(AbstractArmTask):
    """An `ArmBody` with closed fingers on a table; the state is laid out in `ArmReachState`.

    The action is four angles, for joints 1, 2, 4 and 6.

    **Start:** within 0.05 rad of its rest. **Goal:** for the end effector, in the box
    (0, 0.5, 0.3) ± 0.2 m, where the four joints can bring it within 0.02 m of the goal without
    touching the table. **Success:** closer than 0.1 m (`easy`: 0.3 m, `hard`: 0.03 m). **Time:** 5
    physics steps of 0.01 s per control step.

    Published versions draw goals from the whole box, a fifth of which is out of reach: high up
    near the base, and low down. `within_reach=False` does the same. In published versions the
    servos settled at about half of the commanded angles; here they reach them.
    """

    _reached: Cells = eqx.field(static=True)

    def __init__(self, **arm: Any):
        mark = functools.partial(add_target, radius=RULES.threshold / 3)
        super().__init__(RULES, mark, **arm)
        self._reached = _reached(self.model)

    @property
    def action_size(self) -> int:
        return len(DRIVEN)

    def draw(self, *, key: PRNGKey) -> Draw:
        arm_key, goal_key = jax.random.split(key)
        return Draw(*self.arm.start(arm_key, fingers=0.0), redraw(goal_key, _goal, self._accepted))

    def _accepted(self, goal: Float[Array, "3"]) -> Bool[Array, ""]:
        radius, height = jnp.linalg.norm(goal[:2]), goal[2]
        row, column = (jnp.floor(x / CELL).astype(int) for x in (radius, height))
        return jnp.asarray(self._reached)[row, column] | (not self.within_reach)

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        parts = self.arm.joints(physics_state), self.arm.end_effector(physics_state)
        return jnp.concatenate(parts)

    def controls(self, action: Action) -> Float[Array, " nu"]:
        return self.arm.controls(action, closes=jnp.asarray(True))


def _goal(key: PRNGKey) -> Float[Array, "3"]:
    return jnp.asarray(CENTRE) + jax.random.uniform(key, (3,), minval=-HALF, maxval=HALF)


def _reached(model: MjModel) -> Cells:
    """Which cells the end effector reaches, by distance from the base and by height.

    Found by a search over the three joints that move it in the arm's plane. Poses that would touch
    the table do not count.
    """
    data, cells = MjData(model), np.zeros((80, 80), bool)
    data.qpos[qpos_indices(model, *JOINTS)] = START
    places = qpos_indices(model, *DRIVEN[1:])
    ranges = model.actuator_ctrlrange[actuator_indices(model, *DRIVEN[1:])]
    angles = [
        np.linspace(low, high, n) for (low, high), n in zip(ranges, (30, 40, 20), strict=True)
    ]
    geoms = [model.geom(name).id for name in TOUCHES_WALLS]
    site = model.site("end_effector").id
    for pose in itertools.product(*angles):
        data.qpos[places] = pose
        mj_kinematics(model, data)
        if (data.geom_xpos[geoms, 2] > model.geom_size[geoms, 0]).all():
            x, y, z = data.site_xpos[site]
            cells[int(np.hypot(x, y) / CELL), int(z / CELL)] = True
    return tuple(tuple(row) for row in cells.tolist())
