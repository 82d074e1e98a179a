"""What a run does from beginning to end, over and over."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from .._errors import TrainingError
from .._train_state import TrainState
from ._group import Group
from ._journal import Journal
from ._progress import Reporter
from ._signals import StopRequest
from ._stopping import Reason


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


AT_RISK = 600.0
"""Seconds after which a checkpoint is made between those asked for: to be killed shall cost minutes
at most, however slow the networks are. It changes nothing of what is learnt."""


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
        self.failures: dict[Path, str] = {}
        self.saved_at = time.monotonic()

    def go(self, *, unsaved: bool) -> None:
        """To the end; `unsaved` if the state is none that a checkpoint holds."""
        config, stop = self.config, self.stop
        self.unsaved = unsaved
        if any(journal.evaluation_due for journal in self.journals):
            if unsaved:
                self.save()
            self.measure(evaluating=True, again=True)
        self.let_go()
        while self.journals and not stop and self.env_steps < config.total_env_steps:
            before = self.env_steps
            self.advance()
            if not self.journals:
                break
            over = self.env_steps >= config.total_env_steps or any(self.reasons())
            evaluating = over or crossed(before, self.env_steps, config.evaluation.eval_every)
            saving = crossed(before, self.env_steps, config.logging.checkpoint_every)
            if saving and evaluating:
                self.save(evaluation_due=True)  # before an evaluation, which can take minutes
                saving = False
            if evaluating or crossed(before, self.env_steps, config.logging.log_every):
                self.measure(evaluating=evaluating)
                if not evaluating and any(self.reasons()):  # as that very row said
                    self.measure(evaluating=True)
            if saving or stop.save or time.monotonic() - self.saved_at > AT_RISK:
                self.save()
            self.reporter.update(self.env_steps)
            self.let_go()
        if self.journals and self.unsaved:
            self.save()
        for journal in self.journals:
            self.end(journal, None)
        if self.failures and not stop:
            raise TrainingError(" ".join(self.failures.values()))
        for run_dir, why in self.failures.items():  # told when it is resumed, too
            self.reporter.say(why)
            self.outcomes[run_dir] = Outcome(run_dir, self.env_steps, stop.exit_code, None)

    def reasons(self) -> list[Reason | None]:
        return [journal.reason for journal in self.journals]

    def advance(self) -> None:
        """One unroll of all."""
        prefilling = self.group.prefilling(self.state)
        phase = self.enter("prefilling" if prefilling else "training")
        updates_before, begun = self.gradient_steps, time.monotonic()
        self.state, metrics = self.group.advance(self.state)
        self.unsaved = True
        self.env_steps = int(self.state.env_steps)
        self.gradient_steps = int(self.state.gradient_steps)
        updates = self.gradient_steps - updates_before
        seconds = None if phase == "compiling" else time.monotonic() - begun
        failed = []
        for index, (journal, row) in enumerate(zip(self.journals, metrics, strict=True)):
            try:
                journal.add(row, updates=updates, seconds=seconds)
            except TrainingError as error:
                journal.fail(self.counters, str(error))
                self.failures[journal.run.run_dir] = f"{self.about(journal)}{error}"
                failed.append(index)
        if failed:
            self.keep([index for index in range(len(metrics)) if index not in failed])
        if not self.journals:
            return
        # They were begun one after the other, and end at the same step.
        hours = max(journal.hours for journal in self.journals)
        for journal in self.journals:
            journal.hours = hours

    @property
    def counters(self) -> dict[str, int]:
        """What every row begins with."""
        return {"env_steps": self.env_steps, "gradient_steps": self.gradient_steps}

    def enter(self, phase: str) -> str:
        """**Returns:** the phase: `phase`, or "compiling" the first time."""
        phase = phase if phase == "saving" else self.group.phase(phase)
        self.reporter.phase(phase)
        for journal in self.journals:
            journal.enter(phase)
        return phase

    def save(self, *, evaluation_due: bool = False) -> None:
        """A checkpoint of each, which an evaluation is to follow if it is due."""
        self.enter("saving")
        for index, journal in enumerate(self.journals):
            journal.evaluation_due = journal.evaluation_due or evaluation_due
            journal.save(self.group.one(self.state, index))
        self.unsaved, self.stop.save, self.saved_at = False, False, time.monotonic()

    def undisturbed(self, share: float) -> bool:
        """Whether an evaluation, of which that share is done, may go on."""
        self.reporter.part(share)
        if self.stop.save:
            self.save()
            self.enter("evaluating")
        return not self.stop

    def measure(self, *, evaluating: bool, again: bool = False) -> None:
        """Writes a row about each present state, unless a stop comes between: then it is due. One
        that is made `again` is for those alone that it is due for."""
        group, state, journals = self.group, self.state, self.journals
        found: list[dict[str, float]] = [{} for _ in journals]
        due = [journal.evaluation_due or not again for journal in journals]
        if evaluating:
            for journal, is_due in zip(journals, due, strict=True):
                journal.evaluation_due = is_due
            self.enter("evaluating")
            evaluations = group.evaluations(state, self.env_steps, may_go_on=self.undisturbed)
            if evaluations is None:
                return
            found, self.unsaved = evaluations, True
            for index, (journal, row) in enumerate(zip(journals, found, strict=True)):
                its_own = lambda index=index: group.one(state, index)
                if due[index]:
                    journal.add_evaluation(row, self.env_steps, its_own)
            rates = [journal.evaluations[-1]["success_rate"] for journal in journals]
            self.reporter.success(statistics.mean(rates))
        health: list[dict] = [{} for _ in journals]
        seen_any = int(state.buffer.inserted) > 0  # without a prefill there may be nothing yet
        if self.config.logging.diagnostics and seen_any and not group.prefilling(state):
            self.enter("diagnosing")
            health = group.diagnoses(state, self.env_steps)
        for journal, row, seen, is_due in zip(journals, found, health, due, strict=True):
            if is_due and (news := journal.write(self.counters, row, seen)):
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
        self.keep(stay)

    def keep(self, indices: Sequence[int]) -> None:
        """Goes on with these alone."""
        if indices:
            self.group, self.state = self.group.only(self.state, indices)
        self.journals = [self.journals[index] for index in indices]

    def end(self, journal: Journal, reason: Reason | None) -> None:
        """A run's outcome."""
        success = journal.evaluations[-1]["success_rate"] if journal.evaluations else None
        run_dir = journal.run.run_dir
        code = self.stop.exit_code
        self.outcomes[run_dir] = Outcome(run_dir, self.env_steps, code, success, reason)
