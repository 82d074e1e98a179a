"""Training runs in their directories: what a person starts."""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from .._errors import UserError
from .._fork import not_forked
from .._train_state import TrainState
from ..config import CONFIG, Config, flag, flat, load_config
from ..parts import resolved
from ..run_files import (
    alone,
    prepare_run_dir,
    read_metrics,
    require_trust,
    with_absolute_path,
)
from ..store import CheckpointStore, NoneGood
from ._begin import Beginning, beginning, check_room, record, Say, with_schedule_of
from ._deterministic import check_determinism
from ._group import Group
from ._journal import failure_in, Journal
from ._loop import Loop, Outcome
from ._progress import Reporter
from ._run import Run
from ._signals import stop_requests
from ._stopping import reason_to_stop


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
    begun = [run_dir] if resume else []
    return train_together({run_dir: config}, console, begun=begun, refill_replay=refill_replay)[0]


@not_forked
def train_together(
    configs: Mapping[Path, Config],
    console: Console,
    *,
    begun: Collection[Path] = (),
    refill_replay: bool = False,
) -> list[Outcome]:
    """As `train`, for several seeds at once, in one program: `configs` are the runs by their
    directories, and differ in their seeds only. Those `begun` are gone on with, from the newest
    checkpoint that all have. A run that ends early, or fails, leaves the others, which go on; that
    one failed is raised when they have ended.

    What is in a directory is what a run alone would leave there: it can be resumed alone.

    **Returns:** their outcomes, in the order of the runs.

    **Raises:** as `train`; and `UserError` if they have no checkpoint in common.
    """
    if not configs:
        raise UserError("`train_together(configs={})` needs at least one run.")
    check_alike(configs.values())
    for config in configs.values():
        check_determinism(config)
    begun = [run_dir for run_dir in configs if run_dir in begun]
    for run_dir in begun:
        require_trust(configs[run_dir], run_dir)
    configs = {
        run_dir: _as_begun(config, run_dir) if run_dir in begun else config
        for run_dir, config in configs.items()
    }
    runs = [
        Run(with_absolute_path(resolved(config)), run_dir) for run_dir, config in configs.items()
    ]
    parts = _parts(runs, begun)
    if len(parts) > 1:
        each = [{run_dir: configs[run_dir] for run_dir in part} for part in parts]
        outcomes = _one_after_the_other(each, console, begun=begun, refill_replay=refill_replay)
        return [outcomes[run_dir] for run_dir in configs]
    group = Group(runs)
    for run_dir in configs:
        if run_dir not in begun:
            prepare_run_dir(run_dir)
    with contextlib.ExitStack() as stack:
        for run_dir in configs:
            stack.enter_context(alone(run_dir))
        stop = stack.enter_context(stop_requests())
        states, metadata = _begun(runs, console, begun=begun, refill_replay=refill_replay)
        journals = []
        for run, state, kept in zip(runs, states, metadata, strict=True):
            journals.append(Journal(run, int(state.env_steps), kept))
            stack.callback(journals[-1].close)
        unsaved = not all(metadata)
        total, done = group.config.total_env_steps, int(states[0].env_steps)
        reporter = Reporter(console, total=total, done=done)
        stack.callback(reporter.close)
        state = group.stack(states)
        del states  # whose memory the stacked one has taken
        loop = Loop(group, state, journals, reporter, stop)
        loop.go(unsaved=unsaved)
    return [loop.outcomes[run_dir] for run_dir in configs]


def _parts(runs: Sequence[Run], begun: Collection[Path]) -> list[list[Path]]:
    """Which runs are trained together. Of those `begun` one that is done leaves the others as they
    are, and one that failed may do so again: they come alone, before and after the others."""
    if len(runs) == 1:
        return [[runs[0].run_dir]]
    several = [run for run in runs if run.run_dir in begun]
    done = [run.run_dir for run in several if _is_done(run)]
    failed = [
        run.run_dir
        for run in several
        if run.run_dir not in done and failure_in(read_metrics(run.run_dir / "metrics.jsonl"))
    ]
    others = [run.run_dir for run in runs if run.run_dir not in {*done, *failed}]
    parts = [*([run_dir] for run_dir in done), others, *([run_dir] for run_dir in failed)]
    return [part for part in parts if part]


