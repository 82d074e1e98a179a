"""An ant walks to a point on a circle around it."""

from typing import Any

import jax
import jax.numpy as jnp

from ..._types import PRNGKey
from .._bodies._ant_body import AbstractAntTask, RULES
from .._mujoco import Draw


RADIUS = 10.0  # m


class Ant(AbstractAntTask):
    """An `AntBody` on an endless floor; its state is laid out in `AntState`.

    **Start:** upright at the origin ± 0.1 m, joints and velocities perturbed. **Goal:** on the
    circle of radius 10 m around the origin, at a uniform angle. **Ends** when the ant lies on its
    back. **Success:** torso closer than 0.5 m (`easy`: 2 m) in the plane. **Time:** 10 physics
    steps of 0.01 s per control step.

    Published versions keep one start and one goal per environment for a whole run and carry the
    target as an extra body with joints; here both are drawn at every reset, and the target is only
    a marker in pictures.
    """

    def __init__(self, **robot: Any):
        super().__init__(RULES, **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        start_key, goal_key = jax.random.split(key)
        angle = jax.random.uniform(goal_key, maxval=2 * jnp.pi)
        goal = RADIUS * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        return Draw(*self.body.start(start_key, jnp.zeros(2)), goal)
