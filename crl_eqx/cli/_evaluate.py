"""`crl-eqx evaluate RUN`."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import tyro
from rich.console import Console
from rich.table import Table

from .._acting import Acting
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._evaluate import evaluate as play_episodes
from .._types import PRNGKey
from ..config import ActingName, Compute
from ..nn import Kernel, Precision
from ..run import (
    check_counts,
    load_run,
    make_acting,
    make_env,
    make_far,
    require_comparing,
    Run,
    sizes,
)
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Plays fresh episodes with a run's newest agent."""

    run: tyro.conf.Positional[Path]
    """The run's directory."""
    episodes: int = 128
    """Fresh episodes."""
    acting: ActingName = "deterministic"
    """How the policy acts."""
    candidates: int = 16
    """Samples that best-of chooses from."""
    env: str | None = None
    """Another task with the same sizes; default the run's own, and separately its far goals, and
    those seen and unseen under `--hold-out`."""
    seed: int = 1
    """Seed of the episodes."""
    kernel: Kernel = "auto"
    """Implementation of the residual blocks; not taken from the run, which may be from another
    machine."""
    precision: Precision = "auto"
    """What their matrix products round their operands to."""
    best: bool = False
    """Take the agent of the best evaluation instead of the newest."""
    json: bool = False
    """Print JSON instead of a table."""


def evaluate(arguments: Sequence[str], console: Console) -> int:
    options = parse(Evaluate, "evaluate", arguments)
    check_counts(seed=options.seed, episodes=options.episodes, candidates=options.candidates)
    if options.candidates != Evaluate.candidates and options.acting != "best-of":
        raise UserError(
            f"`--candidates {options.candidates}` goes with `--acting best-of`: here it would do "
            f"nothing."
        )
    run, agent = load_run(
        options.run, Compute(options.kernel, options.precision), best=options.best
    )
    if options.acting == "best-of":
        require_comparing(agent, "--acting best-of", options.run, run.config)
    name = options.env or run.config.env
    tasks = {name: make_env(run.task_config, options.env)}
    if options.env is None and (far := make_far(run.task_config)):
        tasks |= [far]
    if options.env is None and run.regions is not None:
        for goals in ("seen", "unseen"):
            tasks[f"{name}, {goals} goals"] = make_env(
                run.task_config, regions=run.regions, goals=goals
            )
    policy = make_acting(run.config, options.acting, options.candidates)
    rows = {}
    for name, env in tasks.items():
        _check_sizes(name, env, run)
        metrics = _summary(policy, agent, env, options.episodes, jax.random.key(options.seed))
        rows[name] = {metric: float(value) for metric, value in metrics.items()}
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        console.print(_table(rows, f"{options.run}: {options.episodes} episodes, {options.acting}"))
    return 0


@eqx.filter_jit
def _summary(acting: Acting, agent: Agent, env: AbstractGoalEnv, episodes: int, key: PRNGKey):
    return play_episodes(acting(agent), env, episodes, key=key).summary()


def _check_sizes(name: str, env: AbstractGoalEnv, run: Run) -> None:
    """**Raises:** `UserError` if the agent does not fit the task."""
    if sizes(env) != sizes(run.env):
        raise UserError(
            f"`--env {name}` has state, action and goal sizes {sizes(env)}, and the agent of "
            f"`{run.run_dir}` was trained on {run.config.env} with {sizes(run.env)}."
        )


def _table(rows: dict[str, dict[str, float]], title: str) -> Table:
    """Metrics down, tasks across, as mean ± standard error."""
    table = Table("metric", *rows, title=title)
    names = [name for name in next(iter(rows.values())) if not name.endswith("_se")]
    for name in sorted(names):
        table.add_row(name, *(_cell(row, name) for row in rows.values()))
    return table


def _cell(row: dict[str, float], name: str) -> str:
    error = row.get(f"{name}_se")
    return f"{row[name]:.3f}" if error is None else f"{row[name]:.3f} ± {error:.3f}"
