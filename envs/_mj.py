"""The names of MuJoCo's compiled parts that the tasks use; type checkers cannot see into those."""

from typing import Any

import mujoco


_mujoco: Any = mujoco
mj_getState = _mujoco.mj_getState
mj_kinematics = _mujoco.mj_kinematics
MjData = _mujoco.MjData
MjModel = _mujoco.MjModel
MjSpec = _mujoco.MjSpec
get_mju_user_warning = _mujoco.get_mju_user_warning
mj_setConst = _mujoco.mj_setConst
mj_saveModel = _mujoco.mj_saveModel
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
set_mju_user_warning = _mujoco.set_mju_user_warning
