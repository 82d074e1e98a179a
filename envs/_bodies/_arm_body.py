"""What every task with an arm has in common: the arm, what it touches, and a cube."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._types import Action, PRNGKey
from .._layout import Part
from .._mj import MjModel, MjSpec, mjtGeom
from .._mujoco import AbstractMujocoEnv, control_ranges, Rules, spread
from .._names import actuator_indices, qpos_indices, sensor_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import load_asset
from ._body import AbstractBody


JOINTS = tuple(f"joint{number}" for number in range(1, 8))
DRIVEN = ("joint1", "joint2", "joint4", "joint6")
HELD = {"joint3": 0.0, "joint5": 0.0, "joint7": 1.4487}  # rad
FINGERS = ("left_finger", "right_finger")
START = (1.571, 0.742, 0.0, -1.571, 0.0, 3.054, 1.449)  # rad
OPEN = 0.04  # m, of each finger at the start

PADS = tuple(f"{side}_pad_{number}" for side in ("left", "right") for number in (1, 2, 3, 4))
HAND = ("hand_1", "hand_2", "hand_3")
TOUCHES_WALLS = ("wrist", "flange", *HAND, *(pad for pad in PADS if pad[-1] in "12"))

HALF = 0.03  # m, of the cube
REACH = 0.85  # m, from the base in the plane: the gripper reaches the cube this far out


class Square(NamedTuple):
    """A square on the table, along x and y."""

    x: float
    y: float
    half: float

    def draw(self, key: PRNGKey) -> Float[Array, "2"]:
        """A point in it, drawn uniformly."""
        offset = jax.random.uniform(key, (2,), minval=-self.half, maxval=self.half)
        return jnp.asarray([self.x, self.y]) + offset


class CubeState(NamedTuple):
    """The layout of the state of a task whose goal is a place for the cube."""

    cube: Part = Part(0, 3, "m", "x, y, z")
    joints: Part = Part(3, 10, "rad", "joint1 … joint7")
    end_effector: Part = Part(10, 13, "m", "x, y, z")
    end_effector_velocity: Part = Part(13, 16, "m/s")
    opening: Part = Part(16, 17, "m", "distance between the tips of the fingers")


CUBE_RULES = Rules(
    CubeState(),
    goal_indices=CubeState().cube.indices,
    threshold=0.1,
    levels=(("easy", 0.3), ("hard", 0.03)),
    episode_length=150,
)


class ArmBody(AbstractBody):
    """An arm in a model made from `assets/arm.xml`, whatever else the model holds.

    Link offsets, joint limits, masses and inertias are the Franka Panda's published ones; the
    shapes are ours. The base stands at the origin, on the table's plane z = 0. Gravity is
    compensated. Servos hold the commanded angles with up to 87 N m (12 N m from joint 5 on). The
    joints' damping is chosen to give the published speeds of 2.175 rad/s (2.61 rad/s) at full
    torque; abrupt commands exceed them. The fingers open by 0.05 m each.

    The end effector is the origin of link 7, 0.107 m from the hand; the tips are the middles of
    the fingers' pads, 0.21 m from it. The hand is turned on link 7 so that, at the angle at which
    joint 7 is held, the fingers close across the arm.
    """

    model: MjModel = eqx.field(static=True)

    def start(
        self, key: PRNGKey, fingers: float, cube: Float[Array, "2"] | None = None
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """At rest at `START` + U(±0.05) on the driven joints, the cube 0.04 m above the table."""
        qpos = jnp.zeros(self.model.nq)
        qpos = qpos.at[qpos_indices(self.model, *JOINTS)].set(jnp.asarray(START))
        noise = jax.random.uniform(key, (len(DRIVEN),), minval=-0.05, maxval=0.05)
        qpos = qpos.at[qpos_indices(self.model, *DRIVEN)].add(noise)
        qpos = qpos.at[qpos_indices(self.model, *FINGERS)].set(fingers)
        if cube is not None:
            pose = jnp.concatenate([cube, jnp.asarray([0.07, 1.0, 0.0, 0.0, 0.0])])
            qpos = qpos.at[qpos_indices(self.model, "cube")].set(pose)
        return qpos, jnp.zeros(self.model.nv)

    def controls(self, action: Action, closes: Bool[Array, ""]) -> Float[Array, " nu"]:
        """Angles for the driven joints, spread over their actuators' ranges; others are held."""
        low, high = control_ranges(self.model)
        driven = actuator_indices(self.model, *DRIVEN)
        fingers = actuator_indices(self.model, *FINGERS)
        held = actuator_indices(self.model, *HELD)
        ctrl = jnp.zeros(self.model.nu).at[held].set(jnp.asarray([*HELD.values()]))
        ctrl = ctrl.at[driven].set(spread(action, low[driven], high[driven]))
        return ctrl.at[fingers].set(jnp.where(closes, low[fingers], high[fingers]))

    def joints(self, physics_state: PhysicsState) -> Float[Array, "7"]:
        """rad, joint1 … joint7."""
        return physics_state.qpos[qpos_indices(self.model, *JOINTS)]

    def end_effector(self, physics_state: PhysicsState) -> Float[Array, "6"]:
        """x, y, z (m), then the velocity (m/s)."""
        return self._sensed(physics_state, "end_effector", "end_effector_velocity")

    def tips(self, physics_state: PhysicsState) -> Float[Array, "7"]:
        """x, y, z of the left tip, of the right tip, and the distance between them (m)."""
        tips = self._sensed(physics_state, "left_tip", "right_tip")
        return jnp.concatenate([tips, jnp.linalg.norm(tips[3:] - tips[:3], keepdims=True)])

    def cube(self, qpos: Float[Array, " nq"]) -> Float[Array, "3"]:
        """x, y, z (m)."""
        return qpos[qpos_indices(self.model, "cube")][:3]

    def observe_cube(self, physics_state: PhysicsState) -> Float[Array, "17"]:
        """The numbers that `CubeState` describes."""
        cube, joints = self.cube(physics_state.qpos), self.joints(physics_state)
        opening = self.tips(physics_state)[-1:]
        return jnp.concatenate([cube, joints, self.end_effector(physics_state), opening])

    def _sensed(self, physics_state: PhysicsState, *sensors: str) -> Float[Array, " n"]:
        return physics_state.sensordata[sensor_indices(self.model, *sensors)]


