"""Videos and stills of an environment, in 3-D where OpenGL works, else from above."""

import contextlib
import errno
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from .._env import AbstractGoalEnv
from .._errors import UserError
from .._rollout import Policy
from .._types import PRNGKey
from ..store._files import unlinked
from . import _view2d as view2d, _view3d as view3d
from ._clips import Clip, clips as make_clips
from ._geoms import Geoms, goal_radius
from ._scene import Embodied, first_moment, maze_bounds, record


View: TypeAlias = Literal["auto", "2d", "3d"]
Picture: TypeAlias = UInt8[np.ndarray, "height width 3"]

STRIP = 32  # pixels at the bottom, for the caption
PAUSE = 0.6  # s, at the end of every episode
INK, PALE, BLUE, GREEN = (31, 41, 51), (225, 229, 234), (110, 160, 225), (72, 187, 96)


class VideoResult(NamedTuple):
    """What `video` made."""

    path: Path
    view: Literal["2d", "3d"]
    note: str | None
    """One sentence about what was missing, if anything was."""


def video(
    env: AbstractGoalEnv,
    policy: Policy,
    path: Path,
    *,
    num_episodes: int = 4,
    fps: int | float | None = None,
    size: tuple[int, int] = (480, 480),
    view: View = "auto",
    key: PRNGKey,
) -> VideoResult:
    """Plays fresh episodes and films them, one after the other.

    Each is shown in real time, or faster where that would take too long, up to a while after it
    has reached its goal. The suffix of `path` picks the format: `.mp4` or `.gif`.

    **Arguments:**

    - `view`: `"3d"` is MuJoCo's renderer, `"2d"` a view from above; `"auto"` is 3-D where OpenGL
        works. Environments without a MuJoCo model show their position in 2-D.
    - `fps`: frames per second, default 20.
    - `size`: width and height in pixels, both even.

    **Raises:** `UserError` if `view="3d"` is not possible.
    """
    if size[0] % 2 or size[1] % 2 or min(size) < 160:
        raise UserError(f"`video(size={size})`: both must be even and at least 160.")
    fps = 20.0 if fps is None else fps
    episodes = record(policy, env, num_episodes, key=key)
    shown = make_clips(episodes, control_dt=getattr(env, "control_dt", None), fps=fps)
    scene = size[0], size[1] - STRIP

    def write(frames: Iterable[Picture]) -> None:
        _write(path, _captioned(frames, shown, size, pause=round(PAUSE * fps)), size, fps)

    drawn, note = _draw(env, shown, scene, view, write)
    return VideoResult(path, drawn, note)


def still(
    env: AbstractGoalEnv,
    path: Path,
    *,
    size: tuple[int, int] = (640, 640),
    view: View = "auto",
    key: PRNGKey,
) -> Path:
    """A picture of a fresh start, the goal included; `view` as in `video`."""
    shown = make_clips(first_moment(env, key=key), control_dt=None, fps=1)

    def write(frames: Iterable[Picture]) -> None:
        Image.fromarray(next(iter(frames))).save(unlinked(path), optimize=True)

    _draw(env, shown, size, view, write)
    return path


def _draw(
    env: AbstractGoalEnv, clips: Sequence[Clip], size: tuple[int, int], view: View, write
) -> tuple[Literal["2d", "3d"], str | None]:
    """Hands the frames to `write`; starts again in 2-D if 3-D breaks off."""
    if not isinstance(env, Embodied):
        if view == "3d":
            raise UserError(f"`view='3d'`: {type(env).__name__} has no MuJoCo model to show.")
        write(view2d.draw_points(clips, size))
        return "2d", None
    geoms, bounds, note = Geoms(env.model), maze_bounds(env), None
    if not len(geoms):
        if view == "3d":
            raise UserError("`view='3d'`: the model has no geoms to show but planes.")
        write(view2d.draw_points(clips, size))
        return "2d", None
    radius = goal_radius(env.model)
    if view != "2d":
        try:
            write(
                view3d.draw_model(clips, env.model, geoms, size, bounds=bounds, goal_radius=radius)
            )
            return "3d", None
        except view3d.NoOpenGLError as error:
            if view == "3d":
                raise UserError(f"`view='3d'`: {error}") from error
            note = f"Drawn in 2-D; {error}"
    write(view2d.draw_model(clips, geoms, size, bounds=bounds, goal_radius=radius))
    return "2d", note


def _captioned(
    frames: Iterable[Picture], clips: Sequence[Clip], size: tuple[int, int], *, pause: int
) -> Iterator[Picture]:
    """Adds the strip with the numbers, and a pause after every clip."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 14)
    moments = [(clip, frame) for clip in clips for frame in range(len(clip))]
    for (clip, frame), picture in zip(moments, frames, strict=True):
        image = Image.new("RGB", size, INK)
        image.paste(Image.fromarray(picture), (0, 0))
        _caption(ImageDraw.Draw(image), clip, frame, len(clips), size, font)
        last = frame == len(clip) - 1
        yield from [np.asarray(image)] * (1 + pause * last)


def _caption(
    draw: ImageDraw.ImageDraw, clip: Clip, frame: int, count: int, size: tuple[int, int], font: Any
) -> None:
    width, height = size
    top, middle = height - STRIP, height - STRIP / 2 + 2
    reached = bool(clip.reached[frame])
    part = clip.step[frame] / max(clip.length, 1)
    draw.rectangle((0, top, width * part, top + 3), fill=GREEN if reached else BLUE)
    away = f"{clip.distance[frame]:.2f} away"
    if clip.success[frame]:
        words, colour = "at the goal", GREEN
    else:
        words, colour = (f"was there, {away}", GREEN) if reached else (away, PALE)
    step = f"step {clip.step[frame]:.0f} of {clip.length}"
    draw.text((10, middle), f"episode {clip.number + 1} of {count}", PALE, font, "lm")
    draw.text((width / 2, middle), step, PALE, font, "mm")
    draw.text((width - 10, middle), words, colour, font, "rm")


def _write(path: Path, frames: Iterable[Picture], size: tuple[int, int], fps: int | float) -> None:
    """Encodes with the ffmpeg that comes with imageio.

    imageio's own writer forks this process, which JAX's threads do not survive in every case.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # 30 MB that only videos need
    except ImportError as error:
        raise UserError("Videos need ffmpeg: pip install imageio-ffmpeg.") from error
    if path.suffix == ".gif":
        form = ["-vf", "split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=none"]
    else:
        form = ["-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{fps}"]
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, "-i", "-", *form]
    command.append(str(unlinked(path)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None and encoder.stderr is not None
        try:
            for frame in frames:
                encoder.stdin.write(frame.tobytes())
        except BrokenPipeError:
            pass  # it says why below
        except BaseException:
            encoder.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                encoder.stdin.close()
        complaint = encoder.stderr.read().decode(errors="replace").strip()
    if encoder.returncode:
        raise OSError(errno.EIO, " ".join(complaint.split()) or "ffmpeg failed", str(path))
