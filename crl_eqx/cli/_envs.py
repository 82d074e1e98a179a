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
from ..parts import task_from_words
from ..run import check_counts
from ._flags import parse


@dataclasses.dataclass(frozen=True)
class Envs:
    """Lists the tasks, or shows one."""

    name: tyro.conf.Positional[str | None] = None
    """A task, or a Gymnasium one (gym:FetchReach-v4); default all."""
    picture: Path | None = None
    """Draw a fresh start of the task, goal included, as a PNG."""
    seed: int = 0
    """Seed of the start that is drawn."""
    env_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An argument of the task's constructor, such as torque=gym; may be given several times."""


def envs(arguments: Sequence[str], console: Console) -> int:
    options = parse(Envs, "envs", arguments)
    check_counts(seed=options.seed)
    if options.name is None:
        for flag, given in (("picture", options.picture), ("env-option", options.env_option)):
            if given:
                raise UserError(f"`crl-eqx envs --{flag}` needs a task's name first.")
        console.print(_table(suite.tasks()))
        return 0
    if options.picture is not None:
        _check_picture(options.picture)
    call = f"crl-eqx envs {options.name}"
    env = task_from_words(call, options.name, options.env_option)
    console.print(_table([suite.task(options.name, env)]))
    if isinstance(env, suite.AbstractMujocoEnv):
        console.print(_layout(env))
    console.print(_options(options.name))
    console.print(inspect.getdoc(type(env)) or "", highlight=False)
    if options.picture is not None:
        from ..run import still  # which needs matplotlib

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


def _options(name: str) -> Table:
    """What `--env-option` takes for this task."""
    table = Table(title="options")
    for column in ("--env-option", "value", "default"):
        table.add_column(column, no_wrap=column == "--env-option")
    for option, parameter in suite.task_options(name).items():
        needed = parameter.default is inspect.Parameter.empty
        default = "null" if parameter.default is None else f"{parameter.default}"
        value = suite.annotation_in_words(parameter.annotation)
        table.add_row(option, value, "" if needed else default)
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
        "far goals",
    ):
        table.add_column(column, no_wrap=column == "task")
    for task in tasks:
        table.add_row(
            task.name.rpartition("/")[2],  # with its folders one's own would leave no room
            f"{task.state_size}",
            f"{task.action_size}",
            f"{task.goal_size}",
            f"{task.episode_length}",
            "" if task.control_dt is None else f"{task.control_dt:g}",
            f"< {task.threshold:g}",
            "yes" if task.eval_split else "",
        )
    return table
