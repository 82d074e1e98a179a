"""The loop that a person starts."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from .._errors import TrainingError
from .._fork import not_forked
from .._train_state import TrainState
from .._verdict import Evaluated, GOOD_VERDICTS, MEASURES
from ..config import Config
from ..run_files import alone, prepare_run_dir, require_trust, with_absolute_path, Writers
from ._begin import begin
from ._build import resolved
from ._meter import Meter
from ._progress import Reporter
from ._run import Run
from ._signals import stop_requests, StopRequest
from ._stopping import LASTING, Reason, reason_to_stop


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    run_dir: Path
    env_steps: int
    exit_code: int
    """0, or 128 + the signal that stopped it."""
    success_rate: float | None
    """The last evaluation's."""
    reason: Reason | None = None
    """Why it ended before its budget, if it did so by itself."""


def crossed(before: int, now: int, every: int) -> bool:
    """Whether a schedule is due: a function of step counts alone, so that resuming keeps it."""
    return before // every != now // every


def evaluated(row: Mapping[str, Any]) -> Evaluated:
    """What of a row of metrics decides whether a run gets on."""
    names = [name + end for name in MEASURES for end in ("", "_se")]
    found = {name: float(row[f"eval/{name}"]) for name in names if f"eval/{name}" in row}
    return found | {"env_steps": row["env_steps"]}


def _is_best(evaluations: Sequence[Evaluated]) -> bool:
    """Whether the last evaluation is better than all before it: by success, then by how long."""
    score = lambda row: (row["success_rate"], row.get("time_at_goal", 0.0))
    *before, last = evaluations
    return all(score(last) > score(row) for row in before)


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
    return {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}


def _last_saved(run: Run) -> str:
    saved = run.store.steps()
    return f"step {saved[-1]:,}" if saved else "none yet"


def _check_finite(row: dict[str, float], run: Run) -> None:
    """Takes `nonfinite` and `nonfinite_from` out of the row.

    **Raises:** `TrainingError` when what was observed, a loss or a gradient is not finite.
    """
    began = int(row.pop("train/nonfinite_from", -1))
    if steps := int(row.pop("train/nonfinite", 0)):
        raise TrainingError(
            f"{run.config.env}: {steps:,} of the latest steps observed a state, goal or action "
            f"that is not finite. The run stops; its last checkpoint ({_last_saved(run)}) holds "
            f"none of them. A task must end an episode (`terminated`) before its numbers do."
        )
    bad = [name for name, value in row.items() if not np.isfinite(value)]
    if not bad:
        return
    names = ", ".join(name.removeprefix("train/") for name in bad)
    raise TrainingError(
        f"Not finite from gradient step {began:,} on: {names}. The run stops; its last good "
        f"checkpoint ({_last_saved(run)}) is untouched. A lower learning rate or `--max-grad-norm "
        f"1` often helps."
    )


