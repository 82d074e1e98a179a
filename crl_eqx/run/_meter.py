"""What happened between two rows of metrics."""

import time
from collections.abc import Sequence
from typing import Any


COUNTS = "train/episodes", "train/failures"


class Meter:
    """Averages training metrics between two rows, and measures the pace.

    `rows` and `elapsed` are what a checkpoint keeps of it, so that the next row is an uninterrupted
    run's.
    """

    def __init__(self, env_steps: int, rows: Sequence[Any] = (), elapsed: float = 0.0):
        self._began = time.monotonic() - elapsed
        self._since(env_steps)
        self.rows.extend((dict(row), int(updates)) for row, updates in rows)  # JSON has no tuples

    def _since(self, env_steps: int) -> None:
        self._env_steps, self._at = env_steps, time.monotonic()
        self.rows: list[tuple[dict[str, float], int]] = []
        self._timed_updates, self._seconds = 0, 0.0

    @property
    def elapsed(self) -> float:
        """Seconds that the run has been at work, in all processes that it took."""
        return time.monotonic() - self._began

    def add(self, row: dict[str, float], *, updates: int, seconds: float | None) -> None:
        """An unroll's metrics, of its `updates`, and the seconds that it took; None if
        compiling was part of them."""
        self.rows.append((row, updates))
        if seconds is not None:
            self._timed_updates += updates
            self._seconds += seconds

    def take(self, env_steps: int) -> dict[str, float]:
        """The averages since the last call, by numbers of updates; counts are summed."""
        counts = {name: sum(row[name] for row, _ in self.rows) for name in COUNTS if self.rows}
        learnt = [(row, updates) for row, updates in self.rows if updates]
        total = sum(updates for _, updates in learnt)
        names = learnt[0][0].keys() - set(COUNTS) if learnt else ()
        means = {name: sum(row[name] * n for row, n in learnt) / total for name in sorted(names)}
        wall = max(time.monotonic() - self._at, 1e-9)
        pace = {
            "time/env_steps_per_second": (env_steps - self._env_steps) / wall,
            "time/elapsed_seconds": self.elapsed,
            "time/unix_seconds": time.time(),
        }
        if self._timed_updates:
            pace["time/update_ms"] = 1000 * self._seconds / self._timed_updates
        self._since(env_steps)
        return counts | means | pace
