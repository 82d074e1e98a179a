"""The loop that a person starts."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from .._errors import TrainingError, UserError
from .._fork import not_forked
from .._train_state import TrainState
from ..config import Config, flag, flat
from ..run_files import alone, prepare_run_dir, require_trust, with_absolute_path
from ._begin import begin
from ._build import resolved
from ._group import Group
from ._journal import Journal
from ._progress import Reporter
from ._run import Run
from ._signals import stop_requests, StopRequest
from ._stopping import Reason, reason_to_stop


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


class Loop:
    """Advances runs to their budget, to a reason to stop before, or to a request to stop."""

    def __init__(
        self,
        group: Group,
        state: TrainState,
        journals: Sequence[Journal],
        reporter: Reporter,
        stop: StopRequest,
    ):
        self.group, self.state, self.journals = group, state, list(journals)
        self.reporter, self.stop = reporter, stop
        self.config = group.config
        self.env_steps, self.gradient_steps = int(state.env_steps), int(state.gradient_steps)
        self.outcomes: dict[Path, Outcome] = {}

    def go(self, *, unsaved: bool) -> None:
        """To the end; `unsaved` if the state is none that a checkpoint holds."""
        config, stop = self.config, self.stop
        self.unsaved = unsaved
        if any(journal.evaluation_due for journal in self.journals):
            if unsaved:
                self.save()  # evaluating a deep network on a slow machine takes minutes
            self.measure(evaluating=True)
        self.let_go()
        while self.journals and not stop and self.env_steps < config.total_env_steps:
            before = self.env_steps
            self.advance()
            over = self.env_steps >= config.total_env_steps or any(self.reasons())
            evaluating = over or crossed(before, self.env_steps, config.evaluation.eval_every)
            if evaluating or crossed(before, self.env_steps, config.logging.log_every):
                self.measure(evaluating=evaluating)
            if stop.save or crossed(before, self.env_steps, config.logging.checkpoint_every):
                self.save()
            self.reporter.update(self.env_steps)
            self.let_go()
        if self.journals and self.unsaved:
            self.save()
        for journal in self.journals:
            self.end(journal, None)

    def reasons(self) -> list[Reason | None]:
        return [journal.reason for journal in self.journals]

    def advance(self) -> None:
        """One unroll of all."""
        prefilling = self.group.prefilling(self.state)
        phase = self.group.phase("prefilling" if prefilling else "training")
        self.reporter.phase(phase)
        updates_before, begun = self.gradient_steps, time.monotonic()
        self.state, metrics = self.group.advance(self.state)
        self.unsaved = True
        self.env_steps = int(self.state.env_steps)
        self.gradient_steps = int(self.state.gradient_steps)
        updates = self.gradient_steps - updates_before
        seconds = None if phase == "compiling" else time.monotonic() - begun
        for journal, row in zip(self.journals, metrics, strict=True):
            try:
                journal.add(row, updates=updates, seconds=seconds)
            except TrainingError as error:
                raise TrainingError(f"{self.about(journal)}{error}") from None

    def save(self) -> None:
        """A checkpoint of each."""
        self.reporter.phase("saving")
        for index, journal in enumerate(self.journals):
            journal.save(self.group.one(self.state, index))
        self.unsaved, self.stop.save = False, False

    def undisturbed(self, share: float) -> bool:
        """Whether an evaluation, of which that share is done, may go on."""
        self.reporter.part(share)
        if self.stop.save:
            self.save()
            self.reporter.phase("evaluating")
        return not self.stop

    def measure(self, *, evaluating: bool) -> None:
        """Writes a row about each present state, unless a stop comes between: then it is due."""
        group, state, journals = self.group, self.state, self.journals
        found: list[dict[str, float]] = [{} for _ in journals]
        if evaluating:
            for journal in journals:
                journal.evaluation_due = True
            self.reporter.phase(group.phase("evaluating"))
            evaluations = group.evaluations(state, self.env_steps, may_go_on=self.undisturbed)
            if evaluations is None:
                return
            found, self.unsaved = evaluations, True
            for index, (journal, row) in enumerate(zip(journals, found, strict=True)):
                its_own = lambda index=index: group.one(state, index)
                journal.add_evaluation(row, self.env_steps, its_own)
            rates = [journal.evaluations[-1]["success_rate"] for journal in journals]
            self.reporter.success(statistics.mean(rates))
        health: list[dict] = [{} for _ in journals]
        if self.config.logging.diagnostics and not group.prefilling(state):
            health = group.diagnoses(state, self.env_steps)
        counters = {"env_steps": self.env_steps, "gradient_steps": self.gradient_steps}
        for journal, row, seen in zip(journals, found, health, strict=True):
            if news := journal.write(counters, row, seen):
                self.reporter.say(self.about(journal) + news)

    def about(self, journal: Journal) -> str:
        """Whose news it is, where there are several."""
        return f"seed {journal.run.seed}: " if len(self.journals) > 1 else ""

    def let_go(self) -> None:
        """Runs that have a reason to stop end; the others go on without them."""
        reasons = self.reasons()
        if not any(reasons):
            return
        if self.unsaved:
            self.save()
        stay = [index for index, reason in enumerate(reasons) if reason is None]
        for journal, reason in zip(self.journals, reasons, strict=True):
            if reason is not None:
                self.end(journal, reason)
        if stay:
            self.group, self.state = self.group.only(self.state, stay)
        self.journals = [self.journals[index] for index in stay]

    def end(self, journal: Journal, reason: Reason | None) -> None:
        """A run's outcome."""
        success = journal.evaluations[-1]["success_rate"] if journal.evaluations else None
        run_dir = journal.run.run_dir
        code = self.stop.exit_code
        self.outcomes[run_dir] = Outcome(run_dir, self.env_steps, code, success, reason)


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
    checkpoint that all have. A run that ends early leaves the others, which go on.

    What is in a directory is what a run alone would leave there: it can be resumed alone.

    **Returns:** their outcomes, in the order of the runs.

    **Raises:** as `train`; and `UserError` if they have no checkpoint in common.
    """
    if not configs:
        raise UserError("`train_together(configs={})` needs at least one run.")
    _check_alike(configs.values())
    begun = [run_dir for run_dir in configs if run_dir in begun]
    for run_dir in begun:
        require_trust(configs[run_dir], run_dir)
    runs = [
        Run(with_absolute_path(resolved(config)), run_dir) for run_dir, config in configs.items()
    ]
    done = [run.run_dir for run in runs if len(runs) > 1 and run.run_dir in begun and _is_done(run)]
    if done:  # these leave the others as they are
        parts = [[run_dir] for run_dir in done] + [[d for d in configs if d not in done]]
        outcomes: dict[Path, Outcome] = {}
        for part in filter(None, parts):
            chosen = {run_dir: configs[run_dir] for run_dir in part}
            found = train_together(chosen, console, begun=begun, refill_replay=refill_replay)
            outcomes |= {outcome.run_dir: outcome for outcome in found}
        return [outcomes[run_dir] for run_dir in configs]
    group = Group(runs)
    for run_dir in configs:
        if run_dir not in begun:
            prepare_run_dir(run_dir)
    with contextlib.ExitStack() as stack:
        for run_dir in configs:
            stack.enter_context(alone(run_dir))
        stop = stack.enter_context(stop_requests())
        at = _common_step(runs) if begun and len(runs) > 1 else None
        states, journals, unsaved = [], [], False
        for run in runs:
            state, kept = begin(
                run,
                console,
                resume=run.run_dir in begun,
                refill=refill_replay,
                at=at,
                among=len(runs),
                quiet=bool(states),
            )
            states.append(state)
            journals.append(Journal(run, int(state.env_steps), kept))
            stack.callback(journals[-1].close)
            unsaved = unsaved or not kept
        total, done = group.config.total_env_steps, int(states[0].env_steps)
        reporter = Reporter(console, total=total, done=done)
        stack.callback(reporter.close)
        state = group.stack(states)
        del states  # whose memory the stacked one has taken
        loop = Loop(group, state, journals, reporter, stop)
        loop.go(unsaved=unsaved)
    return [loop.outcomes[run_dir] for run_dir in configs]


def _check_alike(configs: Collection[Config]) -> None:
    """**Raises:** `UserError` if runs differ in more than their seed and directory."""
    each = [[*flat(dataclasses.replace(c, seed=0, run_dir=None))] for c in configs]
    seeds_differ = len({c.seed for c in configs}) > 1
    for config in configs:
        if seeds_differ and "{seed}" in (config.data.collect_with or ""):
            raise UserError(
                f"`--collect-with {config.data.collect_with}` is another agent for every seed: "
                f"leave out `--together`."
            )
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


def _common_step(runs: Sequence[Run]) -> int:
    """The newest step of which all have a checkpoint; a run without any is at its beginning.

    **Raises:** `UserError` if there is none.
    """
    common = set.intersection(*({*run.store.steps()} or {0} for run in runs))
    if not common:
        newest = [f"seed {run.seed} {max(run.store.steps(), default=0):,}" for run in runs]
        raise UserError(
            f"These runs have no checkpoint in common (newest steps: {', '.join(newest)}): resume "
            f"them without `--together`."
        )
    return max(common)
