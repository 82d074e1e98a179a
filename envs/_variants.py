"""Copies of a MuJoCo model with other masses, friction and gains."""

import copy
from collections.abc import Callable

import numpy as np

from .._errors import UserError
from ._mj import mj_setConst, MjData, MjModel, mjtBias, mjtGain, mjtTrn


Range = tuple[float, float]
"""Lowest and highest factor."""

SAME: Range = (1.0, 1.0)

_SCALABLE_GAINS = {int(mjtGain.mjGAIN_FIXED), int(mjtGain.mjGAIN_AFFINE)}
_SCALABLE_BIASES = {int(mjtBias.mjBIAS_NONE), int(mjtBias.mjBIAS_AFFINE)}

_LIMITS = {
    int(mjtTrn.mjTRN_JOINT): "jnt",
    int(mjtTrn.mjTRN_JOINTINPARENT): "jnt",
    int(mjtTrn.mjTRN_TENDON): "tendon",
}
"""By an actuator's transmission, how MuJoCo calls what may limit its force."""

_FULL_NAMES = {"jnt": "joint", "tendon": "tendon"}


def make_variants(
    model: MjModel, masses: Range, friction: Range, gains: Range, count: int, seed: int
) -> list[MjModel]:
    """`count` variants; variant i is the same for every `count`.

    Each body has its own factor on mass and inertia. Each actuator has its own factor on its whole
    force, gain and bias alike, so that a position servo keeps its set point. Sliding friction has
    one factor for all geoms and contact pairs: MuJoCo takes the larger friction of two geoms, so
    only a common factor is also that of every contact.

    **Raises:** `UserError` if gains to scale are not plain numbers (a muscle's), several actuators
    share the limit of their joint or tendon, or no contact has a friction to scale.
    """
    if gains != SAME:
        _require_scalable_gains(model)
    if friction != SAME and not _has_friction(model):
        raise UserError("`friction`: nothing in this model slides with friction on anything else.")
    sequences = np.random.SeedSequence(seed).spawn(count)
    return [_variant(model, masses, friction, gains, _uniform(s)) for s in sequences]


Uniform = Callable[[Range, int], np.ndarray]


def _uniform(sequence: np.random.SeedSequence) -> Uniform:
    generator = np.random.default_rng(sequence)
    return lambda span, size: generator.uniform(*span, size)


def _variant(
    model: MjModel, masses: Range, friction: Range, gains: Range, uniform: Uniform
) -> MjModel:
    model = copy.copy(model)
    of_bodies, of_actuators = uniform(masses, model.nbody), uniform(gains, model.nu)
    (of_surfaces,) = uniform(friction, 1)
    model.body_mass[:] *= of_bodies
    model.body_inertia[:] *= of_bodies[:, None]
    model.geom_friction[:, 0] *= of_surfaces
    model.pair_friction[:, :2] *= of_surfaces  # two sliding directions
    model.actuator_gainprm[:] *= of_actuators[:, None]
    model.actuator_biasprm[:] *= of_actuators[:, None]
    model.actuator_forcerange[:] *= of_actuators[:, None]  # where a servo saturates
    for (kind, index), actuators in _shared_limits(model).items():  # where its joint's limit does
        getattr(model, f"{kind}_actfrcrange")[index] *= of_actuators[actuators[0]]
    mj_setConst(model, MjData(model))  # what the compiler derives from masses
    return model


def _require_scalable_gains(model: MjModel) -> None:
    for i in range(model.nu):
        gain, bias = int(model.actuator_gaintype[i]), int(model.actuator_biastype[i])
        if gain not in _SCALABLE_GAINS or bias not in _SCALABLE_BIASES:
            raise UserError(
                f"`gains`: the force of actuator {model.actuator(i).name!r} is not proportional to "
                f"its gains, unlike that of a <motor>, <position> or <velocity>."
            )
    for (kind, index), actuators in _shared_limits(model).items():
        if len(actuators) > 1:
            what = _FULL_NAMES[kind]
            raise UserError(
                f"`gains`: {what} {getattr(model, what)(index).name!r} limits the force of "
                f"{len(actuators)} actuators together (`actuatorfrcrange`), which cannot be scaled "
                f"apart."
            )


def _shared_limits(model: MjModel) -> dict[tuple[str, int], list[int]]:
    """The joints and tendons that limit the force of their actuators, and these."""
    found: dict[tuple[str, int], list[int]] = {}
    for i in range(model.nu):
        kind, index = _LIMITS.get(int(model.actuator_trntype[i])), int(model.actuator_trnid[i, 0])
        limited = getattr(model, f"{kind}_actfrclimited", None)  # of tendons in newer versions
        if kind is not None and limited is not None and limited[index]:
            found.setdefault((kind, index), []).append(i)
    return found


def _has_friction(model: MjModel) -> bool:
    """Whether two geoms that may touch slide with friction on each other."""
    if np.any(model.pair_dim >= 3):
        return True
    types, affinities = model.geom_contype, model.geom_conaffinity
    bodies, dims = model.body_weldid[model.geom_bodyid], model.geom_condim
    touch = types[:, None] & affinities != 0
    slide = np.maximum(dims[:, None], dims) >= 3
    return bool(np.any((touch | touch.T) & slide & (bodies[:, None] != bodies)))
