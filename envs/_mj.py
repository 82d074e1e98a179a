"""The names that the tasks use from MuJoCo's compiled parts, which type checkers cannot read."""

from pathlib import Path
from typing import Any

import mujoco


_mujoco: Any = mujoco
mj_getState = _mujoco.mj_getState
mj_kinematics = _mujoco.mj_kinematics
MjData = _mujoco.MjData
MjModel = _mujoco.MjModel
MjSpec = _mujoco.MjSpec
get_mju_user_warning = _mujoco.get_mju_user_warning
mj_saveModel = _mujoco.mj_saveModel
mj_setConst = _mujoco.mj_setConst
mj_sizeModel = _mujoco.mj_sizeModel
mj_stateSize = _mujoco.mj_stateSize
mjtBias = _mujoco.mjtBias
mjtDisableBit = _mujoco.mjtDisableBit
mjtGain = _mujoco.mjtGain
mjtGeom = _mujoco.mjtGeom
mjtJoint = _mujoco.mjtJoint
mjtObj = _mujoco.mjtObj
mjtSensor = _mujoco.mjtSensor
mjtState = _mujoco.mjtState
mjtTrn = _mujoco.mjtTrn
set_mju_user_warning = _mujoco.set_mju_user_warning


def xml_dependencies(file: Path) -> list[Path]:
    """A model's file with its includes, meshes and images; only the file if it is not XML or cannot
    be read."""
    try:
        return [file, *map(Path, _mujoco.mju_getXMLDependencies(str(file)))]
    except (AttributeError, _mujoco.FatalError):  # before MuJoCo 3.3; and its own error
        return [file]


def linear_damping(strength: float) -> Any:
    """A joint's damping as `MjSpec` takes it: newer versions of MuJoCo want the three numbers of a
    polynomial, older ones a single number."""
    joint = MjSpec().worldbody.add_body().add_joint()
    return strength if isinstance(joint.damping, float) else [strength, 0, 0]