def _loop(
    run: Run, state: TrainState, kept: dict[str, Any], reporter: Reporter, stop: StopRequest
) -> Outcome:
    """Advances to the budget, to a reason to stop before, or to a request to stop.

    `kept` is what was saved with the state: evaluations and latest verdicts, the meter's rows, and
    whether an evaluation is still due.
    """
    config = run.config
    env_steps, gradient_steps = int(state.env_steps), int(state.gradient_steps)
    evaluations: list[Evaluated] = [*kept.get("evaluations", ())]
    verdicts: list[str] = [*kept.get("verdicts", ())]
    meter = Meter(env_steps, kept.get("meter", ()), float(kept.get("elapsed_seconds", 0.0)))

    def ended() -> Reason | None:
        return reason_to_stop(evaluations, verdicts, hours=hours, config=config)

    due = bool(kept.get("evaluation_due", env_steps == 0))
    unsaved = not kept

    def save(state: TrainState) -> None:
        nonlocal unsaved
        reporter.phase("saving")
        metadata = run.identity | {
            "evaluations": evaluations,
            "verdicts": verdicts,
            "meter": meter.rows,
            "elapsed_seconds": meter.elapsed,
            "evaluation_due": due,
        }
        run.store.save(state, run.step.buffer, metadata=metadata)
        unsaved, stop.save = False, False

    with contextlib.ExitStack() as stack:
        # A run that starts from its beginning writes all of its rows, the one of step 0 included.
        writers = Writers(run.run_dir, config, after=env_steps or -1)
        stack.callback(writers.close)

        def undisturbed(share: float) -> bool:
            """Whether an evaluation may go on."""
            reporter.part(share)
            if stop.save:
                save(state)
                reporter.phase("evaluating")
            return not stop

        def measure(*, evaluating: bool) -> None:
            """Writes a row about the present state, unless a stop comes between: then it is due."""
            nonlocal due, unsaved
            found: dict[str, float] | None = {}
            if evaluating:
                due = True
                reporter.phase(run.phase("evaluating"))
                found = run.evaluations(state.acting_agent, env_steps, may_go_on=undisturbed)
                if found is None:
                    return
                due, unsaved = False, True
                evaluations.append(evaluated(found | {"env_steps": env_steps}))
                reporter.success(evaluations[-1]["success_rate"])
                if config.logging.keep_best and _is_best(evaluations):
                    about = run.identity | {"evaluation": evaluations[-1]}
                    run.best.save(state, run.step.buffer, metadata=about)
            row: dict[str, Any] = {"env_steps": env_steps, "gradient_steps": gradient_steps}
            row |= meter.take(env_steps) | found
            if config.logging.diagnostics and not run.prefilling(state):
                row |= run.diagnostics(state, env_steps, row, evaluations)
                _tell(row, verdicts, reporter)
            writers.write(row)

        if due:
            if unsaved:
                save(state)  # evaluating a deep network on a slow machine takes minutes
            measure(evaluating=True)
        hours = meter.elapsed / 3600
        reason = ended()
        while not (reason or stop or env_steps >= config.total_env_steps):
            phase = run.phase("prefilling" if run.prefilling(state) else "training")
            reporter.phase(phase)
            before, updates_before, begun = env_steps, gradient_steps, time.monotonic()
            state, metrics = run.advance(state)
            row, unsaved = _floats(metrics), True
            env_steps, gradient_steps = int(state.env_steps), int(state.gradient_steps)
            _check_finite(row, run)
            seconds = None if phase == "compiling" else time.monotonic() - begun
            meter.add(row, updates=gradient_steps - updates_before, seconds=seconds)
            hours = meter.elapsed / 3600
            reason = ended()
            over = reason is not None or env_steps >= config.total_env_steps
            evaluating = over or crossed(before, env_steps, config.evaluation.eval_every)
            if evaluating or crossed(before, env_steps, config.logging.log_every):
                measure(evaluating=evaluating)
                reason = ended()
            if stop.save or crossed(before, env_steps, config.logging.checkpoint_every):
                save(state)
            reporter.update(env_steps)
        if unsaved:
            save(state)
    success = evaluations[-1]["success_rate"] if evaluations else None
    return Outcome(run.run_dir, env_steps, stop.exit_code, success, reason)


def _tell(row: Mapping[str, Any], verdicts: list[str], reporter: Reporter) -> None:
    """Keeps the row's verdict, and says it once it lasts and is nothing good."""
    word = row["health/verdict"]
    verdicts[:] = [*verdicts, word][-LASTING - 1 :]
    is_new = [v == word for v in verdicts] in ([True] * LASTING, [False] + [True] * LASTING)
    if is_new and word not in GOOD_VERDICTS:
        reporter.say(f"{word:<16} {row['health/reason']}")


@not_forked
def train(
    config: Config,
    run_dir: Path,
    console: Console,
    *,
    resume: bool = False,
    refill_replay: bool = False,
) -> Outcome:
    """Trains one seed in `run_dir`, from scratch or from its newest good checkpoint; with
    `refill_replay` from the newest whose networks are intact, even if its replay is damaged.

    SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGALRM and SIGXCPU save and return, and the outcome's
    `exit_code` says which it was; SIGUSR1 saves and goes on. Outside the main thread it listens
    to no signal.

    **Raises:** `UserError` for a mistake in the choices, before anything is compiled, or if
    another process trains in `run_dir`; `TrainingError` when the losses become non-finite.
    """
    if resume:
        require_trust(config, run_dir)
    run = Run(with_absolute_path(resolved(config)), run_dir)
    if not resume:
        prepare_run_dir(run_dir)
    with alone(run_dir), stop_requests() as stop:
        state, metadata = begin(run, console, resume=resume, refill=refill_replay)
        done = int(state.env_steps)
        reporter = Reporter(console, total=config.total_env_steps, done=done)
        try:
            return _loop(run, state, metadata, reporter, stop)
        finally:
            reporter.close()
