"""What happened between two rows of metrics."""

import time
from collections.abc import Mapping, Sequence
from typing import Any


COUNTS = "train/episodes", "train/failures"
OVERHEADS = "compiling", "evaluating", "diagnosing", "saving"
"""Phases of a run that are neither collecting nor learning."""


class Meter:
    """Averages training metrics between two rows, and measures the pace.

    `rows`, `elapsed` and `overheads` are what a checkpoint keeps of it, so that the next row is an
    uninterrupted run's.
    """

    def __init__(
        self,
        env_steps: int,
        rows: Sequence[Any] = (),
        elapsed: float = 0.0,
        overheads: Mapping[str, float] | None = None,
    ):
        self._began = time.monotonic() - elapsed
        self._phase, self._entered = "starting", time.monotonic()
        self._overheads = {name: (overheads or {}).get(name, 0.0) for name in OVERHEADS}
        self._learns = False
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

    @property
    def overheads(self) -> dict[str, float]:
        """Seconds of `elapsed` in which the run neither collected nor learnt, by what it did."""
        self.enter(self._phase)
        return dict(self._overheads)

    def enter(self, phase: str) -> None:
        """What the run does from now on."""
        now = time.monotonic()
        if self._phase in self._overheads:
            self._overheads[self._phase] += now - self._entered
        self._phase, self._entered = phase, now

    def add(self, row: dict[str, float], *, updates: int, seconds: float | None) -> None:
        """An unroll's metrics, of its `updates`, and the seconds that it took; None if
        compiling was part of them."""
        self.rows.append((row, updates))
        self._learns = self._learns or updates > 0
        if seconds is not None and self._learns:  # the prefill is no part of an update
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
            **{f"time/{name}_seconds": seconds for name, seconds in self.overheads.items()},
        }
        if self._timed_updates:
            pace["time/update_ms"] = 1000 * self._seconds / self._timed_updates
        self._since(env_steps)
        return counts | means | pace


def time_spent(row: Mapping[str, Any]) -> str | None:
    """Of a run until that row of metrics, in words; None if the row does not tell."""
    elapsed = row.get("time/elapsed_seconds")
    if not elapsed:
        return None
    shares = {name: row.get(f"time/{name}_seconds", 0.0) / elapsed for name in OVERHEADS}
    parts = [f"{share:.0%} {name}" for name, share in shares.items() if share >= 0.005]
    hours = f"{elapsed / 3600:.1f} h" if elapsed >= 3600 else f"{elapsed / 60:.1f} min"
    return f"{hours}, of it {', '.join(parts)}" if parts else hours
