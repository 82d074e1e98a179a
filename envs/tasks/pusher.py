"""An arm pushes an object across a table to a point."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._types import Flag, PRNGKey
from .._layout import Part
from .._mujoco import AbstractMujocoEnv, Draw, Rules
from .._names import qpos_indices, qvel_indices, sensor_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._redraw import redraw
from .._scene import add_target, load_asset


CENTRE = (0.45, -0.05)  # m; starts and goals are relative to it
STARTS = ((-0.2, -0.3), (0.2, 0.0))  # m; lowest and highest x, y of the object
GOALS = {
    "easy": ((-0.2, -0.55), (0.2, -0.25)),
    "hard": ((-0.55, -0.65), (0.45, 0.35)),
}
THRESHOLDS = {"easy": 0.1, "hard": 0.05}  # m
APART = 0.17  # m
JOINTS = (
    *("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow_flex"),
    *("forearm_roll", "wrist_flex", "wrist_roll"),
)
OBJECT = ("object_x", "object_y")


class PusherState(NamedTuple):
    """The layout of the state."""

    joints: Part = Part(0, 7, "rad", "shoulder pan, lift, upper arm, elbow, forearm, wrist 2")
    tip: Part = Part(7, 10, "m", "x, y, z")
    object: Part = Part(10, 13, "m", "x, y, z")
    joint_velocities: Part = Part(13, 20, "rad/s", "in the order of joints")
    object_velocity: Part = Part(20, 20, "m/s", "along x and y")


LAYOUT = PusherState()
WITH_VELOCITY = LAYOUT._replace(object_velocity=Part(20, 22, "m/s", "along x and y"))


class Pusher(AbstractMujocoEnv):
    """A weightless 7-joint arm ends in a fork; an object as high as it is wide slides on the table.

    **Start:** the arm straight out, joint velocities U(±0.005); the object at (0.45, −0.05) +
    U(±0.2) along x and U(−0.3, 0) along y, at rest. **Goal:** for the object, relative to the
    same point: `easy` x U(±0.2), y U(−0.55, −0.25); `hard` x U(−0.55, 0.45), y U(−0.65, 0.35).
    Both are redrawn until they are at least 0.17 m apart. **Success:** object closer than 0.1 m
    (easy), 0.05 m (hard). **Time:** 5 physics steps of 0.01 s per control step.

    The published rule for objects too close to their goals throws them metres away; here they are
    redrawn. The published object is a cylinder; here it is a short upright capsule, which touches
    at a single point in both engines. As published, the object's velocity is not part of the state,
    unless `object_velocity=True`.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    level: Literal["easy", "hard"] = eqx.field(static=True)

    def __init__(
        self,
        level: Literal["easy", "hard"],
        *,
        episode_length: int = 100,
        object_velocity: bool = False,
        physics: str | None = None,
    ):
        """`object_velocity` appends the object's velocity to the state."""
        self.level = level
        layout = WITH_VELOCITY if object_velocity else LAYOUT
        self.rules = Rules(layout, LAYOUT.object.indices, THRESHOLDS[level], episode_length)
        spec = load_asset("pusher")
        add_target(spec, self.threshold / 2)
        self.physics = select_physics(physics, spec.compile(), substeps=5)

    def draw(self, *, key: PRNGKey) -> Draw:
        place_key, speed_key = jax.random.split(key)
        start, goal = redraw(place_key, self._places, _far_apart)
        qpos = jnp.zeros(self.model.nq).at[qpos_indices(self.model, *OBJECT)].set(start)
        speeds = jax.random.uniform(speed_key, (7,), minval=-0.005, maxval=0.005)
        qvel = jnp.zeros(self.model.nv).at[qvel_indices(self.model, *JOINTS)].set(speeds)
        return Draw(qpos, qvel, jnp.append(goal, self._height()))

    def observe(self, physics_state: PhysicsState) -> Float[Array, " state"]:
        qpos, qvel, model = physics_state.qpos, physics_state.qvel, self.model
        parts = [
            qpos[qpos_indices(model, *JOINTS)],
            physics_state.sensordata[sensor_indices(model, "tip")],
            qpos[qpos_indices(model, *OBJECT)],
            jnp.full((1,), self._height()),
            qvel[qvel_indices(model, *JOINTS)],
            qvel[qvel_indices(model, *OBJECT)],
        ]
        return jnp.concatenate(parts)[: self.state_size]

    def _places(self, key: PRNGKey) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        """Where the object starts, and where it is to go."""
        keys = jax.random.split(key)
        return _within(keys[0], STARTS), _within(keys[1], GOALS[self.level])

    def _height(self) -> float:
        return float(self.model.body("object").pos[2])


def _within(key: PRNGKey, corners: tuple[tuple[float, float], ...]) -> Float[Array, "2"]:
    low, high = np.asarray(corners, np.float32) + np.asarray(CENTRE, np.float32)
    return jax.random.uniform(key, (2,), minval=low, maxval=high)


def _far_apart(places: tuple[Float[Array, "2"], Float[Array, "2"]]) -> Flag:
    start, goal = places
    return jnp.linalg.norm(start - goal) >= APART
