"""How long a run will take, from a minute of it."""

import dataclasses
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jax

from ..config import Config
from ..run import estimate, Needs, resolved, Run


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run of `config` will take on this machine. Times in seconds."""

    config: Config
    env_steps_per_unroll: int
    updates_per_unroll: float
    unroll: float
    """Of an unroll with its updates, the median of those that were timed."""
    low: float
    high: float
    """The fastest and the slowest of them, less the one that the system slowed most."""
    evaluation: float
    """Of one evaluation, all splits included."""
    compiling: float
    needs: Needs

    def seconds(self, unroll: float | None = None) -> float:
        """Of the whole run, at so many seconds an unroll."""
        unroll = self.unroll if unroll is None else unroll
        unrolls = -(-self.config.total_env_steps // self.env_steps_per_unroll)
        return self.compiling + unrolls * unroll + self.evaluations * self.evaluation

    @property
    def evaluations(self) -> int:
        return 1 + -(-self.config.total_env_steps // self.config.evaluation.eval_every)

    @property
    def update_ms(self) -> float:
        """Collecting included."""
        return 1000 * self.unroll / max(self.updates_per_unroll, 1)

    def steps_within(self, hours: float) -> int:
        """Environment steps that a budget allows."""
        every = self.config.evaluation.eval_every / self.env_steps_per_unroll
        each = self.unroll + self.evaluation / every
        left = 3600 * hours - self.compiling - self.evaluation
        return max(0, int(left / each)) * self.env_steps_per_unroll

    def __str__(self) -> str:
        total, low, high = (self.seconds(x) / 3600 for x in (None, self.low, self.high))
        share = self.evaluations * self.evaluation / self.seconds()
        said = (
            f"{self.config.total_env_steps:,} environment steps would take {_hours(total)} "
            f"({_hours(low)} to {_hours(high)}), {share:.0%} of it evaluating: an unroll of "
            f"{self.env_steps_per_unroll:,} steps with {self.updates_per_unroll:g} updates takes "
            f"{self.unroll:.3g} s. The run {self.needs}."
        )
        if self.config.max_hours is not None:
            steps = min(self.steps_within(self.config.max_hours), self.config.total_env_steps)
            said += f" `--max-hours {self.config.max_hours:g}` allows {steps:,} of the steps."
        return said


def _hours(hours: float) -> str:
    return f"{hours:.3g} h" if hours >= 1 else f"{60 * hours:.3g} min"


SECONDS = 8.0


def forecast(config: Config, *, seconds: float | None = None) -> Forecast:
    """Begins the run in a directory that is thrown away, and times its training for so many
    `seconds` (8 by default) and a part of an evaluation.

    The prefill is cut short to one unroll and the batch's size: an update takes as long.

    **Raises:** `UserError` for a mistake in the choices.
    """
    config = resolved(config)
    with TemporaryDirectory() as folder:
        run = Run(config, Path(folder))
        begun = time.monotonic()
        state = run.initial()
        needs = estimate(config, run.step, state)
        for _ in range(max(1, _unrolls_to_fill(run))):
            state, _ = run.collect(state)
        state, _ = jax.block_until_ready(run.update(state))
        compiling = time.monotonic() - begun
        timed: list[float] = []
        seconds = SECONDS if seconds is None else seconds
        while len(timed) < 5 or sum(timed) < seconds:
            begun = time.monotonic()
            state, _ = jax.block_until_ready(run.update(state))
            timed.append(time.monotonic() - begun)
        evaluation = _evaluation_seconds(run, state)
    ordered = sorted(timed)
    return Forecast(
        config,
        run.step.env_steps_per_unroll,
        run.step.mean_updates_per_unroll,
        statistics.median(timed),
        ordered[0],
        ordered[-2],
        evaluation,
        compiling,
        needs,
    )


def _unrolls_to_fill(run: Run) -> int:
    """As many as a batch needs, and an episode's future."""
    return -(-run.step.batch_size // run.step.env_steps_per_unroll)


def _evaluation_seconds(run: Run, state) -> float:
    """Of all, from two of the pieces that it is made of; the first one compiles."""
    marks: list[tuple[float, float]] = []

    def go_on(share: float) -> bool:
        marks.append((share, time.monotonic()))
        return len(marks) < 4

    run.evaluations(state.acting_agent, jax.random.key(0), may_go_on=go_on)
    (first, begun), (last, ended) = marks[1], marks[-1]
    return (ended - begun) / max(last - first, 1e-9)
