"""Mazes: drawn as text, turned into a few wall boxes, start cells and goal cells."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._errors import UserError
from .._types import PRNGKey


# `#` wall, `R` start cell, `G` goal cell, `.` free. The first index (downwards) is world x, the
# second (rightwards) world y. An `_eval` layout keeps only the far goals of the maze in its name.
MAZES: dict[str, tuple[str, ...]] = {
    "u_maze": ("#####", "#RGG#", "###G#", "#GGG#", "#####"),
    "u_maze_eval": ("#####", "#R..#", "###.#", "#GGG#", "#####"),
    "u_maze_single_eval": ("#####", "#R..#", "###.#", "#G..#", "#####"),
    "u2_maze": ("######", "#RGGG#", "####G#", "#GGGG#", "######"),
    "u2_maze_eval": ("######", "#R...#", "####.#", "#GGGG#", "######"),
    "u3_maze": ("#######", "#RGGGG#", "#####G#", "#GGGGG#", "#######"),
    "u3_maze_eval": ("#######", "#R....#", "#####.#", "#GGGGG#", "#######"),
    "u3_maze_single_eval": ("#######", "#R....#", "#####.#", "#G....#", "#######"),
    "u4_maze": ("#####", "#GGG#", "#R#G#", "###G#", "#G#G#", "#GGG#", "#####"),
    "u4_maze_eval": ("#####", "#...#", "#R#.#", "###.#", "#G#.#", "#GGG#", "#####"),
    "u5_maze": (
        "########",
        "#GGGGGG#",
        "#R####G#",
        "######G#",
        "#G####G#",
        "#GGGGGG#",
        "########",
    ),
    "u5_maze_eval": (
        "########",
        "#......#",
        "#R####.#",
        "######.#",
        "#G####G#",
        "#GGGGGG#",
        "########",
    ),
    "u5_maze_single_eval": (
        "########",
        "#......#",
        "#R####.#",
        "######.#",
        "#G####.#",
        "#......#",
        "########",
    ),
    "u6_maze": ("#######", "#GGGGG#", "#R###G#", "#####G#", "#G###G#", "#GGGGG#", "#######"),
    "u6_maze_eval": ("#######", "#.....#", "#R###.#", "#####.#", "#G###G#", "#GGGGG#", "#######"),
    "u7_maze": ("######", "#GGGG#", "#R##G#", "####G#", "#G##G#", "#GGGG#", "######"),
    "u7_maze_eval": ("######", "#....#", "#R##.#", "####.#", "#G##G#", "#GGGG#", "######"),
    "big_maze": (
        "########",
        "#RG##GG#",
        "#GG#GGG#",
        "##GGG###",
        "#GG#GGG#",
        "#G#GG#G#",
        "#GGG#GG#",
        "########",
    ),
    "big_maze_eval": (
        "########",
        "#R.##GG#",
        "#..#.GG#",
        "##...###",
        "#..#...#",
        "#.#G.#G#",
        "#.GG#GG#",
        "########",
    ),
    "hardest_maze": (
        "############",
        "#RGGG#GGGGG#",
        "#G##G#G#G#G#",
        "#GGGGGG#GGG#",
        "#G####G###G#",
        "#GG#G#GGGGG#",
        "##G#G#G#G###",
        "#GG#GGG#GGG#",
        "############",
    ),
}

Cell = tuple[int, int]


class Box(NamedTuple):
    """A block of wall, in world units."""

    centre: tuple[float, float]
    half_size: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Maze:
    """A layout at a scale. Cell (i, j) is the square of side `scale` around (i·scale, j·scale),
    shifted by `origin`."""

    rows: tuple[str, ...]
    scale: float
    origin: tuple[float, float] = (0.0, 0.0)
    random_starts: float = 0.0
    """The share of episodes that begin in a random free cell."""

    @classmethod
    def named(
        cls,
        layout: str,
        scale: float,
        without_goals: Sequence[Cell] = (),
        random_starts: float = 0.0,
    ) -> "Maze":
        """The layout of that name in `MAZES`, without goals in those cells.

        **Raises:** `UserError` if one of them is not a goal, or if `random_starts` is not a share.
        """
        if not 0 <= random_starts <= 1:
            raise UserError(f"`random_starts={random_starts}` must lie in [0, 1].")
        maze = cls(MAZES[layout], scale, random_starts=random_starts)
        for cell in without_goals:
            if tuple(cell) not in maze.cells("G"):
                raise UserError(
                    f"`without_goals`: {tuple(cell)} is no goal cell of {layout}; "
                    f"those are {', '.join(map(str, maze.cells('G')))}."
                )
            maze = maze._without_goal(cell)
        if not maze.goals:
            raise UserError(f"`without_goals={[*without_goals]}` leaves no goal of {layout}.")
        return maze

    def cells(self, kinds: str) -> tuple[Cell, ...]:
        """The cells drawn with one of the letters `kinds`, row by row."""
        return tuple(
            (i, j) for i, row in enumerate(self.rows) for j, kind in enumerate(row) if kind in kinds
        )

    def centre(self, cell: Cell) -> tuple[float, float]:
        """World x, y of a cell's middle."""
        return self.origin[0] + cell[0] * self.scale, self.origin[1] + cell[1] * self.scale

    def cell(self, xy: Float[np.ndarray, "2"]) -> Cell:
        """The cell that contains world x, y."""
        i, j = self.nearest_cells(xy)
        return int(i), int(j)

    def nearest_cells(self, xy: Float[np.ndarray, "*batch 2"]) -> Int[np.ndarray, "*batch 2"]:
        """i, j of the cells that contain world places, also beyond the outer walls."""
        return np.rint((xy - np.asarray(self.origin)) / self.scale).astype(int)

    def steps_from(self, *cells: Cell) -> dict[Cell, int]:
        """The steps, from cell to cell, from the nearest of `cells` to every reachable free
        cell."""
        free, found = set(self.cells("RG.")), dict.fromkeys(cells, 0)
        waiting = [*found]
        for cell in waiting:
            for near in _beside(cell):
                if near in free and near not in found:
                    found[near] = found[cell] + 1
                    waiting.append(near)
        return found

    def path(self) -> tuple[Cell, ...]:
        """All free cells from the start cell on, if they form one path.
        **Raises:** `UserError` otherwise.
        """
        free, path = set(self.cells("RG.")), list(self.cells("R"))
        while ahead := [cell for cell in _beside(path[-1]) if cell in free - set(path)]:
            path.append(ahead[0])
            if len(ahead) > 1:
                break
        if len(path) < len(free):
            raise UserError("The free cells of this maze do not form one path from its start.")
        return tuple(path)

    @property
    def starts(self) -> tuple[tuple[float, float], ...]:
        """World x, y of the start cells."""
        return tuple(map(self.centre, self.cells("R")))

    @property
    def goals(self) -> tuple[tuple[float, float], ...]:
        """World x, y of the goal cells."""
        return tuple(map(self.centre, self.cells("G")))

    @property
    def walls(self) -> tuple[Box, ...]:
        """The wall cells merged into a few boxes, because it is contact pairs that cost time."""
        return tuple(self._box(block) for block in _blocks(set(self.cells("#"))))

    def draw_start(self, *, key: PRNGKey) -> Float[Array, "2"]:
        """World x, y of a start cell, all equally likely; in the share `random_starts` of the
        draws, of any free cell instead."""
        starts = jnp.asarray(self.starts)
        if self.random_starts == 0:
            return jax.random.choice(key, starts)
        key, random_key, cell_key = jax.random.split(key, 3)
        anywhere = jax.random.bernoulli(random_key, self.random_starts)
        cell = jax.random.choice(cell_key, jnp.asarray([*map(self.centre, self.cells("RG."))]))
        return jnp.where(anywhere, cell, jax.random.choice(key, starts))

    def draw_goal(self, *, key: PRNGKey) -> Float[Array, "2"]:
        """World x, y of a goal cell, all equally likely."""
        return jax.random.choice(key, jnp.asarray(self.goals))

    def _box(self, block: tuple[Cell, Cell]) -> Box:
        (x0, y0), (x1, y1) = map(self.centre, block)
        half = self.scale / 2
        return Box(((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2 + half, (y1 - y0) / 2 + half))

    def _without_goal(self, cell: Cell) -> "Maze":
        i, j = cell
        row = self.rows[i][:j] + "." + self.rows[i][j + 1 :]
        return dataclasses.replace(self, rows=(*self.rows[:i], row, *self.rows[i + 1 :]))


def _beside(cell: Cell) -> list[Cell]:
    i, j = cell
    return [(i, j + 1), (i + 1, j), (i, j - 1), (i - 1, j)]


def _blocks(cells: set[Cell]) -> list[tuple[Cell, Cell]]:
    """Covers `cells` with disjoint rectangles (first and last cell), the largest one first."""
    blocks = []
    while cells:
        largest = max((_grow(cell, cells) for cell in sorted(cells)), key=_area)
        blocks.append(largest)
        cells = cells - set(_inside(largest))
    return blocks


def _grow(corner: Cell, cells: set[Cell]) -> tuple[Cell, Cell]:
    """The largest rectangle of `cells` whose first cell is `corner`."""
    i, j = corner
    best, width, height = (corner, corner), float("inf"), 0
    while (i + height, j) in cells and width > 0:
        run = 0
        while run < width and (i + height, j + run) in cells:
            run += 1
        width = run
        height += 1
        best = max(best, (corner, (i + height - 1, j + width - 1)), key=_area)
    return best


def _area(block: tuple[Cell, Cell]) -> int:
    (i0, j0), (i1, j1) = block
    return (i1 - i0 + 1) * (j1 - j0 + 1)


def _inside(block: tuple[Cell, Cell]) -> list[Cell]:
    (i0, j0), (i1, j1) = block
    return [(i, j) for i in range(i0, i1 + 1) for j in range(j0, j1 + 1)]
