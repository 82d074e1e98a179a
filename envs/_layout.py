"""What the numbers of a state are, as data."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias


class Part(NamedTuple):
    """One line of a state's layout: the numbers from `start` up to, but not including, `stop`."""

    start: int
    stop: int
    unit: str
    meaning: str = ""
    """What the part's name does not say."""

    @property
    def at(self) -> slice:
        """Picks the part out of a state: `state[..., part.at]`."""
        return slice(self.start, self.stop)

    @property
    def indices(self) -> tuple[int, ...]:
        """The part's indices in the state."""
        return tuple(range(self.start, self.stop))


Layout: TypeAlias = tuple[Part, ...]
"""A named tuple of `Part`s, which follow one another and together cover the state; a part may be
empty."""


def parts(layout: Layout) -> dict[str, Part]:
    """The parts by name."""
    names: tuple[str, ...] = layout._fields  # pyright: ignore[reportAttributeAccessIssue]
    return dict(zip(names, layout, strict=True))


class Row(NamedTuple):
    """One line of a layout's table, for people to read."""

    numbers: str
    what: str
    unit: str
    goal: str
    """Which of the numbers are the achieved goal; empty if none."""


def rows(layout: Layout, goal_indices: tuple[int, ...]) -> tuple[Row, ...]:
    """The table of a layout."""

    def row(name: str, part: Part) -> Row:
        what = name.replace("_", " ")
        what = f"{what}: {part.meaning}" if part.meaning else what
        goal = [i for i in goal_indices if i in part.indices]
        return Row(_span(part.indices), what, part.unit, _span(goal) if goal else "")

    return tuple(row(name, part) for name, part in parts(layout).items() if part.indices)


def _span(indices: Sequence[int]) -> str:
    """`3–6`, `3` or, where they do not follow one another, `3, 5`."""
    first, last = min(indices), max(indices)
    if len(indices) != last - first + 1:
        return ", ".join(map(str, indices))
    return f"{first}–{last}" if last > first else f"{first}"
