"""What the numbers of a state are, written down as data."""

from typing import NamedTuple, TypeAlias


class Part(NamedTuple):
    """One line of a state's layout: the numbers `start` up to, not including, `stop`."""

    start: int
    stop: int
    unit: str
    meaning: str = ""
    """What the part's name does not say by itself."""

    @property
    def at(self) -> slice:
        """Picks the part out of a state: `state[..., part.at]`."""
        return slice(self.start, self.stop)

    @property
    def indices(self) -> tuple[int, ...]:
        """The places in the state."""
        return tuple(range(self.start, self.stop))


Layout: TypeAlias = tuple[Part, ...]
"""A named tuple of `Part`s, which follow one another and together cover the state."""


def parts(layout: Layout) -> dict[str, Part]:
    """The parts by their names."""
    names: tuple[str, ...] = layout._fields  # pyright: ignore[reportAttributeAccessIssue]
    return dict(zip(names, layout, strict=True))