def _one_after_the_other(
    parts: Sequence[Mapping[Path, Config]],
    console: Console,
    *,
    begun: Collection[Path],
    refill_replay: bool,
) -> dict[Path, Outcome]:
    """The outcomes of all parts. Once one is asked to stop, those after it stay where they are."""
    outcomes: dict[Path, Outcome] = {}
    stopped = 0
    for part in parts:
        if stopped:
            for run_dir in part:
                saved = max(CheckpointStore(run_dir / "checkpoints").steps(), default=0)
                outcomes[run_dir] = Outcome(run_dir, saved, stopped, None)
            continue
        found = train_together(part, console, begun=begun, refill_replay=refill_replay)
        outcomes |= {outcome.run_dir: outcome for outcome in found}
        stopped = max(outcome.exit_code for outcome in found)
    return outcomes


def _as_begun(config: Config, run_dir: Path) -> Config:
    """`config` with the schedule of the run in `run_dir`: a sweep knows no length that all have."""
    kept = run_dir / CONFIG
    return with_schedule_of(load_config(kept), config) if kept.is_file() else config


def check_alike(configs: Collection[Config]) -> None:
    """**Raises:** `UserError` if one program cannot train these runs: if they differ in more than
    their seed and directory."""
    each = [[*flat(dataclasses.replace(c, seed=0, run_dir=None))] for c in configs]
    seeds_differ = len({c.seed for c in configs}) > 1
    for config in configs:
        if seeds_differ and "{seed}" in (config.data.collect_with or ""):
            raise UserError(
                f"`--collect-with {config.data.collect_with}` is another agent for every seed: "
                f"leave out `--together`."
            )
        if len(configs) > 1 and config.data.collect == "overlap":
            raise UserError("`--collect overlap` trains one seed: leave out `--together`.")
    names = {flag(a[1]) for other in each for a, b in zip(other, each[0], strict=True) if a != b}
    if names:
        raise UserError(
            f"`train_together` was given runs that differ in {', '.join(sorted(names))}: one "
            f"program trains runs that differ in their seed only."
        )


def _is_done(run: Run) -> bool:
    """Whether its newest checkpoint is its end."""
    steps, kept = run.store.steps(), run.store.metadata() or {}
    if not steps or kept.get("evaluation_due"):
        return False
    hours = float(kept.get("elapsed_seconds", 0.0)) / 3600
    evaluations, verdicts = kept.get("evaluations", ()), kept.get("verdicts", ())
    reason = reason_to_stop(evaluations, verdicts, hours=hours, config=run.config)
    return reason is not None or steps[-1] >= run.config.total_env_steps


def _begun(
    runs: Sequence[Run], console: Console, *, begun: Collection[Path], refill_replay: bool
) -> tuple[list[TrainState], list[dict[str, Any]]]:
    """Where all of them begin, and the metadata of its checkpoints: of several that go on the
    newest step of which all have a good one. Until it is found no run's files are changed."""
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    about = check_room(runs, begun, say)
    at, found = _beginnings(runs, say, begun=begun, refill=refill_replay)
    states, metadata = [state for state, _ in found], [kept for _, kept in found]
    resumed = any(metadata)
    if resumed:
        say(f"Going on from step {int(states[0].env_steps):,}.")
    for run, state, kept in zip(runs, states, metadata, strict=True):
        if at is not None:
            run.store.abandon_after(at)
        record(run, state, about, say, resumed=bool(kept))
    first = runs[0]
    if resumed and not first.env.resumable:
        env = first.config.env
        say(f"{env} is not in the checkpoint: the run goes on with fresh episodes.")
        renew = first.step.with_fresh_episodes
        states = [renew(s) if kept else s for s, kept in zip(states, metadata, strict=True)]
    return states, metadata


def _beginnings(
    runs: Sequence[Run], say: Say, *, begun: Collection[Path], refill: bool
) -> tuple[int | None, list[Beginning]]:
    """Where each begins, and the step that several have in common, if they go on."""

    def all_at(at: int | None) -> list[Beginning]:
        return [
            beginning(run, say, resume=run.run_dir in begun, refill=refill, at=at) for run in runs
        ]

    if not begun or len(runs) == 1:
        return None, all_at(None)
    *newer, oldest = _common_steps(runs)
    for at in newer:
        with contextlib.suppress(NoneGood):
            return at, all_at(at)
    return oldest, all_at(oldest)


def _common_steps(runs: Sequence[Run]) -> list[int]:
    """Those of which all have a checkpoint, the newest first; a run without any is at its
    beginning.

    **Raises:** `UserError` if there is none.
    """
    common = set.intersection(*({*run.store.steps()} or {0} for run in runs))
    if not common:
        newest = [f"seed {run.seed} {max(run.store.steps(), default=0):,}" for run in runs]
        raise UserError(
            f"These runs have no checkpoint in common (newest steps: {', '.join(newest)}): resume "
            f"them without `--together`."
        )
    return sorted(common, reverse=True)
