"""`crl-eqx envs`."""

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path

import jax
import tyro
from rich.console import Console
from rich.table import Table

from .. import envs as suite
from .._errors import UserError
from ..run import still


@dataclasses.dataclass(frozen=True)
class Envs:
    """Lists the tasks, or shows one."""

    name: tyro.conf.Positional[str | None] = None
    """A task, also one of Gymnasium's (gym:FetchReach-v4); default all."""
    picture: Path | None = None
    """Draw a fresh start of the task, goal included, as a PNG."""
    seed: int = 0
    """Seed of the start that is drawn."""


def envs(arguments: Sequence[str], console: Console) -> int:
    options = tyro.cli(Envs, prog="crl-eqx envs", args=list(arguments))
    if options.picture is not None and options.name is None:
        raise UserError("`crl-eqx envs --picture` needs a task's name first.")
    if options.name is None:
        console.print(_table(suite.tasks()))
        return 0
    if options.picture is not None:
        _check_picture(options.picture)
    env = suite.make(options.name)
    console.print(_table([suite.task(options.name, env)]))
    if isinstance(env, suite.AbstractMujocoEnv):
        console.print(_layout(env))
    console.print(inspect.getdoc(type(env)) or "", highlight=False, markup=False)
    if options.picture is not None:
        console.print(str(still(env, options.picture, key=jax.random.key(options.seed))))
    return 0


def _check_picture(path: Path) -> None:
    """**Raises:** `UserError` if no PNG can be written there."""
    if path.suffix.lower() != ".png":
        raise UserError(f"`--picture {path}` must end in .png.")
    if not path.parent.is_dir():
        raise UserError(f"`--picture {path}`: there is no directory `{path.parent}`.")


def _layout(env: suite.AbstractMujocoEnv) -> Table:
    """What the numbers of the state are, and which are the achieved goal."""
    table = Table(title="state")
    for column in ("numbers", "what", "unit", "goal"):
        table.add_column(column, no_wrap=column == "numbers")
    for row in env.describe_state():
        table.add_row(row.numbers, row.what, row.unit, row.goal)
    return table


def _table(tasks: Sequence[suite.Task]) -> Table:
    table = Table()
    for column in (
        "task",
        "state",
        "action",
        "goal",
        "steps",
        "dt (s)",
        "success",
        "held-out goals",
    ):
        table.add_column(column, no_wrap=column == "task")
    for task in tasks:
        table.add_row(
            task.name,
            f"{task.state_size}",
            f"{task.action_size}",
            f"{task.goal_size}",
            f"{task.episode_length}",
            "" if task.control_dt is None else f"{task.control_dt:g}",
            f"< {task.threshold:g}",
            "yes" if task.eval_split else "",
        )
    return table
