"""Where a run begins: from nothing, or from what an earlier one has left."""

import dataclasses
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from .. import envs
from .._agent import Agent
from .._errors import UserError
from .._fork import not_forked
from .._train_state import TrainState
from ..config import (
    Compute,
    CONFIG,
    Config,
    differences,
    experiment_checksum,
    load_config,
    replaced,
    save_config,
)
from ..parts import make_task, on_this_machine
from ..run_files import (
    check_same_task,
    has_changed,
    keep_task,
    read_metrics,
    record_provenance,
    remember,
    require_trust,
    task_file,
    TASK_FILES,
)
from ..store._files import refuse_link
from ._other_run import checksum
from ._resources import check_resources, estimate
from ._run import BEST, Run


Say = Callable[[str], None]
"""Takes a sentence for the user."""


def check_room(runs: Sequence[Run], begun: Collection[Path], say: Say) -> dict[str, Any]:
    """Whether all fit that are trained together, of which those `begun` go on; says what each of
    them is.

    **Returns:** what is to be recorded of it.

    **Raises:** `UserError` if memory or disk is short, or a run is not what it was.
    """
    for run in runs:
        for name in ("checkpoints", BEST, TASK_FILES):
            refuse_link(run.run_dir / name)
        if run.run_dir in begun:
            # Before anything of that size is compiled; what is restored is checked below.
            check_saved_under(run.store.metadata() or {}, run.run_dir, run.config)
    run, *_ = runs
    abstract = run.abstract()
    needs = estimate(run.config, run.step, abstract)
    check_resources(run.config, run.step, needs, [run.run_dir for run in runs])
    audit = run.step.audit(abstract.agent)
    say(str(audit))
    say(f"{'The run' if len(runs) == 1 else f'Each of {len(runs)} runs'} {needs}.")
    if not (envs.is_gymnasium(run.config.env) or task_file(run.config.env)):
        say(f"Physics: {run.config.physics}, {_where(run.config.physics)}.")
    if run.regions is not None:
        share = run.regions.share
        say(f"Training commands {1 - share:.0%} of the goals, and never the other {share:.0%}.")
    cost = audit.flops_per_update(run.step.batch_size)
    return {"estimate": str(needs), "flop_per_update": cost}


Beginning = tuple[TrainState, dict[str, Any]]
"""Where a run begins, and the metadata of that checkpoint; empty at its first step."""


def beginning(run: Run, say: Say, *, resume: bool, refill: bool, at: int | None) -> Beginning:
    """Where a run goes on: by default at its newest good checkpoint; or where it begins. Changes
    nothing in its directory.

    **Raises:** `NoneGood`, or another `UserError`, if it cannot go on.
    """
    if not resume:
        return run.initial(), {}
    run.best.adopt()
    found = run.store.restore(run.abstract(), run.step.buffer, at=at, report=say, refill=refill)
    if found is None:
        _check_nothing_lost(run)
        say("No checkpoint was saved yet: the run starts from its beginning.")
        return run.initial(), {}
    _check_same_experiment(found[1], run)
    return found


def record(run: Run, state: TrainState, about: dict[str, Any], say: Say, *, resumed: bool) -> None:
    """Writes down in the run's directory what it is, what is known `about` it and on what it runs,
    before it does."""
    save_config(run.config, run.run_dir / CONFIG)
    remember(run.config, run.run_dir)  # and again below, once its files are copied
    if not resumed:  # a resumed run has its copy
        copy_task_files(run.task_config, run.run_dir, say)
    if has_changed(run.config.env, run.run_dir):
        say(
            f"`{task_file(run.config.env)}` or a file that it uses has changed: the run goes on "
            f"with its own copies."
        )
    remember(run.config, run.run_dir)
    if not resumed and run.config.network.init_from is not None:
        about = about | {"init_from_checksum": checksum(state.agent)}
    path = run.run_dir / "provenance.json"
    record_provenance(path, task=run.config.env, about=about, report=say)


