"""Draws a MuJoCo model with OpenGL, in its own process; not to be imported.

A graphics driver may crash, print, or refuse at exit: all that stays in here. Called with a folder
that holds `model.mjb` and `frames.npz`; writes frames as raw RGB to standard output.
"""

import os
import sys
from typing import Any

import mujoco as _mujoco
import numpy as np


mujoco: Any = _mujoco  # type checkers cannot see into its compiled parts

TRAIL = np.array([0.3, 0.55, 0.9, 1.0], np.float32)
REACHED = (0.18, 0.62, 0.27)


def main(folder: str) -> None:
    model = mujoco.MjModel.from_binary_path(os.path.join(folder, "model.mjb"))
    frames = dict(np.load(os.path.join(folder, "frames.npz")))
    width, height = (int(n) for n in frames["size"])
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    model.vis.quality.numslices, model.vis.quality.numstacks = 16, 8  # round enough, twice as fast
    _dim(model)
    target = _Target(model)
    data, camera = mujoco.MjData(model), mujoco.MjvCamera()
    renderer = mujoco.Renderer(model, height, width, max_geom=20_000)
    for frame in range(len(frames["qpos"])):
        data.qpos[:] = frames["qpos"][frame]
        target.show(data, frames["target"][frame], frames["success"][frame])
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        camera.lookat[:] = frames["camera"][frame, :3]
        camera.distance, camera.azimuth, camera.elevation = frames["camera"][frame, 3:]
        renderer.update_scene(data, camera)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0  # most of the time without a GPU
        way = frames["position"][frames["first"][frame] : frame + 1]
        _add_trail(renderer.scene, way, height=0.003 * camera.distance)
        sys.stdout.buffer.write(renderer.render().tobytes())
    sys.stdout.buffer.flush()


def _dim(model) -> None:
    """Keeps surfaces no brighter than their own colour: all lights together give at most 1."""
    head = model.vis.headlight
    ambient = float(np.max(head.ambient + model.light_ambient.sum(0)))
    diffuse = float(np.max(head.diffuse + model.light_diffuse.sum(0)))
    part = min(1.0, max(1.0 - ambient, 0.2) / max(diffuse, 1e-6))
    head.diffuse *= part
    model.light_diffuse *= part


def _add_trail(scene, way, height: float) -> None:
    """Lines just above the floor along the positions so far."""
    on_floor = np.pad(way, ((0, 0), (0, 1)), constant_values=height)
    for start, end in zip(on_floor[:-1], on_floor[1:], strict=True):
        if scene.ngeom == scene.maxgeom:
            return
        geom = scene.geoms[scene.ngeom]
        line = mujoco.mjtGeom.mjGEOM_LINE
        mujoco.mjv_initGeom(geom, line, np.zeros(3), np.zeros(3), np.eye(3).ravel(), TRAIL)
        mujoco.mjv_connector(geom, line, 3.0, start, end)  # 3 pixels wide
        geom.emission = 0.6
        scene.ngeom += 1


class _Target:
    """The body that shows the goal, if the model has one."""

    def __init__(self, model):
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "target")
        self._mocap = model.body_mocapid[body] if body >= 0 else -1
        parts = (model.site_rgba, model.site_bodyid), (model.geom_rgba, model.geom_bodyid)
        self._colours = [(rgba, owner == body, rgba.copy()) for rgba, owner in parts]

    def show(self, data, place, success) -> None:
        if self._mocap < 0:
            return
        data.mocap_pos[self._mocap] = place
        for rgba, mine, usual in self._colours:
            rgba[mine, :3] = REACHED if success else usual[mine, :3]


if __name__ == "__main__":
    main(sys.argv[1])
