"""Draws scenes from above, without OpenGL."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from ._clips import Clip
from ._geoms import Geoms


Colour = tuple[int, int, int]
FLOOR: Colour = (246, 245, 240)
GRID: Colour = (234, 232, 224)
SHADE: Colour = (225, 223, 214)
AGENT: Colour = (38, 102, 191)
TRAIL: Colour = (130, 170, 222)
GOAL: Colour = (224, 62, 54)
REACHED: Colour = (47, 158, 68)

_FINER = 3  # everything is drawn larger and averaged, which smooths edges
_MARGIN = 0.06


class _Canvas:
    """An image whose coordinates are the world's: x to the right, y up."""

    def __init__(self, bounds: Float[np.ndarray, "2 2"], size: tuple[int, int]):
        """`bounds` are the lowest and the highest x, y that must be visible."""
        self.size = np.array(size) * _FINER
        extent = np.maximum((bounds[1] - bounds[0]) * (1 + 2 * _MARGIN), 1e-6)
        self.scale = float(np.min(self.size / extent))
        self._middle = bounds.mean(axis=0)
        self.image = Image.new("RGB", (_FINER * size[0], _FINER * size[1]), FLOOR)
        self._draw = ImageDraw.Draw(self.image)
        self._grid(bounds)

    def _grid(self, bounds: Float[np.ndarray, "2 2"]) -> None:
        """Faint lines at multiples of a round number, so that motion shows on an empty floor."""
        step = 10 ** np.floor(np.log10(np.max(bounds[1] - bounds[0]) / 2))
        half = self.size / self.scale
        for axis in (0, 1):
            low, high = (self._middle + sign * half for sign in (-1, 1))
            for at in np.arange(np.ceil(low[axis] / step), high[axis] / step) * step:
                ends = np.stack([low, high])
                ends[:, axis] = at
                self.line(ends, GRID, width=1.0)

    def copy(self) -> "_Canvas":
        other = object.__new__(_Canvas)
        other.__dict__.update(self.__dict__, image=self.image.copy())
        other._draw = ImageDraw.Draw(other.image)
        return other

    def pixels(self, points) -> list[tuple[float, float]]:
        centred = (np.asarray(points, float) - self._middle) * self.scale * (1, -1)
        return [(float(x), float(y)) for x, y in centred + self.size / 2]

    def polygon(self, points, fill: Colour, line: float = 0.0) -> None:
        """`line` is the width of a darker outline, in final pixels."""
        corners = self.pixels(points)
        self._draw.polygon(corners, fill=fill)
        if line:
            fill, width = _darker(fill, 0.55), round(line * _FINER)
            self._draw.line([*corners, *corners[:2]], fill=fill, width=width, joint="curve")

    def line(self, points, fill: Colour, width: float) -> None:
        self._draw.line(self.pixels(points), fill=fill, width=round(width * _FINER), joint="curve")

    def disc(self, point, radius: float, fill: Colour | None, outline: Colour, line: float) -> None:
        """`radius` and `line` in final pixels."""
        ((x, y),), r = self.pixels([point]), radius * _FINER
        box = (x - r, y - r, x + r, y + r)
        self._draw.ellipse(box, fill=fill, outline=outline, width=round(line * _FINER))

    def star(self, point, radius: float, fill: Colour) -> None:
        """Five points, white rim; `radius` in final pixels."""
        turns = np.pi / 2 + np.arange(10) * np.pi / 5
        spokes = np.stack([np.cos(turns), -np.sin(turns)], axis=-1)
        spokes *= np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]
        middle = np.array(self.pixels([point])[0])
        for grown, colour in ((radius + 2, (255, 255, 255)), (radius, fill)):
            corners = middle + grown * _FINER * spokes
            self._draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour)

    def array(self) -> UInt8[np.ndarray, "height width 3"]:
        return np.asarray(self.image.reduce(_FINER))


def draw_model(
    clips: Sequence[Clip],
    geoms: Geoms,
    size: tuple[int, int],
    *,
    bounds: Float[np.ndarray, "2 2"] | None,
    goal_radius: float | None,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """A MuJoCo model from above, clip after clip.

    `bounds` as in `_Canvas`; None shows everything. `goal_radius` is in world units; None draws no
    goal.
    """
    for clip in clips:
        assert clip.qpos is not None
        places, turns = geoms.poses(clip.qpos)
        fixed = [geoms.footprint(i, places[0, i], turns[0, i]) for i in geoms.fixed]
        if bounds is None:
            radii = () if goal_radius is None else (-goal_radius, goal_radius)
            goals = [clip.goal_position + radius for radius in radii]
            moving, reach = places[:, geoms.moving, :2], geoms.radius[geoms.moving, None]
            ends = [moving - reach, moving + reach]
            view = _bounds([*ends, *fixed, *goals])
        else:
            view = bounds
        canvas = _Canvas(view, size)
        for corners in fixed:
            canvas.polygon(corners + np.array([5, -5]) / canvas.scale * _FINER, SHADE)
        for i, corners in zip(geoms.fixed, fixed, strict=True):
            canvas.polygon(corners, _darker(geoms.colour(i), 0.7))
        for frame, current in enumerate(_with_trail(canvas, clip)):
            if goal_radius is not None:
                _draw_goal(current, clip, frame, goal_radius * current.scale / _FINER)
            for i in geoms.moving[np.argsort(places[frame, geoms.moving, 2])]:
                corners = geoms.footprint(i, places[frame, i], turns[frame, i])
                current.polygon(corners, geoms.colour(i), line=1.0)
            yield current.array()


def draw_points(
    clips: Sequence[Clip], size: tuple[int, int]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The position alone, for environments that have nothing else to show."""
    bounds = _bounds([x for clip in clips for x in (clip.position, clip.goal_position)])
    for clip in clips:
        for frame, current in enumerate(_with_trail(_Canvas(bounds, size), clip)):
            _draw_goal(current, clip, frame, 12.0)
            current.disc(clip.position[frame], 7.0, AGENT, (20, 50, 95), 1.0)
            yield current.array()


def _with_trail(canvas: _Canvas, clip: Clip) -> Iterator[_Canvas]:
    """For every frame a fresh copy of the canvas with the way so far."""
    for frame in range(len(clip)):
        if frame:
            canvas.line(clip.position[frame - 1 : frame + 1], TRAIL, width=2.5)
        yield canvas.copy()


def _draw_goal(canvas: _Canvas, clip: Clip, frame: int, radius: float) -> None:
    colour = REACHED if clip.success[frame] else GOAL
    canvas.disc(clip.goal_position[frame], max(radius, 6.0), None, colour, 2.0)
    canvas.star(clip.goal_position[frame], 8.0, colour)


def _darker(colour: Colour, part: float) -> Colour:
    red, green, blue = colour
    return int(part * red), int(part * green), int(part * blue)


def _bounds(points: Sequence[np.ndarray]) -> Float[np.ndarray, "2 2"]:
    every = np.concatenate([part.reshape(-1, 2) for part in points])
    low, high = every.min(axis=0), every.max(axis=0)
    return np.stack([low, np.maximum(high, low + 1e-3)])