def _where(physics: str) -> str:
    if physics != "native":
        return "where JAX computes"
    cores = envs.num_cores()
    return f"on {cores} {'core' if cores == 1 else 'cores'}"


def _check_nothing_lost(run: Run) -> None:
    """**Raises:** `UserError` if a run without a checkpoint has metrics of a later step than 0:
    every run saves a checkpoint before it writes its first row."""
    reached = max(
        (row["env_steps"] for row in read_metrics(run.run_dir / "metrics.jsonl")), default=0
    )
    if reached:
        raise UserError(
            f"`{run.run_dir}` has metrics of {reached:,} environment steps, and no checkpoint: put "
            f"its `checkpoints` back, or start a new run elsewhere."
        )


def _check_same_experiment(metadata: dict[str, Any], run: Run) -> None:
    """**Raises:** `UserError` if a checkpoint was saved under another configuration, or
    with another version of the task."""
    check_saved_under(metadata, run.run_dir, run.config)
    check_same_task(run.config.env, before=metadata.get("task"), now=run.identity["task"])
    if metadata.get("collector") != run.identity.get("collector"):
        raise UserError(
            f"`--collect-with {run.config.data.collect_with}` is not the agent that this run began "
            f"with: it has been trained on since, or is another one."
        )


def check_saved_under(metadata: dict[str, Any], run_dir: Path, config: Config) -> None:
    """**Raises:** `UserError` if a checkpoint with that metadata was saved under another
    configuration."""
    if metadata.get("experiment") not in (None, experiment_checksum(config)):
        raise UserError(
            f"`{run_dir / CONFIG}` is not what its checkpoints were saved under: it was "
            f"changed or damaged since, or they are another run's."
        )


def with_schedule_of(old: Config, new: Config) -> Config:
    """`new` with a schedule as long as `old`'s, where it asks for no length: a run keeps the one
    that it began with."""
    if new.learning.schedule_updates is not None:
        return new
    return replaced(new, schedule_updates=old.learning.schedule_updates)


def resumed_config(old: Config, new: Config, call: str) -> Config:
    """`new`, if it is still the same experiment as `old`; `call` is what the user wrote.

    **Raises:** `UserError` with the differences if it is not.
    """
    old, new = on_this_machine(old), on_this_machine(with_schedule_of(old, new))
    changes = differences(old, new)
    if changes:
        raise UserError(
            f"`{call}` would change the experiment: {', '.join(changes)}. Only "
            f"the budget, evaluation, logging and how networks are computed may change; start a "
            f"new run for the rest."
        )
    return new


@not_forked
def load_run(
    run_dir: Path | str, compute: Compute | None = None, *, best: bool = False
) -> tuple[Run, Agent]:
    """A finished or stopped run and its newest good agent, or that of its best evaluation, to
    evaluate or to draw. Says on stderr which checkpoints it had to skip.

    Its networks are computed as `compute` says, not as the run's configuration does: an agent
    trained on a GPU can be viewed on a laptop.

    **Raises:** `UserError` if there is no agent, it cannot be computed that way, or its
    configuration is not what it was saved under.
    """
    run_dir = Path(run_dir)
    config = dataclasses.replace(load_config(run_dir / CONFIG), compute=compute or Compute())
    require_trust(config, run_dir)
    run, skipped = Run(config, run_dir, collecting=False), []
    check_saved_under(run.store.metadata() or {}, run_dir, config)
    store = run.best if best else run.store
    agent = store.newest_agent(run.abstract().agent, report=skipped.append)
    if agent is None:
        none = "kept no checkpoint of its best evaluation" if best else "has no checkpoint yet"
        raise UserError(skipped[0] if skipped else f"`{run_dir}` {none}.")
    for sentence in skipped:
        print(sentence, file=sys.stderr)
    return run, agent


def copy_task_files(config: Config, run_dir: Path, say: Say) -> None:
    """A copy of the files of the user's own task in `run_dir`."""
    if why_not := keep_task(config.env, run_dir, lambda name: make_task(config, name)):
        say(f"The run keeps no copy of its task, and needs it where it is: {why_not}.")
