"""How long a run will take, from a minute of it."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import equinox as eqx
import jax

from .. import envs
from .._errors import UserError
from .._train import TrainStep
from .._train_state import TrainState
from ..config import Config
from ..run import estimate, Needs, resolved, Run, short_of_memory


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
        return 1 + -(-self.config.total_env_steps // self._eval_every)

    @property
    def _eval_every(self) -> int:
        """Environment steps from one evaluation to the next: there is at most one an unroll."""
        return max(self.config.evaluation.eval_every, self.env_steps_per_unroll)

    @property
    def update_ms(self) -> float:
        """Collecting included."""
        return 1000 * self.unroll / max(self.updates_per_unroll, 1)

    def steps_within(self, hours: float) -> int:
        """Environment steps that a budget allows."""
        every = self._eval_every / self.env_steps_per_unroll
        each = self.unroll + self.evaluation / every
        left = 3600 * hours - self.compiling - self.evaluation
        return max(0, int(left / each)) * self.env_steps_per_unroll

    def scaled(self, config: Config) -> "Forecast":
        """What a run of another depth will take, in proportion to the arithmetic: too long where
        physics counts."""
        each = [Run(resolved(c), Path("nowhere")) for c in (self.config, config)]
        before, after = (run.step.audit(run.abstract().agent).flops_per_update(1) for run in each)
        times = {
            name: getattr(self, name) * after / before
            for name in ("unroll", "low", "high", "evaluation")
        }
        needs = estimate(each[1].config, each[1].step, each[1].abstract())
        return dataclasses.replace(self, config=config, needs=needs, **times)

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

    The prefill is cut short to one unroll and the batch's size: an update takes as long. Of an
    unroll that would take many times longer only a part of the updates is made.

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
        seconds = SECONDS if seconds is None else seconds
        step, some, advance = run.step, _updates_to_time(run, state), run.update
        if some is not None and isinstance(step, TrainStep):
            advance = lambda state: _learn(step, state, some)
        state, _ = jax.block_until_ready(advance(state))
        compiling = time.monotonic() - begun
        state, timed = _timed(advance, state, seconds if some is None else 0.0)
        if some is not None:
            state, collecting = _timed(run.collect, state, 0.0, least=3)
            whole = run.step.mean_updates_per_unroll / some
            timed = [statistics.median(collecting) + whole * part for part in timed]
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


@eqx.filter_jit(donate="all-except-first")
def _learn(step: TrainStep, state: TrainState, updates: int) -> tuple[TrainState, Any]:
    return step.learn_stored(state, updates)


Advance: TypeAlias = Callable[[TrainState], tuple[TrainState, Any]]


def _timed(
    advance: Advance, state: TrainState, seconds: float, *, least: int = 5
) -> tuple[TrainState, list[float]]:
    """How long each call took, made so often, and for so many `seconds` together."""
    timed: list[float] = []
    while len(timed) < least or sum(timed) < seconds:
        begun = time.monotonic()
        state, _ = jax.block_until_ready(advance(state))
        timed.append(time.monotonic() - begun)
    return state, timed


SLOW = 1e10
"""FLOP a second, less than what a CPU makes of an update: what takes long at this pace is not timed
as a whole."""


def _updates_to_time(run: Run, state: TrainState) -> int | None:
    """How many updates to time apart from collecting; None if whole unrolls are short enough. A
    deep network on a CPU takes hours for an unroll of the paper's."""
    if jax.default_backend() != "cpu" or not isinstance(run.step, TrainStep):
        return None
    each = run.step.audit(state.agent).flops_per_update(run.step.batch_size) / SLOW
    if each * run.step.mean_updates_per_unroll <= SECONDS:
        return None
    return max(1, int(SECONDS / 8 / each))


def too_slow(config: Config) -> bool:
    """Whether already a forecast would take minutes: on a CPU, with a very deep network."""
    if jax.default_backend() != "cpu":
        return False
    run = Run(resolved(config), Path("nowhere"))
    found = run.step.audit(run.abstract().agent)
    played = 5 * run.step.env_steps_per_unroll
    played += config.evaluation.eval_episodes * run.env.episode_length // 5
    acting = sum(network.flops for network in found.networks if network.name == "actor")
    return (played * acting + found.flops_per_update(8 * run.step.batch_size)) / SLOW > 60


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


def physics_rates(config: Config, *, seconds: float | None = None) -> dict[str, float]:
    """Environment steps a second of collecting alone, policy included, with every physics that is
    installed and that the run could have; where JAX computes on a CPU only with that of `config`,
    as others compile there for a minute and are slow. Each is timed for so many `seconds` (2 by
    default).
    """
    config = resolved(config)
    chosen = [config.physics]
    if jax.default_backend() != "cpu" and not envs.is_gymnasium(config.env):
        chosen = [*envs.available_physics()]
    rates: dict[str, float] = {}
    for physics in chosen:
        try:
            rates[physics] = _collecting_rate(dataclasses.replace(config, physics=physics), seconds)
        except UserError:
            if physics == config.physics:
                raise
    return rates


def _collecting_rate(config: Config, seconds: float | None) -> float:
    run = Run(config, Path("nowhere"))
    state, _ = jax.block_until_ready(run.collect(run.initial()))
    seconds = SECONDS / 4 if seconds is None else seconds
    _, timed = _timed(run.collect, state, seconds, least=3)
    return run.step.env_steps_per_unroll / statistics.median(timed)


def shortage(config: Config) -> str | None:
    """What to say of a run for which memory is short; None if it fits. Allocates nothing."""
    run = Run(resolved(config), Path("nowhere"))
    needs = estimate(run.config, run.step, run.abstract())
    short = short_of_memory(run.config, run.step, needs)
    return short and f"the run {needs}, {short}"
