"""What a person sees while a run works: a live bar on a terminal, plain lines elsewhere."""

import datetime
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal
PACE_OVER = 60.0  # seconds over which the pace, and with it the remaining time, is measured


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


class Reporter:
    """Shows phase, steps per second, remaining time and the latest success rate.

    `say` is for sentences that stay on the screen; `update` for what changes.
    """

    def __init__(self, console: Console, *, total: int, done: int):
        self.console = console
        self.total = total
        self._done = done
        self._marks: deque[tuple[float, int]] = deque()  # when, and how many steps were done
        self._last_line = 0.0
        self._part: float | None = None
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
        self._part = None
        if "compiling" in (name, self._phase):
            self._marks.clear()  # the pace to come is another
        if name == self._phase:
            return
        self._phase = name
        if self._bar is not None:
            self._bar.update(self._task, description=name)
        elif name == "compiling" or self._due():
            self._line()  # before the wait, not after it

    def part(self, share: float) -> None:
        """How much of an evaluation is over, from 0 to 1."""
        self._part = share
        if self._bar is not None:
            self._bar.update(self._task, status=self._status())
        elif self._due():
            self._line()

    def success(self, rate: float) -> None:
        self._success = rate

    def update(self, env_steps: int) -> None:
        """`env_steps` have been taken."""
        self._done = env_steps
        self._marks.append((time.monotonic(), env_steps))
        # Two at least, though one unroll may take longer than that.
        while len(self._marks) > 2 and self._marks[-1][0] - self._marks[0][0] > PACE_OVER:
            self._marks.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=env_steps, status=self._status())
        elif self._due():
            self._line()

    def _due(self) -> bool:
        return time.monotonic() - self._last_line > PLAIN_EVERY

    def _line(self) -> None:
        self._last_line = time.monotonic()
        self.say(f"{self._phase:<11} {self._status()}")

    def _status(self) -> str:
        status = f"{self._done:,}/{self.total:,} steps"
        if self._part is not None:
            status += f"  evaluation {self._part:.0%}"
        if len(self._marks) > 1:
            (then, before), (now, done) = self._marks[0], self._marks[-1]
            rate = (done - before) / max(now - then, 1e-9)
            left = max(self.total - done, 0) / max(rate, 1e-9)
            status += f"  {rate:,.0f} steps/s  ETA {_clock(left)}"
        if self._success is not None:
            status += f"  success {self._success:.2f}"
        return status

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
