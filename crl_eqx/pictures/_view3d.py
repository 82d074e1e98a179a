"""Draws scenes with MuJoCo's own renderer, where OpenGL works."""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from ._clips import Clip
from ._geoms import Geoms, mujoco


_MARGIN = 1.06


class NoOpenGLError(RuntimeError):
    """OpenGL cannot be used here; the message says in one sentence how to get it."""


def _backends() -> list[str]:
    """Values of MUJOCO_GL to try; what the user has set is an order."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return [chosen]
    if sys.platform != "linux":
        return [""]
    screen = ["glfw"] if os.environ.get("DISPLAY") else []
    return ["egl", "osmesa", *screen]


def _excuse() -> str:
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return f"3-D needs OpenGL, which MUJOCO_GL={chosen} does not give here: unset it."
    return "3-D needs OpenGL: on Debian and Ubuntu `apt-get install libosmesa6` brings it."


def draw_model(
    clips: Sequence[Clip],
    model,
    geoms: Geoms,
    size: tuple[int, int],
    *,
    bounds: Float[np.ndarray, "2 2"] | None,
    goal_radius: float | None,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """A MuJoCo model, clip after clip, each with a camera that sees all of it.

    The camera looks where the model says, `<visual><global azimuth="90" elevation="-60"/>`.
    `bounds` are the lowest and highest x, y to be seen; None shows everything. `goal_radius` is in
    world units; None where the model does not show the goal.

    **Raises:** `NoOpenGLError` where the model cannot be drawn.
    """
    with tempfile.TemporaryDirectory() as folder:
        mujoco.mj_saveModel(model, str(Path(folder) / "model.mjb"), None)
        arrays = _frames(clips, model, geoms, size, bounds, goal_radius)
        np.savez(Path(folder) / "frames.npz", allow_pickle=False, **arrays)
        count = sum(map(len, clips))
        for backend in _backends():
            done = 0
            for picture in _stream(folder, backend, size):
                done += 1
                yield picture
            if done == count:
                return
            if done:
                break  # it began and broke off: the frames so far are of no use
    raise NoOpenGLError(_excuse())


def _frames(clips: Sequence[Clip], model, geoms: Geoms, size: tuple[int, int], bounds, goal_radius):
    """What the worker needs, as arrays whose first axis counts frames."""
    firsts = np.cumsum([0, *map(len, clips)])
    aspect = size[0] / size[1]
    tangent = np.tan(np.radians(model.vis.global_.fovy) / 2) / _MARGIN
    tangents = np.array([tangent * aspect, tangent])
    angles = model.vis.global_.azimuth, model.vis.global_.elevation
    points = (_points(clip, geoms, bounds, goal_radius) for clip in clips)
    cameras = [_fit(seen, tangents, *angles) for seen in points]
    each = lambda values: np.concatenate([values(clip) for clip in clips])
    spread = lambda rows: np.repeat(rows, list(map(len, clips)), axis=0)
    return dict(
        size=np.array(size),
        qpos=each(lambda clip: clip.qpos),
        target=each(lambda clip: clip.target),
        position=each(lambda clip: clip.position),
        success=each(lambda clip: clip.success),
        first=spread(firsts[:-1]),
        camera=spread(np.stack(cameras)),
    )


def _stream(
    folder: str, backend: str, size: tuple[int, int]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The frames of a worker, until it is done or fails."""
    environment = {name: v for name, v in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    environment["MUJOCO_GL"] = backend
    # -P keeps this folder's modules out of the worker's way.
    command = [sys.executable, "-P", str(Path(__file__).with_name("_gl_worker.py")), folder]
    width, height = size
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        assert worker.stdout is not None
        try:
            while len(raw := worker.stdout.read(height * width * 3)) == height * width * 3:
                yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)
        finally:
            worker.kill()  # nobody waits for a driver that does not come to its end


def _points(clip: Clip, geoms: Geoms, bounds, goal_radius) -> Float[np.ndarray, "points 3"]:
    """All that the camera must see."""
    assert clip.qpos is not None and clip.target is not None
    places, turns = geoms.poses(clip.qpos)
    moving, reach = places[:, geoms.moving], geoms.radius[geoms.moving, None]
    parts = [moving - reach, moving + reach]
    if goal_radius is not None:
        parts += [clip.target - goal_radius, clip.target + goal_radius]
    if bounds is None:
        parts += [geoms.corners(i, places[0, i], turns[0, i]) for i in geoms.fixed]
    else:
        parts.append(np.array([(*corner, 0.0) for corner in itertools.product(*bounds.T)]))
    return np.concatenate([part.reshape(-1, 3) for part in parts])


def _fit(
    points: Float[np.ndarray, "points 3"],
    tangents: Float[np.ndarray, "2"],
    azimuth: float,
    elevation: float,
) -> Float[np.ndarray, "6"]:
    """The camera that has all points within its view: look-at point, distance, azimuth, elevation.

    `tangents` are those of half the view's angles, across and upright; azimuth 90° has x to the
    right and y away from us, as on a map.
    """
    turn, tilt = np.radians(azimuth), np.radians(-elevation)
    right = np.array([np.sin(turn), -np.cos(turn), 0.0])
    ahead = np.array([np.cos(turn), np.sin(turn), 0.0])
    up = np.sin(tilt) * ahead + np.array([0.0, 0.0, np.cos(tilt)])
    away = np.cos(tilt) * ahead - np.array([0.0, 0.0, np.sin(tilt)])
    look_at, distance = (points.min(axis=0) + points.max(axis=0)) / 2, 0.0
    for _ in range(20):
        flat, depth = (points - look_at) @ np.stack([right, up]).T, (points - look_at) @ away
        distance = float(np.max(np.abs(flat) / tangents - depth[:, None]))
        seen = flat / (distance + depth)[:, None]
        middle = (seen.min(axis=0) + seen.max(axis=0)) / 2 * distance
        look_at = look_at + middle[0] * right + middle[1] * up
    return np.array([*look_at, distance, azimuth, elevation])
