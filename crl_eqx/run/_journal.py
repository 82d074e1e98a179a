"""What a run remembers of its way, and writes down."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .._errors import TrainingError, UserError
from .._train_state import TrainState
from .._verdict import Evaluated, GOOD_VERDICTS, MEASURES, verdict
from ..config import Config
from ..run_files import Writers
from ._meter import Meter
from ._run import Run
from ._stopping import LASTING, Reason, reason_to_stop


_FAILED = "health/failure"
"""Of the last row of a run that broke off: why."""


def failure_in(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the run that wrote these rows broke off, if it did and has not gone on since: its numbers
    were not finite."""
    return rows[-1].get(_FAILED) if rows else None


def episodes_played(rows: Sequence[Mapping[str, Any]], config: Config) -> int:
    """Of the last evaluation in these rows: a run resumed with nothing left to do has not played as
    many as it was asked for."""
    told = (row["eval_episodes"] for row in reversed(rows) if "eval_episodes" in row)
    return int(next(told, config.evaluation.eval_episodes))


def evaluated(row: Mapping[str, Any]) -> Evaluated:
    """What of a row of metrics decides whether a run gets on; without what is not finite, as a
    distance can be."""
    names = [name + end for name in MEASURES for end in ("", "_se")]
    found = {name: float(row[f"eval/{name}"]) for name in names if f"eval/{name}" in row}
    return _finite(found) | {"env_steps": row["env_steps"]}


def _finite(found: Mapping[str, float | int | None]) -> dict[str, float | int]:
    """JSON has None in place of what is no number."""
    return {name: x for name, x in found.items() if x is not None and np.isfinite(x)}


class Journal:
    """A run's evaluations, verdicts and pace: rows in its files, and metadata of its checkpoints.

    `kept` is that metadata of the checkpoint from which the run goes on; empty at its beginning.
    """

    def __init__(self, run: Run, env_steps: int, kept: Mapping[str, Any]):
        self.run = run
        self.evaluations: list[Evaluated] = [_finite(row) for row in kept.get("evaluations", ())]
        self._verdicts: list[str] = [*kept.get("verdicts", ())]
        elapsed = float(kept.get("elapsed_seconds", 0.0))
        self._meter = Meter(env_steps, kept.get("meter", ()), elapsed, kept.get("overheads"))
        self.hours = self._meter.elapsed / 3600
        """That count against `--max-hours`."""
        self.evaluation_due = bool(kept.get("evaluation_due", env_steps == 0))
        """Whether the evaluation after the latest step is still to be made."""
        # The latest step has its row if its evaluation was made. At a run's beginning none was.
        after = env_steps - 1 if self.evaluation_due else env_steps
        self._writers = Writers(run.run_dir, run.config, after=after)

    def close(self) -> None:
        self._writers.close()

    @property
    def reason(self) -> Reason | None:
        """Why the run ends before its budget, if it does."""
        return reason_to_stop(
            self.evaluations, self._verdicts, hours=self.hours, config=self.run.config
        )

    def enter(self, phase: str) -> None:
        """What the run does from now on: `time/` says where its hours went."""
        self._meter.enter(phase)

    def save(self, state: TrainState) -> None:
        """A checkpoint, and before it, as safe, the rows that it is not to write again."""
        self._writers.sync()
        run = self.run
        metadata = run.identity | {
            "evaluations": self.evaluations,
            "verdicts": self._verdicts,
            "meter": self._meter.rows,
            "elapsed_seconds": self._meter.elapsed,
            "overheads": self._meter.overheads,
            "evaluation_due": self.evaluation_due,
        }
        run.store.save(state, run.step.buffer, metadata=metadata)

    def add(self, metrics: Mapping[str, Any], *, updates: int, seconds: float | None) -> None:
        """What an unroll measured, of its `updates`; `seconds` as the meter has them.

        **Raises:** `TrainingError` if something is not finite.
        """
        row = {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}
        _check_finite(row, self.run)
        self._meter.add(row, updates=updates, seconds=seconds)
        self.hours = self._meter.elapsed / 3600

    def add_evaluation(
        self, found: Mapping[str, float], env_steps: int, state: Callable[[], TrainState]
    ) -> None:
        """An evaluation; `state()` is what it evaluated, kept if it is the best so far."""
        run = self.run
        self.evaluation_due = False
        self.evaluations.append(evaluated({**found, "env_steps": env_steps}))
        if run.config.logging.keep_best and _is_best(self.evaluations):
            about = run.identity | {"evaluation": self.evaluations[-1]}
            run.best.save(state(), run.step.buffer, metadata=about)

    def write(
        self, counters: Mapping[str, int], found: Mapping[str, Any], health: Mapping[str, Any]
    ) -> str | None:
        """A row: `counters`, pace and averages since the last one, what an evaluation `found`, and
        what was diagnosed.

        **Returns:** what has to be told: a verdict that lasts and is nothing good.
        """
        row: dict[str, Any] = {**counters, **self._meter.take(counters["env_steps"]), **found}
        if found:
            row["eval_episodes"] = self.run.config.evaluation.eval_episodes
        if health:
            row |= self._judged(health, row)
        self._writers.write(row)
        return self._news(row) if health else None

    def fail(self, counters: Mapping[str, int], why: str) -> None:
        """A last row, so that whoever reads the run knows that it broke off. Of a full disk another
        sentence is told."""
        with contextlib.suppress(OSError, UserError):
            self._writers.write({**counters, _FAILED: why})

    def _judged(self, health: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """`health` and what follows from it, with the verdict."""
        known = dict(health)
        for group in ("actor", "critic"):
            moved, weights = row.get(f"train/{group}_update_norm"), known.get(f"{group}_param_norm")
            if moved is not None and weights:
                known[f"{group}_update_to_weight"] = moved / weights
        conclusive = self.run.config.evaluation.conclusive_steps
        word, reason = verdict(known, self.evaluations, conclusive_steps=conclusive)
        known |= {"verdict": word, "reason": reason}
        return {f"health/{name}": value for name, value in known.items()}

    def _news(self, row: Mapping[str, Any]) -> str | None:
        verdicts, word = self._verdicts, row["health/verdict"]
        verdicts[:] = [*verdicts, word][-LASTING - 1 :]
        is_new = [v == word for v in verdicts] in ([True] * LASTING, [False] + [True] * LASTING)
        return (
            f"{word:<16} {row['health/reason']}" if is_new and word not in GOOD_VERDICTS else None
        )


def _is_best(evaluations: Sequence[Evaluated]) -> bool:
    """Whether the last evaluation is better than all before it: by success, then by how long."""
    score = lambda row: (row["success_rate"], row.get("time_at_goal", 0.0))
    *before, last = evaluations
    return all(score(last) > score(row) for row in before)


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
    last = run.step.metrics_of == "last"
    since = f"by gradient step {began:,}" if last else f"from gradient step {began:,} on"
    raise TrainingError(
        f"Not finite {since}: {names}. The run stops; its last good "
        f"checkpoint ({_last_saved(run)}) is untouched. A lower learning rate or `--max-grad-norm "
        f"1` often helps."
    )
