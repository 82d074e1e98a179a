"""What every task with a humanoid has in common: the body, its state and when it has fallen."""

from collections.abc import Callable
from typing import get_args, Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._errors import UserError
from ..._types import Flag, PRNGKey, State
from .._layout import Part
from .._mj import MjModel, MjSpec, mjtObj, mjtSensor
from .._mujoco import never, Rules, substeps
from .._names import qpos_indices, qvel_indices, sensor_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import add_target, load_asset
from ._body import AbstractWalk, AbstractWalkingBody


HumanoidTorque: TypeAlias = Literal["gym", "brax"]
"""Whose torques to use:

- `"gym"`: up to 40 N·m in the abdomen, 40/40/120 in the hips, 80 in the knees, 10 in the arms, as
    in Gymnasium's file.
- `"brax"`: 140 N·m in the abdomen, hips and knees, 40 in the arms, as in JaxGCRL and the 1000-layer
    paper. The links there have unit inertia; here they have their own.
"""

HumanoidEnds: TypeAlias = Literal["height", "never"]
"""What ends an episode early. `"height"`: the torso's height leaves [1 m, 2 m]. `"never"`:
nothing."""

SIDES = ("right", "left")
LEG = ("hip_x", "hip_z", "hip_y", "knee")
ARM = ("shoulder_1", "shoulder_2", "elbow")
JOINTS = (
    *(f"abdomen_{axis}" for axis in "zyx"),
    *(f"{side}_{joint}" for side in SIDES for joint in LEG),
    *(f"{side}_{joint}" for side in SIDES for joint in ARM),
)
BODIES = (
    *("torso", "lower_waist", "pelvis"),
    *(f"{side}_{part}" for side in SIDES for part in ("thigh", "shin")),
    *(f"{side}_{part}" for side in SIDES for part in ("upper_arm", "lower_arm")),
)
TOUCHES_WALLS = (
    *("torso", "head", "pelvis"),
    *(f"{side}_{part}" for side in SIDES for part in ("hand", "shin", "foot")),
)
TARGET_HEIGHT = 1.25  # m


class HumanoidState(NamedTuple):
    """The layout of the state."""

    position: Part = Part(0, 3, "m", "torso x, y, z")
    orientation: Part = Part(3, 7, "1", "torso, quaternion w, x, y, z")
    joints: Part = Part(7, 24, "rad", "abdomen z, y, x; right leg, left leg; right arm, left arm")
    velocity: Part = Part(24, 27, "m/s", "torso")
    angular_velocity: Part = Part(27, 30, "rad/s", "torso, in its own frame")
    joint_velocities: Part = Part(30, 47, "rad/s", "in the order of joints")
    body_inertias: Part = Part(
        47,
        157,
        "kg m², kg m, kg",
        "11 × (xx, yy, zz, xy, xz, yz, mass · offset, mass) about the centre of mass",
    )
    body_velocities: Part = Part(
        157, 223, "rad/s, m/s", "11 × (angular, linear at the centre of mass)"
    )
    forces: Part = Part(223, 246, "N, N m", "of the actuators: 6 zeros (root), then per joint")


LAYOUT = HumanoidState()
RULES = Rules(LAYOUT, LAYOUT.position.indices, 0.5, 1000, levels=(("easy", 2.0),))


class HumanoidBody(AbstractWalkingBody):
    """A humanoid in a model made from `humanoid_spec()`, whatever else the model holds.

    It is 1.5 m tall, and made of capsules and spheres, with 11 moving bodies (the feet belong to
    the shins, the hands to the lower arms) and 17 motors. Every part that can carry it touches the
    floor. The torso, head, pelvis, hands, shins and feet touch walls, if there are any. No part
    touches another.
    """

    model: MjModel = eqx.field(static=True)
    ends: HumanoidEnds = eqx.field(static=True, default="height")

    def start(
        self, key: PRNGKey, xy: Float[Array, "2"]
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """Stands straight at `xy`, torso at 1.4 m; U(±0.01) on all positions and velocities."""
        qpos_key, qvel_key = jax.random.split(key)
        upright = jnp.concatenate([xy, jnp.asarray([1.4, 1.0, 0.0, 0.0, 0.0]), self._straight()])
        noise = jax.random.uniform(qpos_key, (24,), minval=-0.01, maxval=0.01)
        qpos = upright + noise
        turn = qpos[3:7] / jnp.linalg.norm(qpos[3:7])
        qpos = jnp.zeros(self.model.nq).at[self._qpos()].set(qpos.at[3:7].set(turn))
        qvel = jax.random.uniform(qvel_key, (23,), minval=-0.01, maxval=0.01)
        return qpos, jnp.zeros(self.model.nv).at[self._qvel()].set(qvel)

    def observe(self, physics_state: PhysicsState) -> Float[Array, "246"]:
        """The numbers that `LAYOUT` describes."""
        inertias, velocities = self._about_the_centre_of_mass(physics_state)
        return jnp.concatenate(
            [
                physics_state.qpos[self._qpos()],
                physics_state.qvel[self._qvel()],
                inertias.ravel(),
                velocities.ravel(),
                jnp.zeros(6),
                self._sensed(physics_state, "force", JOINTS),
            ]
        )

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        """The torso's x, y."""
        return state[..., LAYOUT.position.at][..., :2]

    def fallen(self, state: State) -> Flag:
        """Whether the episode ends here, under the rule `ends`."""
        if self.ends == "never":
            return never(state)
        height = state[..., LAYOUT.position.at][..., 2]
        return (height < 1.0) | (height > 2.0)

    def _about_the_centre_of_mass(
        self, physics_state: PhysicsState
    ) -> tuple[Float[Array, "11 10"], Float[Array, "11 6"]]:
        """MuJoCo's `cinert` and `cvel` of every body, from sensors in the bodies' inertial frames.

        The rollout of MuJoCo's C engine does not return them, but both engines return sensors.
        If masses are randomized, those used here stay the plain model's: the agent does not learn
        which model it got.
        """
        sensed = lambda kind, n: self._sensed(physics_state, kind, BODIES).reshape(-1, n)
        centre = physics_state.sensordata[sensor_indices(self.model, "centre_of_mass")]
        offset = sensed("place", 3) - centre[None]
        mass = jnp.asarray(self._constants("mass"), jnp.float32)
        inertia = jnp.asarray(self._constants("inertia"), jnp.float32)
        frames = jax.vmap(_rotation)(sensed("turn", 4))
        turned = jnp.einsum("bij,bj,bkj->bik", frames, inertia, frames)
        square = jnp.sum(offset**2, axis=1)[:, None, None] * jnp.eye(3)[None]
        moved = turned + mass[:, None, None] * (square - offset[:, :, None] * offset[:, None, :])
        rows, columns = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])
        mass = mass[:, None]
        inertias = jnp.concatenate([moved[:, rows, columns], mass * offset, mass], axis=1)
        spin = sensed("spin", 3)
        velocities = jnp.concatenate([spin, sensed("speed", 3) - jnp.cross(spin, offset)], axis=1)
        return inertias, velocities

    def _sensed(
        self, physics_state: PhysicsState, kind: str, names: tuple[str, ...]
    ) -> Float[Array, " n"]:
        sensors = (f"{kind} of {name}" for name in names)
        return physics_state.sensordata[sensor_indices(self.model, *sensors)]

    def _constants(self, name: str) -> np.ndarray:
        rows = [getattr(self.model.body(body), name) for body in BODIES]
        return np.stack(rows).squeeze(-1) if name == "mass" else np.stack(rows)

    def _straight(self) -> Float[Array, "17"]:
        """All angles are zero, except at the knees, which cannot be fully straight."""
        ranges = np.stack([self.model.joint(joint).range for joint in JOINTS])
        return jnp.asarray(np.clip(0.0, ranges[:, 0] + 0.01, ranges[:, 1] - 0.01), jnp.float32)

    def _qpos(self) -> np.ndarray:
        return qpos_indices(self.model, "root", *JOINTS)

    def _qvel(self) -> np.ndarray:
        return qvel_indices(self.model, "root", *JOINTS)


