"""The loop that a person starts: everything with an effect that is not a picture."""

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import filelock
import jax
import numpy as np
from rich.console import Console

from .. import envs
from .._agent import Agent
from .._diagnose import diagnose, VERDICTS
from .._env import AbstractGoalEnv
from .._errors import TrainingError, UserError
from .._evaluate import begin, go_on, UnderWay
from .._fork import not_forked
from .._train import Acting, TrainState, TrainStep
from .._types import PRNGKey
from ..nn import audit
from ..store import CheckpointStore
from ..store._files import make_writable, refuse_link
from ._build import (
    check,
    check_compute,
    make_acting,
    make_agent,
    make_env,
    make_regions,
    make_task,
    make_train_step,
    sizes,
    with_physics,
)
from ._config import (
    Compute,
    CONFIG,
    Config,
    differences,
    experiment_checksum,
    file_name,
    load_config,
    save_config,
    SEEDS,
)
from ._progress import Reporter
from ._provenance import record_provenance
from ._resources import check_resources, estimate
from ._signals import stop_requests, StopRequest
from ._task_files import FOLDER as TASK_FILES, has_changed, keep_task, kept_task, task_file
from ._trust import (
    check_same_task,
    fingerprint,
    remember,
    require_trust,
    with_whole_path,
)
from ._writers import read_metrics, Writers


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    run_dir: Path
    env_steps: int
    exit_code: int
    """0, or 128 + the signal that stopped it."""
    success_rate: float | None
    """The last evaluation's."""


def default_run_dir(config: Config) -> Path:
    return Path("runs") / f"{file_name(config.env)}_depth{config.network.depth}"


def prepare_run_dir(run_dir: Path, *, within: Path | None = None) -> None:
    """Makes a directory for a new run, one of several `within` another.

    **Raises:** `UserError` if it cannot be made, is in use, or leads out of the other.
    """
    if within is not None:
        refuse_link(run_dir)
    try:
        if any((run_dir / name).exists() for name in (CONFIG, SEEDS)):
            raise UserError(
                f"`--run-dir {run_dir}` already holds a run: go on with `crl-eqx resume "
                f"{run_dir}`, or name another directory."
            )
        for name in ("metrics.jsonl", "checkpoints"):
            if os.path.lexists(run_dir / name):
                raise UserError(
                    f"`--run-dir {run_dir}` holds `{name}` of a run without its {CONFIG}: name "
                    f"another directory."
                )
        make_writable(run_dir)
    except OSError as error:
        raise UserError(f"`--run-dir {run_dir}` cannot be written: {error.strerror}.") from error


def crossed(before: int, now: int, every: int) -> bool:
    """Whether a schedule is due: a function of step counts alone, so that resuming keeps it."""
    return before // every != now // every


def is_enough(successes: Sequence[float], config: Config) -> bool:
    """Whether two evaluations in a row have reached what `--stop-at-success` asks for."""
    enough = config.evaluation.stop_at_success
    return enough is not None and len(successes) == 2 and min(successes) >= enough


def run_key(seed: int, purpose: str):
    """Independent keys of one seed; evaluations do not disturb the training's."""
    purposes = ("agent", "train", "evaluate", "diagnose")
    return jax.random.fold_in(jax.random.key(seed), purposes.index(purpose))


# The state is donated, and so updated in place; the step, which holds the environment, is not.
_collect = eqx.filter_jit(TrainStep.collect, donate="all-except-first")
_train = eqx.filter_jit(TrainStep.__call__, donate="all-except-first")
_begin_episodes = eqx.filter_jit(begin)


@eqx.filter_jit
def _play(acting: Acting, agent: Agent, env: AbstractGoalEnv, under_way: UnderWay, keys):
    return go_on(acting(agent), env, under_way, keys)[0]


@eqx.filter_jit
def _summary(under_way: UnderWay):
    return under_way.evaluation().summary()


@eqx.filter_jit
def _diagnose(step: TrainStep, state: TrainState, key: PRNGKey) -> dict[str, jax.Array]:
    batch_key, loss_key = jax.random.split(key)
    size = (min(step.batch_size, 256),)
    batch = step.buffer.sample(state.buffer, size, discount=step.discount, key=batch_key)
    goals = step.env.achieved_goal
    return diagnose(state.agent, batch, objective=step.objective, achieved_goal=goals, key=loss_key)


