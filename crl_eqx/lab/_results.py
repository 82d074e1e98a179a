"""What some runs have reached so far: of a sweep, or made separately."""

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .._errors import UserError
from .._verdict import MEASURES
from ..config import (
    CHANGEABLE,
    choice_of,
    Compute,
    CONFIG,
    Config,
    flag,
    flat,
    load_config,
    OTHER_RUNS,
    replaced,
    SWEEP,
)
from ..parts import resolved
from ..run import episodes_played, evaluated, failure_in, reason_to_stop
from ..run_files import read_metrics, read_provenance
from ._sweep import load_sweep, Sweep, VARIANT


METRIC = "eval/success_rate"


def direction(metric: str) -> int:
    """1 where more of it is better, -1 where less is, as of a distance."""
    return MEASURES.get(metric.rpartition("/")[2], 1)


_NO_AXIS = frozenset({"seed", "run_dir", "preset"})
"""Choices that make no group of their own."""

_MATTERS = frozenset({"eval_acting", *(field.name for field in dataclasses.fields(Compute))})
"""Choices that may change on resuming, and yet change what is found, or how fast."""


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: its configuration and its rows of metrics."""

    name: str
    config: Config
    rows: tuple[Mapping[str, Any], ...]
    run_dir: Path
    flop_per_update: float | None = None
    """Floating-point operations of a gradient step; None if the run did not note them."""
    asked: Config | None = None
    """What its sweep asks of it by now, with a longer budget perhaps than it was begun with."""

    def curve(self, metric: str) -> Float[np.ndarray, "points 2"]:
        """Environment steps and value, of every row that has the metric."""
        return self._curve(metric, lambda row: row["env_steps"])

    def curve_over_minutes(self, metric: str) -> Float[np.ndarray, "points 2"]:
        """Minutes at work and value, of every row that has the metric; no point if they were not
        written down."""
        if not self.hours():
            return np.zeros((0, 2))
        return self._curve(metric, lambda row: row.get("time/elapsed_seconds", 0.0) / 60)

    def curve_over_flop(self, metric: str) -> Float[np.ndarray, "points 2"]:
        """Floating-point operations of all updates so far and value, of every row that has the
        metric; no point if they are not known."""
        cost = self.flop_per_update
        if cost is None:
            return np.zeros((0, 2))
        return self._curve(metric, lambda row: row["gradient_steps"] * cost)

    def _curve(self, metric: str, at: Any) -> Float[np.ndarray, "points 2"]:
        points = [(at(row), row[metric]) for row in self.rows if metric in row]
        return np.array(points, float).reshape(-1, 2)

    @property
    def env_steps(self) -> int:
        return int(self.rows[-1]["env_steps"]) if self.rows else 0

    @property
    def eval_episodes(self) -> int:
        """Of its last evaluation."""
        return episodes_played(self.rows, self.config)

    @property
    def gradient_steps(self) -> int:
        return int(self.rows[-1]["gradient_steps"]) if self.rows else 0

    @functools.cached_property
    def done(self) -> bool:
        """Whether it has used up its budget, or had another reason to end."""
        config = self.asked or self.config
        budget = max(config.total_env_steps, self.config.total_env_steps)
        return self.failure is None and (self.env_steps >= budget or self.stopped_by is not None)

    @functools.cached_property
    def stopped_by(self) -> str | None:
        """Why it ended, or would end, before its budget is used up."""
        verdicts = [row["health/verdict"] for row in self.rows if "health/verdict" in row]
        evaluations = [evaluated(row) for row in self.rows if METRIC in row]
        hours, config = self.hours(), self.asked or self.config
        reason = reason_to_stop(evaluations, verdicts, hours=hours, config=config)
        return reason and reason.why

    @property
    def failure(self) -> str | None:
        """Why it broke off, if it did."""
        return failure_in(self.rows)

    def hours(self) -> float:
        """That the run has been at work."""
        told = (row.get("time/elapsed_seconds") for row in reversed(self.rows))
        return next((seconds for seconds in told if seconds is not None), 0.0) / 3600

    def verdicts(self) -> dict[str, int]:
        """How many rows got which verdict."""
        found: dict[str, int] = {}
        for row in self.rows:
            if verdict := row.get("health/verdict"):
                found[verdict] = found.get(verdict, 0) + 1
        return found


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs that differ in nothing but their seed."""

    choices: Mapping[str, Any]
    results: tuple[Result, ...]
    """Those that were begun."""
    planned: int
    """How many there shall be."""

    @property
    def label(self) -> str:
        told = lambda name: "" if name == VARIANT else f"{name.replace('_', ' ')} "
        words = (f"{told(name)}{value}" for name, value in self.choices.items())
        return ", ".join(words) or "all runs"

    @functools.cached_property
    def complete(self) -> tuple[Result, ...]:
        """Those that are done."""
        return tuple(result for result in self.results if result.done)

    @property
    def done(self) -> bool:
        """Whether all that were planned are."""
        return len(self.complete) == self.planned

    def scores(self, metric: str) -> Float[np.ndarray, " runs"]:
        """The last value of every complete run that has one, if it is finite."""
        curves = (result.curve(metric) for result in self.complete)
        found = np.array([curve[-1, 1] for curve in curves if len(curve)])
        return found[np.isfinite(found)]


