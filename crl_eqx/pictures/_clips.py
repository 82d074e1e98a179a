"""The moments of an episode that a video shows."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from ._scene import Record


LONGEST = 6.0  # s; an episode that takes longer is played faster
AFTERWARDS = 0.08  # of an episode's length, shown after the goal is reached


@dataclasses.dataclass(frozen=True)
class Clip:
    """One episode, frame by frame. Between two control steps everything moves on a line."""

    number: int
    step: Float[np.ndarray, " frames"]
    length: int
    """Steps of the whole episode, even if the clip is shorter."""
    position: Float[np.ndarray, "frames 2"]
    goal_position: Float[np.ndarray, "frames 2"]
    distance: Float[np.ndarray, " frames"]
    success: Bool[np.ndarray, " frames"]
    reached: Bool[np.ndarray, " frames"]
    """Whether the goal was reached by then."""
    qpos: Float[np.ndarray, "frames nq"] | None
    target: Float[np.ndarray, "frames 3"] | None

    def __len__(self) -> int:
        return len(self.step)


def clips(record: Record, *, control_dt: float | None, fps: int | float) -> list[Clip]:
    """Every episode up to its end, or to a while after it has reached its goal.

    Played in real time (one step per frame if a step's duration is unknown), or as much faster
    as keeps the longest clip within `LONGEST`.
    """
    ends = [_end(record, episode) for episode in range(record.num_episodes)]
    stride = 1.0 if control_dt is None else 1 / (fps * control_dt)
    stride = max(stride, max(ends) / (LONGEST * fps))
    return [_clip(record, episode, end, stride) for episode, end in enumerate(ends)]


def _end(record: Record, episode: int) -> int:
    length = int(record.length[episode])
    if not record.reached[episode]:
        return length
    first = 1 + int(np.argmax(record.success[1:, episode]))
    return min(length, first + int(AFTERWARDS * len(record.state)))


def _clip(record: Record, episode: int, end: int, stride: float) -> Clip:
    step = np.append(np.arange(0, end, stride), float(end))
    before = np.floor(step).astype(int)
    part = step - before

    def between(values: np.ndarray) -> np.ndarray:
        low = values[before, episode]
        high = values[np.minimum(before + 1, end), episode]
        return low + (high - low) * part.reshape(-1, *(1,) * (low.ndim - 1))

    success = record.success[before, episode]
    return Clip(
        number=episode,
        step=step,
        length=int(record.length[episode]),
        position=between(record.position),
        goal_position=between(record.goal_position),
        distance=between(record.distance),
        success=success,
        reached=np.logical_or.accumulate(success & (before > 0)),
        qpos=None if record.qpos is None else between(record.qpos),
        target=None if record.target is None else between(record.target),
    )