def _check_same_sizes(training: AbstractGoalEnv, env: AbstractGoalEnv, config: Config) -> None:
    """**Raises:** `UserError` where training's options make a task that the agent is not for."""
    if sizes(training) != sizes(env):
        words = " ".join(config.task.train_env_option)
        raise UserError(
            f"`--train-env-option {words}` trains on state, action and goal sizes "
            f"{sizes(training)}, and is evaluated on {sizes(env)}: say `--env-option`."
        )


class PiecewiseEvaluation:
    """[`crl_eqx.evaluate`][] in some twenty calls, between which it can be left."""

    def __init__(self, acting: Acting, env: AbstractGoalEnv, num_episodes: int):
        steps = env.episode_length
        self._acting, self._env, self._num_episodes, self._steps = acting, env, num_episodes, steps
        self._piece = max(n for n in range(1, max(1, steps // 20) + 1) if steps % n == 0)

    def __call__(
        self, agent: Agent, key: PRNGKey, *, go_on: Callable[[float], bool]
    ) -> dict[str, float] | None:
        """The summary, or None if `go_on`, told the share that is done, said no."""
        under_way, keys = _begin_episodes(self._env, self._num_episodes, key=key)
        for done in range(0, self._steps, self._piece):
            if not go_on(done / self._steps):
                return None
            piece = keys[done : done + self._piece]
            under_way = _play(self._acting, agent, self._env, under_way, piece)
            jax.block_until_ready(under_way)
        return {name: float(value) for name, value in _summary(under_way).items()}


class Run:
    """One seed's run: its objects, its directory, and the compiled functions."""

    def __init__(self, config: Config, run_dir: Path):
        check(config)
        self.config, self.run_dir = config, run_dir
        self.seed = config.seed[0]
        self.task = dataclasses.replace(config, env=kept_task(config.env, run_dir))
        """The configuration by which tasks are made: where the run has a copy of the task's files,
        it names that."""
        self.env = make_env(self.task)
        self.regions = make_regions(self.task)
        training = self.env
        if config.task.train_env_option or self.regions is not None:
            training = make_env(self.task, training=True, regions=self.regions)
        _check_same_sizes(training, self.env, config)
        self.step = make_train_step(config, training)
        self.store = CheckpointStore(
            run_dir / "checkpoints",
            keep=config.logging.keep_checkpoints,
            replay=config.logging.save_replay,
        )
        self._evaluators = self._make_evaluators()
        self._compiled: set[str] = set()
        self._has_futures = False

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of what it is a checkpoint of."""
        task = fingerprint(self.config.env, self.run_dir, self.env)
        return {"experiment": experiment_checksum(self.config), "task": task}

    def initial(self) -> TrainState:
        agent = make_agent(self.config, self.env, key=run_key(self.seed, "agent"))
        return self.step.init(agent, key=run_key(self.seed, "train"))

    def abstract(self) -> TrainState:
        """The state's shapes, without its arrays."""
        return eqx.filter_eval_shape(self.initial)

    def _make_evaluators(self) -> dict[str, PiecewiseEvaluation]:
        evaluation = self.config.evaluation
        acting = make_acting(evaluation.eval_acting, self.config.data.candidates)
        splits = {"eval": self.env}
        if self.regions is not None:
            for goals in ("seen", "unseen"):
                splits[f"eval_{goals}"] = make_env(self.task, regions=self.regions, goals=goals)
        far = envs.eval_split(self.config.env)
        if evaluation.eval_split and far is not None:
            try:
                splits["eval_split"] = make_env(self.task, far)
            except UserError as error:
                raise UserError(
                    f"{error} This is about the task's far goals, {far}: `--no-eval-split` "
                    f"leaves them out."
                ) from error

        return {
            name: PiecewiseEvaluation(acting, env, evaluation.eval_episodes)
            for name, env in splits.items()
        }

    def prefilling(self, state: TrainState) -> bool:
        """Whether the replay still holds too little to learn from: at the beginning, and again
        after resuming a run whose replay was not saved."""
        return int(state.buffer.inserted) < self.step.prefill_unrolls * self.step.unroll_length

    def advance(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """One unroll, with updates once the prefill is over."""
        if self.prefilling(state):
            state, counts = _collect(self.step, state)
            return state, dataclasses.asdict(counts)
        self._require_futures(state)
        return _train(self.step, state)

    def _require_futures(self, state: TrainState) -> None:
        """**Raises:** `TrainingError` if there is nothing to learn from; asked once."""
        if not self._has_futures and not bool(self.step.buffer.can_sample(state.buffer)):
            raise TrainingError(
                f"None of the {int(state.env_steps):,} steps collected has a later one in its own "
                f"episode: every episode of {self.config.env} ends after one step, and there is "
                f"nothing to learn from."
            )
        self._has_futures = True

    def phase(self, name: str) -> str:
        """`name`, or "compiling" the first time that it is entered."""
        first = name not in self._compiled
        self._compiled.add(name)
        return "compiling" if first else name

    def evaluations(
        self, agent: Agent, env_steps: int, *, go_on: Callable[[float], bool]
    ) -> dict[str, float] | None:
        """Every split's metrics, from keys that only the seed and the step count fix; None if
        `go_on`, which is asked again and again and told the share that is done, said no."""
        key = jax.random.fold_in(run_key(self.seed, "evaluate"), env_steps)
        row: dict[str, float] = {}
        for number, (split, evaluator) in enumerate(self._evaluators.items()):
            share = lambda part, number=number: (number + part) / len(self._evaluators)
            metrics = evaluator(agent, key, go_on=lambda part, share=share: go_on(share(part)))
            if metrics is None:
                return None
            row |= {f"{split}/{name}": value for name, value in metrics.items()}
        return row

    def diagnostics(self, state: TrainState, env_steps: int) -> dict[str, Any]:
        key = jax.random.fold_in(run_key(self.seed, "diagnose"), env_steps)
        rows = {name: np.asarray(value) for name, value in _diagnose(self.step, state, key).items()}
        verdict = VERDICTS[int(rows.pop("verdict"))]
        return {"health/verdict": verdict} | {
            f"health/{name}": value.tolist() for name, value in rows.items()
        }


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
    return {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}


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
    raise TrainingError(
        f"Not finite from gradient step {began:,} on: {names}. The run stops; its last good "
        f"checkpoint ({_last_saved(run)}) is untouched. A lower learning rate or `--max-grad-norm "
        f"1` often helps."
    )


COUNTS = "train/episodes", "train/failures"


class Meter:
    """Averages training metrics between two rows, and measures the pace.

    `rows` is what a checkpoint keeps of it, so that the next row is an uninterrupted run's.
    """

    def __init__(self, env_steps: int, rows: Sequence[Any] = ()):
        self._since(env_steps)
        self.rows.extend((dict(row), int(updates)) for row, updates in rows)  # JSON has no tuples

    def _since(self, env_steps: int) -> None:
        self._env_steps, self._at = env_steps, time.monotonic()
        self.rows: list[tuple[dict[str, float], int]] = []
        self._timed_updates, self._seconds = 0, 0.0

    def add(self, row: dict[str, float], *, updates: int, seconds: float | None) -> None:
        """An unroll's metrics, averages over its `updates`, and the seconds that it took; None if
        compiling was part of them."""
        self.rows.append((row, updates))
        if seconds is not None:
            self._timed_updates += updates
            self._seconds += seconds

    def take(self, env_steps: int) -> dict[str, float]:
        """The averages over all updates since the last call; counts are summed."""
        counts = {name: sum(row[name] for row, _ in self.rows) for name in COUNTS if self.rows}
        learnt = [(row, updates) for row, updates in self.rows if updates]
        total = sum(updates for _, updates in learnt)
        names = learnt[0][0].keys() - set(COUNTS) if learnt else ()
        means = {name: sum(row[name] * n for row, n in learnt) / total for name in sorted(names)}
        wall = max(time.monotonic() - self._at, 1e-9)
        pace = {"time/env_steps_per_second": (env_steps - self._env_steps) / wall}
        if self._timed_updates:
            pace["time/update_ms"] = 1000 * self._seconds / self._timed_updates
        self._since(env_steps)
        return counts | means | pace


def _begin(
    run: Run, console: Console, *, resume: bool, refill: bool
) -> tuple[TrainState, dict[str, Any]]:
    """The state to go on from: restored, or fresh."""
    say = lambda sentence: console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for name in ("checkpoints", TASK_FILES):
        refuse_link(run.run_dir / name)
    if resume:
        check_configuration(run.store.metadata() or {}, run.run_dir, run.config)
    abstract = run.abstract()
    needs = estimate(run.config, run.step, abstract)
    check_resources(run.config, run.step, needs, run.run_dir)
    say(str(audit(abstract.agent, batch_size=run.step.batch_size)))
    say(f"The run {needs}.")
    if run.regions is not None:
        share = run.regions.share
        say(f"Training commands {1 - share:.0%} of the goals, and never the other {share:.0%}.")
    found = None
    if resume:
        found = run.store.restore(abstract, run.step.buffer, report=say, refill=refill)
    if found is not None:
        _check_same_experiment(found[1], run)
    if resume and found is None:
        _check_nothing_lost(run)
        say("No checkpoint was saved yet: the run starts from its beginning.")
    save_config(run.config, run.run_dir / CONFIG)
    if found is None:  # else what the task is has been settled
        keep_files(run.task, run.run_dir, say)
    if has_changed(run.config.env, run.run_dir):
        say(
            f"`{task_file(run.config.env)}` or a file that it uses has changed: the run goes on "
            f"with its own copies."
        )
    remember(run.config, run.run_dir)
    about = {"estimate": str(needs)}
    path = run.run_dir / "provenance.json"
    record_provenance(path, task=run.config.env, about=about, report=say)
    if found is None:
        return run.initial(), {}
    state, metadata = found
    if not run.env.resumable:
        say(f"{run.config.env} is not in the checkpoint: the run goes on with fresh episodes.")
        state = run.step.restart(state)
    return state, metadata


def _check_nothing_lost(run: Run) -> None:
    """**Raises:** `UserError` if a run without a checkpoint has metrics of a later step than 0:
    every run saves one before its first row."""
    reached = max(
        (row["env_steps"] for row in read_metrics(run.run_dir / "metrics.jsonl")), default=0
    )
    if reached:
        raise UserError(
            f"`{run.run_dir}` has metrics of {reached:,} environment steps, and no checkpoint: put "
            f"its `checkpoints` back, or start a new run elsewhere."
        )


def keep_files(config: Config, run_dir: Path, say: Callable[[str], None]) -> None:
    """A copy of the files of a task of one's own in `run_dir`."""
    if why_not := keep_task(config.env, run_dir, lambda name: make_task(config, name)):
        say(f"The run keeps no copy of its task, and needs it where it is: {why_not}.")


def _check_same_experiment(metadata: dict[str, Any], run: Run) -> None:
    """**Raises:** `UserError` if a checkpoint is not of the run that its directory says it is."""
    check_configuration(metadata, run.run_dir, run.config)
    check_same_task(run.config.env, before=metadata.get("task"), now=run.identity["task"])


def check_configuration(metadata: dict[str, Any], run_dir: Path, config: Config) -> None:
    """**Raises:** `UserError` if a checkpoint with that metadata was saved under another."""
    if metadata.get("experiment") not in (None, experiment_checksum(config)):
        raise UserError(
            f"`{run_dir / CONFIG}` is not what its checkpoints were saved under: it was "
            f"changed or damaged since, or they are another run's."
        )


def _loop(
    run: Run, state: TrainState, kept: dict[str, Any], reporter: Reporter, stop: StopRequest
) -> Outcome:
    """Advances to the budget, to the success rate that is enough, or to a request to stop.

    `kept` is what was saved with the state: the latest success rates, the meter's rows, and whether
    an evaluation is still due.
    """
    config = run.config
    env_steps, gradient_steps = int(state.env_steps), int(state.gradient_steps)
    successes: list[float] = [*kept.get("success_rates", ())]
    meter = Meter(env_steps, kept.get("meter", ()))
    due = bool(kept.get("evaluation_due", env_steps == 0))
    unsaved = not kept

    def save(state: TrainState) -> None:
        nonlocal unsaved
        reporter.phase("saving")
        metadata = run.identity | {
            "success_rates": successes,
            "meter": meter.rows,
            "evaluation_due": due,
        }
        run.store.save(state, run.step.buffer, metadata=metadata)
        unsaved, stop.save = False, False

    with contextlib.ExitStack() as stack:
        # A run that starts from its beginning writes all of its rows, the one of step 0 included.
        writers = Writers(run.run_dir, config, after=env_steps or -1)
        stack.callback(writers.close)

        def undisturbed(share: float) -> bool:
            """Whether an evaluation may go on."""
            reporter.part(share)
            if stop.save:
                save(state)
                reporter.phase("evaluating")
            return not stop

        def measure(*, evaluated: bool) -> None:
            """Writes a row about the present state, unless a stop comes between: then it is due."""
            nonlocal due, unsaved
            found: dict[str, float] | None = {}
            if evaluated:
                due = True
                reporter.phase(run.phase("evaluating"))
                found = run.evaluations(state.acting_agent, env_steps, go_on=undisturbed)
                if found is None:
                    return
                due, unsaved = False, True
                successes[:] = [*successes[-1:], float(found["eval/success_rate"])]
                reporter.success(successes[-1])
            row: dict[str, Any] = {"env_steps": env_steps, "gradient_steps": gradient_steps}
            row |= meter.take(env_steps) | found
            if config.logging.diagnostics and not run.prefilling(state):
                row |= run.diagnostics(state, env_steps)
            writers.write(row)

        if due:
            if unsaved:
                save(state)  # evaluating a deep network on a slow machine takes minutes
            measure(evaluated=True)
        while env_steps < config.total_env_steps and not (stop or is_enough(successes, config)):
            phase = run.phase("prefilling" if run.prefilling(state) else "training")
            reporter.phase(phase)
            before, updates_before, begun = env_steps, gradient_steps, time.monotonic()
            state, metrics = run.advance(state)
            row, unsaved = _floats(metrics), True
            env_steps, gradient_steps = int(state.env_steps), int(state.gradient_steps)
            _check_finite(row, run)
            seconds = None if phase == "compiling" else time.monotonic() - begun
            meter.add(row, updates=gradient_steps - updates_before, seconds=seconds)
            over = env_steps >= config.total_env_steps
            evaluated = over or crossed(before, env_steps, config.evaluation.eval_every)
            if evaluated or crossed(before, env_steps, config.logging.log_every):
                measure(evaluated=evaluated)
            if stop.save or crossed(before, env_steps, config.logging.checkpoint_every):
                save(state)
            reporter.update(env_steps)
        if unsaved:
            save(state)
    return Outcome(run.run_dir, env_steps, stop.exit_code, successes[-1] if successes else None)


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
    `refill_replay` from the newest whose networks are whole, be its replay damaged.

    SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGALRM and SIGXCPU save and return, and the outcome's
    `exit_code` says which it was; SIGUSR1 saves and goes on. In a thread that is not the main one
    nothing is listened to.

    **Raises:** `UserError` for a mistake in the choices, before anything is compiled, or if
    another process trains in `run_dir`; `TrainingError` when the losses leave the finite numbers.
    """
    if resume:
        require_trust(config, run_dir)
    run = Run(with_whole_path(with_physics(config)), run_dir)
    if not resume:
        prepare_run_dir(run_dir)
    with alone(run_dir), stop_requests() as stop:
        state, metadata = _begin(run, console, resume=resume, refill=refill_replay)
        done = int(state.env_steps)
        reporter = Reporter(console, total=config.total_env_steps, done=done)
        try:
            return _loop(run, state, metadata, reporter, stop)
        finally:
            reporter.close()


@contextlib.contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Holds a lock that the system drops when the process ends, however it ends."""
    try:
        with filelock.FileLock(run_dir / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(f"`{run_dir}` is in use: another process trains in it.") from error


def resumed_config(old: Config, new: Config, run_dir: Path) -> Config:
    """`new`, if it is still the same experiment as `old`.

    **Raises:** `UserError` with the differences if it is not.
    """
    old, new = with_physics(old), with_physics(new)
    changes = differences(old, new)
    if changes:
        raise UserError(
            f"`crl-eqx resume {run_dir}` would change the experiment: {', '.join(changes)}. Only "
            f"the budget, evaluation, logging and how networks are computed may change; start a "
            f"new run for the rest."
        )
    return new


@not_forked
def load_run(run_dir: Path, compute: Compute | None = None) -> tuple[Run, Agent]:
    """A finished or stopped run and its newest good agent, to evaluate or to draw. Says on stderr
    which checkpoints it had to skip.

    Its networks are computed as `compute` says, not as the run's configuration does: an agent that
    a GPU has trained is looked at on a laptop.

    **Raises:** `UserError` if there is no agent, it cannot be computed so, or its configuration
    is not what it was saved under.
    """
    config = dataclasses.replace(load_config(run_dir / CONFIG), compute=compute or Compute())
    require_trust(config, run_dir)
    check_compute(config)
    run, skipped = Run(config, run_dir), []
    check_configuration(run.store.metadata() or {}, run_dir, config)
    agent = run.store.newest_agent(run.abstract().agent, report=skipped.append)
    if agent is None:
        raise UserError(skipped[0] if skipped else f"`{run_dir}` has no checkpoint yet.")
    for sentence in skipped:
        print(sentence, file=sys.stderr)
    return run, agent
