"""What a sweep's runs have reached so far."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .._errors import UserError
from ..config import choice_of, CONFIG, Config, load_config
from ..run import evaluated, read_metrics, reason_to_stop
from ._sweep import load_sweep, Sweep


METRIC = "eval/success_rate"


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: its configuration and its rows of metrics."""

    name: str
    config: Config
    rows: tuple[Mapping[str, Any], ...]

    def curve(self, metric: str) -> Float[np.ndarray, "evaluations 2"]:
        """Environment steps and value, of every row that has the metric."""
        points = [(row["env_steps"], row[metric]) for row in self.rows if metric in row]
        return np.array(points, float).reshape(-1, 2)

    def curve_over_hours(self, metric: str) -> Float[np.ndarray, "evaluations 2"]:
        """Hours at work and value, of every row that has the metric."""
        points = [
            (row.get("time/elapsed_seconds", 0.0) / 3600, row[metric])
            for row in self.rows
            if metric in row
        ]
        return np.array(points, float).reshape(-1, 2)

    @property
    def env_steps(self) -> int:
        return int(self.rows[-1]["env_steps"]) if self.rows else 0

    @property
    def gradient_steps(self) -> int:
        return int(self.rows[-1]["gradient_steps"]) if self.rows else 0

    @property
    def done(self) -> bool:
        """Whether it has used up its budget, or had another reason to end."""
        if self.env_steps >= self.config.total_env_steps:
            return True
        verdicts = [row["health/verdict"] for row in self.rows if "health/verdict" in row]
        evaluations = [evaluated(row) for row in self.rows if METRIC in row]
        hours, config = self.hours(), self.config
        return reason_to_stop(evaluations, verdicts, hours=hours, config=config) is not None

    def hours(self) -> float:
        """That the run has been at work."""
        return self.rows[-1].get("time/elapsed_seconds", 0.0) / 3600 if self.rows else 0.0

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

    @property
    def label(self) -> str:
        words = (f"{name.replace('_', ' ')} {value}" for name, value in self.choices.items())
        return ", ".join(words) or "all runs"

    @property
    def done(self) -> bool:
        return all(result.done for result in self.results)

    def scores(self, metric: str) -> Float[np.ndarray, " runs"]:
        """The last value of every complete run that has one."""
        curves = (result.curve(metric) for result in self.results if result.done)
        return np.array([curve[-1, 1] for curve in curves if len(curve)])


def read_results(run_dir: Path) -> tuple[Sweep, tuple[Group, ...]]:
    """A sweep and its runs by all that they differ in but the seed.

    **Raises:** `UserError` if the directory holds no sweep, or none of its runs was begun.
    """
    sweep = load_sweep(run_dir)
    axes = [name for name in sweep.axes if name != "seed"]
    groups: dict[str, tuple[dict[str, Any], list[Result]]] = {}
    for name, planned in sweep.runs.items():
        directory = run_dir / name
        if not (directory / CONFIG).is_file():
            continue
        metrics = directory / "metrics.jsonl"
        rows = tuple(read_metrics(metrics)) if metrics.is_file() else ()
        choices = {axis: choice_of(planned, axis) for axis in axes}
        key = json.dumps(choices, default=str)
        found = groups.setdefault(key, (choices, []))
        found[1].append(Result(name, load_config(directory / CONFIG), rows))
    if not groups:
        raise UserError(f"`{run_dir}`: none of its {len(sweep.runs)} runs was begun yet.")
    return sweep, tuple(Group(choices, tuple(results)) for choices, results in groups.values())
