"""A humanoid walks to a point nearby."""

from typing import Any

import jax
import jax.numpy as jnp

from ..._types import PRNGKey
from .._bodies._humanoid_body import AbstractHumanoidTask, RULES, TARGET_HEIGHT
from .._mujoco import Draw


NEAR, FAR = 1.0, 5.0  # m


class Humanoid(AbstractHumanoidTask):
    """A `HumanoidBody` on an endless floor; its state is laid out in `HumanoidState`.

    **Start:** standing straight at the origin, all positions and velocities perturbed by U(±0.01).
    **Goal:** at a distance U(1, 5) m from the origin, at a uniform angle, 1.25 m high. **Ends**
    when the torso's height leaves [1 m, 2 m]. **Success:** torso closer than 0.5 m (`easy`: 2 m),
    height included. **Time:** 3 physics steps of 0.005 s per control step.

    In published versions the state has 268 numbers, including those of the target's body, and so
    the goal; here it has 246, without them. The paper's control step took 0.03 s, while the
    benchmark's took 0.015 s; `control_dt=0.03` gives the paper's.
    """

    def __init__(self, **robot: Any):
        super().__init__(RULES, **robot)

    def draw(self, *, key: PRNGKey) -> Draw:
        start_key, distance_key, angle_key = jax.random.split(key, 3)
        distance = jax.random.uniform(distance_key, minval=NEAR, maxval=FAR)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        xy = distance * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        start = self.body.start(start_key, jnp.zeros(2))
        return Draw(*start, jnp.append(xy, TARGET_HEIGHT))
