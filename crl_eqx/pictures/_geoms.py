"""Where the geoms of a MuJoCo model are, and what they look like from above."""

import itertools
from typing import Any

import mujoco as _mujoco
import numpy as np
from jaxtyping import Float


mujoco: Any = _mujoco  # type checkers cannot see into its compiled parts

_DIRECTIONS = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 73)[:-1]])


class Geoms:
    """The geoms that a viewer shows by default, without planes and what is invisible; if there are
    none of these, those of the groups that it hides."""

    def __init__(self, model):
        self._model, self._data = model, mujoco.MjData(model)
        plane = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        shown = ~plane & (model.geom_rgba[:, 3] > 0) & (model.body_mocapid[model.geom_bodyid] < 0)
        usual = shown & (model.geom_group < 3)
        shown = usual if usual.any() else shown
        self._ids = np.flatnonzero(shown)
        fixed = model.body_weldid[model.geom_bodyid[self._ids]] == 0
        self.fixed, self.moving = np.flatnonzero(fixed), np.flatnonzero(~fixed)
        self.radius: Float[np.ndarray, " geoms"] = model.geom_rbound[self._ids]
        self._outlines = [_outline(model, int(geom)) for geom in self._ids]

    def __len__(self) -> int:
        return len(self._ids)

    def poses(
        self, qpos: Float[np.ndarray, "frames nq"]
    ) -> tuple[Float[np.ndarray, "frames geoms 3"], Float[np.ndarray, "frames geoms 3 3"]]:
        """World positions and rotation matrices."""
        places = np.empty((len(qpos), len(self), 3))
        turns = np.empty((len(qpos), len(self), 3, 3))
        for frame, numbers in enumerate(qpos):
            self._data.qpos[:] = numbers
            mujoco.mj_kinematics(self._model, self._data)
            places[frame] = self._data.geom_xpos[self._ids]
            turns[frame] = self._data.geom_xmat[self._ids].reshape(-1, 3, 3)
        return places, turns

    def footprint(self, index: int | np.integer, place, turn) -> Float[np.ndarray, "corners 2"]:
        """The convex outline of a geom as seen from above."""
        points, radius = self._outlines[int(index)]
        plane = points @ turn[:2].T + place[:2]
        return plane[np.argmax(plane @ _DIRECTIONS.T, axis=0)] + radius * _DIRECTIONS

    def corners(self, index: int | np.integer, place, turn) -> Float[np.ndarray, "corners 3"]:
        """Points in the world whose hull holds the geom."""
        points, radius = self._outlines[int(index)]
        cube = radius * np.array(list(itertools.product((-1, 1), repeat=3)))
        return ((points @ turn.T)[:, None] + cube[None]).reshape(-1, 3) + place

    def colour(self, index: int | np.integer) -> tuple[int, int, int]:
        """RGB in 0..255; the material's, where the geom has one."""
        geom = self._ids[index]
        material = self._model.geom_matid[geom]
        rgba = self._model.mat_rgba[material] if material >= 0 else self._model.geom_rgba[geom]
        red, green, blue = (int(255 * value) for value in rgba[:3])
        return red, green, blue


def _outline(model, geom: int) -> tuple[Float[np.ndarray, "points 3"], float]:
    """Points in the geom's frame, and a radius around them, whose convex hull is the geom."""
    kind, size, types = model.geom_type[geom], model.geom_size[geom], mujoco.mjtGeom
    ring = np.pad(_DIRECTIONS, ((0, 0), (0, 1)))
    if kind == types.mjGEOM_SPHERE:
        return np.zeros((1, 3)), size[0]
    if kind == types.mjGEOM_CAPSULE:
        return np.array([[0, 0, size[1]], [0, 0, -size[1]]]), size[0]
    if kind == types.mjGEOM_CYLINDER:
        top = np.array([0, 0, size[1]])
        return np.concatenate([size[0] * ring + top, size[0] * ring - top]), 0.0
    if kind == types.mjGEOM_ELLIPSOID:
        heights = np.linspace(-1, 1, 9)[:, None, None]
        ball = np.sqrt(1 - heights**2) * ring + heights * np.array([0, 0, 1])
        return ball.reshape(-1, 3) * size, 0.0
    if kind == types.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        return model.mesh_vert[first : first + count], 0.0
    centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return centre + half * np.array(list(itertools.product((-1, 1), repeat=3))), 0.0


def goal_radius(model) -> float | None:
    """That of the mocap body `target`, in world units; None where the model has no such body."""
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "target")
    if body < 0 or model.body_mocapid[body] < 0:
        return None
    sizes = model.site_size[model.site_bodyid == body], model.geom_size[model.geom_bodyid == body]
    return float(np.max(np.concatenate(sizes)[:, 0], initial=0.0))
