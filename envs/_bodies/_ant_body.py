"""What every task with an ant has in common: the body, its state and when it has fallen."""

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
from .._mj import mj_setConst, MjData, MjModel, MjSpec
from .._mujoco import never, Rules, substeps
from .._names import qpos_indices, qvel_indices
from .._physics import AbstractPhysics, PhysicsState, select_physics
from .._scene import add_target, load_asset
from ._body import AbstractWalk, AbstractWalkingBody


AntTorque: TypeAlias = Literal["d4rl", "gym", "brax"]
"""Whose ant to use:

- `"d4rl"`: 30 N·m, acting for 0.1 s. Goal-reaching work in MuJoCo uses it (D4RL, HIRO, the
    original contrastive RL, OGBench).
- `"gym"`: 150 N·m, acting for 0.05 s. This presses a foot down with 30 times the ant's weight of
    9 N, so the ant leaps and turns over. It is Gymnasium's torque, and the number in Brax's file.
- `"brax"`: like `"gym"`, but with links of 1 kg and 1 kg m² each, which Brax's spring physics uses
    in place of the file's. This is the ant of JaxGCRL and of the 1000-layer paper, as closely as
    MuJoCo can match it.
"""

AntEnds: TypeAlias = Literal["flipped", "height", "never"]
"""What ends an episode early. `"flipped"`: the ant lies on its back, with the torso's own upward
axis below the horizon. `"height"`: the torso's height leaves [0.2 m, 1 m], as published (a leap
ends the episode, but an ant on its back, at 0.25 m, continues). `"never"`: nothing, as in D4RL."""


LEGS = (1, 2, 3, 4)
JOINTS = tuple(f"{joint}_{leg}" for leg in LEGS for joint in ("hip", "ankle"))
TOUCHES_WALLS = ("torso", *(f"{geom}_{leg}" for leg in LEGS for geom in ("stub", "foot")))


class AntState(NamedTuple):
    """The layout of the state."""

    position: Part = Part(0, 3, "m", "torso x, y, z")
    orientation: Part = Part(3, 7, "1", "torso, quaternion w, x, y, z")
    joints: Part = Part(7, 15, "rad", "hip_1, ankle_1 … hip_4, ankle_4")
    velocity: Part = Part(15, 18, "m/s", "torso")
    angular_velocity: Part = Part(18, 21, "rad/s", "torso, in its own frame")
    joint_velocities: Part = Part(21, 29, "rad/s", "in the order of joints")


LAYOUT = AntState()
RULES = Rules(
    LAYOUT,
    goal_indices=LAYOUT.position.indices[:2],
    threshold=0.5,
    levels=(("easy", 2.0),),
    episode_length=1000,
    mark_height=0.5,
)


class AntObjectState(NamedTuple):
    """The layout of the state of a task with an object: an `AntState`, then the object."""

    position: Part = LAYOUT.position
    orientation: Part = LAYOUT.orientation
    joints: Part = LAYOUT.joints
    velocity: Part = LAYOUT.velocity
    angular_velocity: Part = LAYOUT.angular_velocity
    joint_velocities: Part = LAYOUT.joint_velocities
    object: Part = Part(29, 31, "m", "x, y")
    object_velocity: Part = Part(31, 31, "m/s", "along x and y")