class AbstractArmTask(AbstractMujocoEnv):
    """A task with an arm, and the arguments that all such tasks take.

    The action is four angles, for joints 1, 2, 4 and 6, and a number that closes the gripper if it
    is positive and opens it otherwise.
    """

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    arm: ArmBody
    within_reach: bool = eqx.field(static=True)

    def __init__(
        self,
        rules: Rules,
        furnish: Callable[[MjSpec], None],
        *,
        episode_length: int = CUBE_RULES.episode_length,
        within_reach: bool = True,
        physics: str | None = None,
    ):
        """`within_reach=False` keeps starts and goals as they are drawn. A subclass adds the rest
        of the model with `furnish`."""
        self.rules = rules._replace(episode_length=episode_length)
        self.within_reach = within_reach
        spec = load_asset("arm")
        furnish(spec)
        self.physics = select_physics(physics, spec.compile(), substeps=5)
        self.arm = ArmBody(self.physics.model)

    @property
    def action_size(self) -> int:
        return len(DRIVEN) + 1

    def controls(self, action: Action) -> Float[Array, " nu"]:
        return self.arm.controls(action[:-1], closes=action[-1] > 0)


def in_reach(xy: Float[Array, "2"]) -> Bool[Array, ""]:
    """Whether the gripper can grasp a cube that lies there."""
    return jnp.linalg.norm(xy) < REACH


def add_cube(spec: MjSpec) -> None:
    """Adds a 0.216 kg cube on the joint `cube`; it touches the table, the fingers and the hand."""
    body = spec.worldbody.add_body(name="cube", pos=[0, 0.6, HALF])
    body.add_freejoint(name="cube")
    _add_box(body, "cube", [0, 0, 0], [HALF, HALF, HALF], [0.2, 0.5, 0.3, 1], mass=0.216)
    _add_pair(spec, "table", "cube", friction=0.5)
    for pad in PADS:
        _add_pair(spec, pad, "cube", friction=1.0)
    for geom in HAND:
        _add_pair(spec, geom, "cube", friction=0.3)


def add_bin(spec: MjSpec, name: str, inside: Square, rgba: tuple[float, ...]) -> None:
    """Adds four walls, 0.066 m high and 0.01 m thick, around a square; the table is the floor."""
    x, y, half = inside
    height, thickness = 0.033, 0.005  # halves
    out = half + thickness
    sides = [((out, 0), (thickness, half)), ((-out, 0), (thickness, half))]
    sides += [((0, out), (half + 2 * thickness, thickness))]
    sides += [((0, -out), (half + 2 * thickness, thickness))]
    for number, ((dx, dy), size) in enumerate(sides):
        wall = f"{name}_{number}"
        place = [x + dx, y + dy, height]
        _add_box(spec.worldbody, wall, place, [*size, height], list(rgba))
        _add_pair(spec, "cube", wall, friction=0.3)
        for geom in TOUCHES_WALLS:
            _add_pair(spec, geom, wall, friction=0.3)


def _add_box(body, name: str, pos, size, rgba, *, mass: float = 0.0) -> None:
    body.add_geom(
        name=name,
        type=mjtGeom.mjGEOM_BOX,
        pos=pos,
        size=size,
        rgba=rgba,
        mass=mass,
        contype=0,
        conaffinity=0,
    )


def _add_pair(spec: MjSpec, geom: str, other: str, friction: float) -> None:
    slide, spin, roll = friction, 0.005, 0.0001
    spec.add_pair(geomname1=geom, geomname2=other, friction=[slide, slide, spin, roll, roll])
