"""From names in a model to indices of its arrays."""

import numpy as np

from ._mj import MjModel, mjtJoint


# The length of a joint's piece of qpos and of qvel, by joint type.
_LENGTHS = {
    mjtJoint.mjJNT_FREE: (7, 6),
    mjtJoint.mjJNT_BALL: (4, 3),
    mjtJoint.mjJNT_SLIDE: (1, 1),
    mjtJoint.mjJNT_HINGE: (1, 1),
}


def qpos_indices(model: MjModel, *joints: str) -> np.ndarray:
    """Where in qpos the joints are, in the order of the names. **Raises:** `KeyError`."""
    return np.concatenate([_piece(model, joint, 0) for joint in joints])


def qvel_indices(model: MjModel, *joints: str) -> np.ndarray:
    """Where in qvel the joints are, in the order of the names. **Raises:** `KeyError`."""
    return np.concatenate([_piece(model, joint, 1) for joint in joints])


def sensor_indices(model: MjModel, *sensors: str) -> np.ndarray:
    """Where in sensordata the sensors are, in the order of the names. **Raises:** `KeyError`."""
    starts = [(model.sensor(name).adr[0], model.sensor(name).dim[0]) for name in sensors]
    return np.concatenate([np.arange(start, start + size) for start, size in starts])


def actuator_indices(model: MjModel, *actuators: str) -> np.ndarray:
    """Where in ctrl the actuators are, in the order of the names. **Raises:** `KeyError`."""
    return np.array([model.actuator(name).id for name in actuators])


def _piece(model: MjModel, name: str, which: int) -> np.ndarray:
    joint = model.joint(name)
    start = (joint.qposadr, joint.dofadr)[which][0]
    return np.arange(start, start + _LENGTHS[mjtJoint(joint.type[0])][which])