class AntBody(AbstractWalkingBody):
    """An ant in a model made from `assets/ant.xml`, whatever else the model holds.

    A torso of radius 0.25 m stands on four legs. Each leg is a fixed stub, a hip (±30°) and an
    ankle (30° to 70°, in the opposite direction on legs 2 and 3). The torso and the feet touch the
    floor. If there are walls, the torso, the feet and the stubs touch them.
    """

    model: MjModel = eqx.field(static=True)
    ends: AntEnds = eqx.field(static=True, default="flipped")

    def start(
        self, key: PRNGKey, xy: Float[Array, "2"]
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """Stands at `xy` + U(±0.1) with U(±0.1) on the joints and 0.1 · N(0, 1) on velocities."""
        xy_key, joint_key, velocity_key = jax.random.split(key, 3)
        xy = xy + jax.random.uniform(xy_key, (2,), minval=-0.1, maxval=0.1)
        bent = np.array([(0, -1 if leg in (2, 3) else 1) for leg in LEGS], np.float32).ravel()
        joints = bent + jax.random.uniform(joint_key, (8,), minval=-0.1, maxval=0.1)
        root = jnp.concatenate([xy, jnp.asarray([0.55, 1.0, 0.0, 0.0, 0.0])])
        qpos = jnp.zeros(self.model.nq).at[self._qpos()].set(jnp.concatenate([root, joints]))
        velocities = 0.1 * jax.random.normal(velocity_key, (14,))
        return qpos, jnp.zeros(self.model.nv).at[self._qvel()].set(velocities)

    def observe(self, physics_state: PhysicsState) -> Float[Array, "29"]:
        """The numbers that `LAYOUT` describes."""
        qpos, qvel = physics_state.qpos[self._qpos()], physics_state.qvel[self._qvel()]
        return jnp.concatenate([qpos, qvel])

    def position(self, state: State) -> Float[Array, "*batch 2"]:
        """The torso's x, y."""
        return state[..., LAYOUT.position.at][..., :2]

    def fallen(self, state: State) -> Flag:
        """Whether the episode ends here, under the rule `ends`."""
        if self.ends == "never":
            return never(state)
        if self.ends == "flipped":
            return flipped(state)
        height = state[..., LAYOUT.position.at][..., 2]
        return (height < 0.2) | (height > 1.0)

    def _qpos(self) -> np.ndarray:
        return qpos_indices(self.model, "root", *JOINTS)

    def _qvel(self) -> np.ndarray:
        return qvel_indices(self.model, "root", *JOINTS)


def flipped(state: State) -> Flag:
    """Whether the torso lies on its back: its own upward axis points below the horizon."""
    _, x, y, _ = jnp.moveaxis(state[..., LAYOUT.orientation.at], -1, 0)
    return x**2 + y**2 > 0.5  # the axis' height is 1 - 2 (x² + y²)


class AbstractAntTask(AbstractWalk):
    """A task with an ant, and the arguments that all such tasks take."""

    physics: AbstractPhysics
    rules: Rules = eqx.field(static=True)
    body: AntBody

    def __init__(
        self,
        rules: Rules,
        furnish: Callable[[MjSpec], None] = lambda spec: None,
        *,
        episode_length: int = RULES.episode_length,
        torque: AntTorque | float = "d4rl",
        control_dt: float | None = None,
        ends: AntEnds | None = None,
        physics: str | None = None,
    ):
        """`torque`, `control_dt` (s) and `ends` choose the robot: see `crl_eqx.envs.ant_robot`.
        A subclass adds the rest of the model with `furnish`."""
        self.rules = rules._replace(episode_length=episode_length)
        spec = load_asset("ant")
        add_target(spec, rules.threshold)
        furnish(spec)
        self.physics, self.body = ant_robot(
            spec, torque=torque, control_dt=control_dt, ends=ends, physics=physics
        )


class _Robot(NamedTuple):
    torque: float
    """N·m at every joint."""
    control_dt: float
    """Seconds per control step."""
    ends: AntEnds
    unit_links: bool = False


_ROBOTS: dict[AntTorque, _Robot] = {
    "d4rl": _Robot(30.0, 0.1, "flipped"),
    # These leap over the walls of a maze if no height limit ends the episode.
    "gym": _Robot(150.0, 0.05, "height"),
    "brax": _Robot(150.0, 0.05, "height", unit_links=True),
}


def ant_robot(
    spec: MjSpec,
    *,
    torque: AntTorque | float,
    control_dt: float | None,
    ends: AntEnds | None,
    physics: str | None,
) -> tuple[AbstractPhysics, AntBody]:
    """The engine and the body for a model made from `assets/ant.xml`.

    **Arguments:**

    - `torque`: an `AntTorque`, or the N·m of every joint on the `"d4rl"` robot.
    - `control_dt`: seconds, a multiple of 0.01; by default the robot's own.
    - `ends`: what ends an episode early; by default the robot's own, which is `"flipped"` for
        `"d4rl"` and `"height"` for the others.

    **Raises:** `UserError` for any other value.
    """
    robot = _robot(torque)
    ends = robot.ends if ends is None else ends
    if ends not in get_args(AntEnds):
        raise UserError(f"`ends={ends!r}` must be one of {', '.join(get_args(AntEnds))}.")
    steps = substeps(spec, robot.control_dt if control_dt is None else control_dt)
    for actuator in spec.actuators:
        actuator.gear[0] = robot.torque
    model = spec.compile()
    if robot.unit_links:
        _make_unit_links(model)
    engine = select_physics(physics, model, steps)
    return engine, AntBody(engine.model, ends)


def _robot(torque: AntTorque | float) -> _Robot:
    if isinstance(torque, str):
        if torque in _ROBOTS:
            return _ROBOTS[torque]
    elif not isinstance(torque, bool) and np.isfinite(torque) and torque > 0:
        return _ROBOTS["d4rl"]._replace(torque=float(torque))
    raise UserError(
        f"`torque={torque!r}` must be one of {', '.join(_ROBOTS)}, or a positive number of N m."
    )


def _make_unit_links(model: MjModel) -> None:
    """Gives each of the ant's moving bodies 1 kg, and 1 kg m² about each axis."""
    links = ["torso", *(f"{link}_{leg}" for leg in LEGS for link in ("leg", "foot"))]
    for link in links:
        model.body(link).mass[:] = 1.0
        model.body(link).inertia[:] = 1.0
    mj_setConst(model, MjData(model))  # what the compiler derives from masses