@dataclasses.dataclass(frozen=True)
class Results:
    """Runs of one task, by all that they differ in but the seed."""

    groups: tuple[Group, ...]
    planned: Mapping[str, Config]
    """Every run's configuration, those not yet begun included."""

    @property
    def axes(self) -> tuple[str, ...]:
        """The choices in which groups differ."""
        return tuple(self.groups[0].choices)

    @property
    def config(self) -> Config:
        return next(iter(self.planned.values()))

    @property
    def runs(self) -> tuple[Result, ...]:
        return tuple(result for group in self.groups for result in group.results)


def read_results(*run_dirs: Path) -> Results:
    """Runs and their groups, those included of which none was begun. Each directory holds a run, or
    a sweep of several; what is named twice counts once.

    **Raises:** `UserError` if a directory holds neither, no run was begun yet, the runs are of
    different tasks, or one lies under another's name in its sweep.
    """
    planned: dict[Path, Config] = {}
    sweeps: list[Sweep] = []
    known: dict[Path, Path] = {}
    for run_dir in run_dirs:
        known.setdefault(run_dir.resolve(), run_dir)
    for run_dir in known.values():
        if (run_dir / SWEEP).is_file():
            sweeps.append(sweep := load_sweep(run_dir))
            planned |= {run_dir / name: config for name, config in sweep.runs.items()}
        elif (run_dir / CONFIG).is_file():
            planned[run_dir] = load_config(run_dir / CONFIG)
        else:
            raise UserError(f"`{run_dir}` holds neither a run ({CONFIG}) nor a sweep ({SWEEP}).")
    begun = [place for place in planned if (place / CONFIG).is_file()]
    if not begun:
        where = ", ".join(f"`{run_dir}`" for run_dir in run_dirs)
        raise UserError(f"{where}: none of its {len(planned)} runs was begun yet.")
    if len(run_dirs) == 1 and sweeps:
        names = {place: place.name for place in planned}
        choices = {place: sweeps[0].choices[place.name] for place in planned}
    else:
        _require_one_task(planned.values())
        names = {place: place.as_posix() for place in planned}
        made = {place: _as_made(place, config) for place, config in planned.items()}
        axes = differing([*made.values()])
        choices = {
            place: {axis: choice_of(config, axis) for axis in axes}
            for place, config in made.items()
        }
    groups: dict[str, tuple[dict[str, Any], list[Path]]] = {}
    for place in planned:
        own = {name: value for name, value in choices[place].items() if name != "seed"}
        groups.setdefault(json.dumps(own, default=str), (own, []))[1].append(place)
    ordered = sorted(groups.values(), key=lambda group: [_order(x) for x in group[0].values()])
    read = {place: read_result(place, names[place], planned[place]) for place in begun}
    for place, result in read.items():
        _require_its_own_place(result, choices[place] | {"seed": planned[place].seed}, place)
    return Results(
        tuple(
            Group(own, tuple(read[place] for place in places if place in read), len(places))
            for own, places in ordered
        ),
        {names[place]: config for place, config in planned.items()},
    )


def _as_made(place: Path, planned: Config) -> Config:
    """A run's own configuration, which is resolved where its sweep's is not, such as in the length
    of its schedule; what it begins with is told as it was planned, for every seed alike."""
    begun = (place / CONFIG).is_file()
    own = load_config(place / CONFIG) if begun else resolved(planned)
    return replaced(own, **{name: choice_of(planned, name) for name in OTHER_RUNS})


def _require_its_own_place(run: Result, choices: Mapping[str, Any], place: Path) -> None:
    """Directories can be renamed: what a run was made with is what its own configuration says."""
    assert run.asked is not None
    for name in {*choices} - {VARIANT}:
        asked, own = choice_of(run.asked, name), choice_of(run.config, name)
        # A word may have been resolved since, such as a path, or `auto`; a number is what it was.
        if isinstance(asked, int | float) and own != asked:
            usual = choice_of(resolved(run.asked), name)  # goals are mixed as the objective likes
            if own != usual:
                raise UserError(
                    f"`{place}` holds a run with `{flag(name)} {own}`, where "
                    f"`{flag(name)} {asked}` belongs: a run keeps the directory that it was made "
                    f"in."
                )


def _require_one_task(configs: Collection[Config]) -> None:
    tasks = sorted({config.env for config in configs})
    if len(tasks) > 1:
        raise UserError(
            f"The runs are of different tasks, {' and '.join(tasks)}: compare runs of one."
        )


def differing(configs: Sequence[Config]) -> list[str]:
    """Choices of the experiment in which they differ, without the seed."""
    columns = zip(*(flat(config) for config in configs), strict=True)
    return [
        column[0][1]
        for column in columns
        if len({repr(value) for _, _, value in column}) > 1
        and (column[0][0] not in CHANGEABLE or column[0][1] in _MATTERS)
        and column[0][1] not in _NO_AXIS
    ]


def _order(value: Any) -> tuple[int, float]:
    """Numbers by size; all else in the order in which it comes, and behind them."""
    return (0, float(value)) if isinstance(value, int | float) else (1, 0.0)


def read_result(run_dir: Path, name: str, asked: Config | None = None) -> Result:
    """One run, as far as it has come; `asked` is what its sweep has for it."""
    metrics, made = run_dir / "metrics.jsonl", run_dir / "provenance.json"
    rows = tuple(read_metrics(metrics)) if metrics.is_file() else ()
    facts = (read_provenance(made) if made.is_file() else None) or {}
    cost = facts.get("flop_per_update")
    cost = float(cost) if isinstance(cost, int | float) else None
    return Result(name, load_config(run_dir / CONFIG), rows, run_dir, cost, asked)
