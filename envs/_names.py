"""From names in a model to indices of its arrays."""

import mujoco
import numpy as np


# The length of a joint's piece of qpos and of qvel, by joint type.
_LENGTHS = {
    mujoco.mjtJoint.mjJNT_FREE: (7, 6),
    mujoco.mjtJoint.mjJNT_BALL: (4, 3),
    mujoco.mjtJoint.mjJNT_SLIDE: (1, 1),
    mujoco.mjtJoint.mjJNT_HINGE: (1, 1),
}


def qpos_indices(model: mujoco.MjModel, *joints: str) -> np.ndarray:
    """Where in qpos the joints are, in the order of the names. **Raises** `KeyError`."""
    return np.concatenate([_piece(model, joint, 0) for joint in joints])


def qvel_indices(model: mujoco.MjModel, *joints: str) -> np.ndarray:
    """Where in qvel the joints are, in the order of the names. **Raises** `KeyError`."""
    return np.concatenate([_piece(model, joint, 1) for joint in joints])


def _piece(model: mujoco.MjModel, name: str, which: int) -> np.ndarray:
    joint = model.joint(name)
    start = (joint.qposadr, joint.dofadr)[which][0]
    return np.arange(start, start + _LENGTHS[mujoco.mjtJoint(joint.type[0])][which])