class AbstractHumanoidTask(AbstractWalk):
    """A task with a humanoid, and the arguments that all such tasks take."""

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    body: HumanoidBody

    def __init__(
        self,
        rules: Rules,
        furnish: Callable[[MjSpec], None] = lambda spec: None,
        *,
        episode_length: int = RULES.episode_length,
        torque: HumanoidTorque = "gym",
        control_dt: float = 0.015,
        ends: HumanoidEnds = "height",
        physics: str | None = None,
    ):
        """`torque`, `control_dt` (s, a multiple of 0.005) and `ends` choose the robot: see
        `crl_eqx.envs.humanoid_robot`. A subclass adds the rest of the model with `furnish`."""
        self.rules = rules._replace(episode_length=episode_length)
        spec = humanoid_spec()
        add_target(spec, rules.threshold)
        furnish(spec)
        self.physics, self.body = humanoid_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )


def humanoid_spec() -> MjSpec:
    """The model from its file, with the sensors from which the state is made."""
    spec = load_asset("humanoid")
    kinds = {
        "place": mjtSensor.mjSENS_FRAMEPOS,
        "turn": mjtSensor.mjSENS_FRAMEQUAT,
        "spin": mjtSensor.mjSENS_FRAMEANGVEL,
        "speed": mjtSensor.mjSENS_FRAMELINVEL,
    }
    add = spec.add_sensor
    for kind, sensor in kinds.items():
        for body in BODIES:
            name = f"{kind} of {body}"
            add(name=name, type=sensor, objtype=mjtObj.mjOBJ_BODY, objname=body)
    for joint in JOINTS:
        sensor = mjtSensor.mjSENS_JOINTACTFRC
        add(name=f"force of {joint}", type=sensor, objtype=mjtObj.mjOBJ_JOINT, objname=joint)
    sensor = mjtSensor.mjSENS_SUBTREECOM
    add(name="centre_of_mass", type=sensor, objtype=mjtObj.mjOBJ_BODY, objname="torso")
    return spec


def humanoid_robot(
    spec: MjSpec,
    *,
    torque: HumanoidTorque,
    control_dt: float,
    ends: HumanoidEnds,
    physics: str | None,
) -> tuple[AbstractPhysics, HumanoidBody]:
    """The engine and the body for a model made from `humanoid_spec()`.

    **Arguments:**

    - `torque`: a `HumanoidTorque`.
    - `control_dt`: seconds, a multiple of 0.005.
    - `ends`: what ends an episode early.

    **Raises:** `UserError` for any other value.
    """
    for name, value, known in (
        ("torque", torque, get_args(HumanoidTorque)),
        ("ends", ends, get_args(HumanoidEnds)),
    ):
        if value not in known:
            raise UserError(f"`{name}={value!r}` must be one of {', '.join(known)}.")
    if torque == "brax":
        for actuator in spec.actuators:
            arm = "shoulder" in actuator.name or "elbow" in actuator.name
            actuator.gear[0] = 100.0 if arm else 350.0
    engine = select_physics(physics, spec.compile(), substeps(spec, control_dt))
    return engine, HumanoidBody(engine.model, ends)


def _rotation(quaternion: Float[Array, "4"]) -> Float[Array, "3 3"]:
    """The matrix of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    return jnp.stack(
        [
            jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            jnp.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )
