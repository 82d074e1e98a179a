"""What a person sees while a run works: a live bar on a terminal, plain lines elsewhere."""

import datetime
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


class Reporter:
    """Shows phase, steps per second, remaining time and the latest success rate.

    `say` is for sentences that stay on the screen; `update` for what changes.
    """

    def __init__(self, console: Console, *, total: int, done: int):
        self.console = console
        self.total = total
        self._begun, self._begun_at = done, time.monotonic()
        self._last_line = 0.0
        self._phase, self._success = "starting", None
        self._bar = None
        if console.is_terminal:
            columns = TextColumn("{task.description:<11}"), BarColumn(), TaskProgressColumn()
            self._bar = Progress(*columns, TextColumn("{task.fields[status]}"), console=console)
            self._task = self._bar.add_task("starting", total=total, completed=done, status="")
            self._bar.start()

    def say(self, sentence: str) -> None:
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def phase(self, name: str) -> None:
        """Enters a phase: compiling, prefilling, training, evaluating, saving, drawing."""
        if name == self._phase:
            return
        self._phase = name
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def success(self, rate: float) -> None:
        self._success = rate

    def update(self, env_steps: int) -> None:
        """`env_steps` have been taken."""
        now = time.monotonic()
        rate = (env_steps - self._begun) / max(now - self._begun_at, 1e-9)
        left = max(self.total - env_steps, 0) / rate if rate > 0 else 0.0
        status = f"{env_steps:,}/{self.total:,} steps  {rate:,.0f} steps/s  ETA {_clock(left)}"
        if self._success is not None:
            status += f"  success {self._success:.2f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=env_steps, status=status)
        elif now - self._last_line > PLAIN_EVERY:
            self._last_line = now
            self.say(f"{self._phase:<11} {status}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
