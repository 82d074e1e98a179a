"""One seed's run: its environment, its train step, its evaluations, its checkpoints."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from .. import _evaluate
from .._acting import Acting
from .._agent import Agent
from .._diagnose import coverage, diagnose
from .._env import AbstractGoalEnv
from .._errors import TrainingError, UserError
from .._evaluate import UnderWay
from .._overlap import Overlap
from .._step import AbstractTrainStep
from .._train import TrainStep
from .._train_state import TrainState
from .._types import PRNGKey
from ..config import Config, experiment_checksum
from ..parts import (
    check,
    make_acting,
    make_agent,
    make_collecting,
    make_env,
    make_far,
    make_regions,
    make_train_step,
    sizes,
)
from ..run_files import fingerprint, kept_task
from ..store import CheckpointStore
from ._other_run import checksum, collector, first_agent


BEST = "best"
"""Where a run keeps the checkpoint of its best evaluation."""

VISITED = 4096
"""States of the replay among which goals are looked for."""


Keys: TypeAlias = Key[Array, "*seeds"]
"""One key, or one for each of several seeds."""


def run_key(seed: int, purpose: str):
    """Independent keys of one seed; evaluations do not disturb the training's."""
    purposes = ("agent", "train", "evaluate", "diagnose")
    return jax.random.fold_in(jax.random.key(seed), purposes.index(purpose))


def evaluation_key(seed: int, env_steps: int) -> PRNGKey:
    """Of the evaluation after so many steps."""
    return jax.random.fold_in(run_key(seed, "evaluate"), env_steps)


def diagnosis_key(seed: int, env_steps: int) -> PRNGKey:
    """Of the health rows after so many steps."""
    return jax.random.fold_in(run_key(seed, "diagnose"), env_steps)


# The state is donated, and so updated in place; the step, which holds the environment, is not.
_collect = eqx.filter_jit(AbstractTrainStep.collect, donate="all-except-first")


def _play(acting: Acting, agent: Agent, env: AbstractGoalEnv, under_way: UnderWay, keys):
    return _evaluate.go_on(acting(agent), env, under_way, keys)[0]


def _summary(under_way: UnderWay):
    return under_way.evaluation().summary()


class _Programs(NamedTuple):
    """What an evaluation calls."""

    begin: Callable[..., Any]
    play: Callable[..., Any]
    summary: Callable[..., Any]


_ONE = _Programs(eqx.filter_jit(_evaluate.begin), eqx.filter_jit(_play), eqx.filter_jit(_summary))


@eqx.filter_jit
def _begin_each(env: AbstractGoalEnv, num_episodes: int, *, key):
    return eqx.filter_vmap(lambda key: _evaluate.begin(env, num_episodes, key=key))(key)


@eqx.filter_jit
def _play_each(acting: Acting, agents: Agent, env: AbstractGoalEnv, under_way: UnderWay, keys):
    play = lambda agent, under_way, keys: _play(acting, agent, env, under_way, keys)
    return eqx.filter_vmap(play)(agents, under_way, keys)


_EACH = _Programs(_begin_each, _play_each, eqx.filter_jit(eqx.filter_vmap(_summary)))


def diagnosed(step: AbstractTrainStep, state: TrainState, key: PRNGKey) -> dict[str, jax.Array]:
    """The health rows that can be seen in the state alone."""
    batch_key, loss_key, visited_key = jax.random.split(key, 3)
    batch = step.sample(state, min(step.batch_size, 256), key=batch_key)
    rows = diagnose(
        state.agent,
        batch,
        objective=step.objective,
        objective_state=state.objective_state,
        key=loss_key,
    )
    visited = step.sample(state, VISITED, key=visited_key)
    rows["coverage"] = coverage(step.env, visited.state, batch.goal)
    rows["replay_age"] = step.num_envs * (step.buffer.size(state.buffer) - 1) / 2
    return rows


_diagnosed = eqx.filter_jit(diagnosed)


def _check_same_sizes(training: AbstractGoalEnv, env: AbstractGoalEnv, config: Config) -> None:
    """**Raises:** `UserError` if training's options make a task that does not fit the agent."""
    if sizes(training) != sizes(env):
        words = " ".join(config.task.train_env_option)
        raise UserError(
            f"`--train-env-option {words}` trains on state, action and goal sizes "
            f"{sizes(training)}, and is evaluated on {sizes(env)}: say `--env-option`."
        )


class PiecewiseEvaluation:
    """[`crl_eqx.evaluate`][] in some twenty calls, between which it can be left: of one agent, or
    of several whose arrays are stacked, with a key for each."""

    def __init__(self, acting: Acting, env: AbstractGoalEnv, num_episodes: int):
        steps = env.episode_length
        self._acting, self._env, self._num_episodes, self._steps = acting, env, num_episodes, steps
        self._piece = -(-steps // 20)

    def __call__(
        self, agent: Agent, key: Keys, *, may_go_on: Callable[[float], bool]
    ) -> dict[str, Any] | None:
        """The summary, of several agents a list for each number; None if `may_go_on`, given the
        share done, said no."""
        programs = _EACH if key.ndim else _ONE
        under_way, keys = programs.begin(self._env, self._num_episodes, key=key)
        for done in range(0, self._steps, self._piece):
            if not may_go_on(done / self._steps):
                return None
            piece = keys[..., done : done + self._piece]
            under_way = programs.play(self._acting, agent, self._env, under_way, piece)
            jax.block_until_ready(under_way)
        return numbers(programs.summary(under_way))


def numbers(arrays: Mapping[str, jax.Array]) -> dict[str, Any]:
    """As Python has them: arrays become lists."""
    return {name: np.asarray(value).tolist() for name, value in arrays.items()}


class Run:
    """One seed's run: its objects, its directory, and the compiled functions."""

    def __init__(self, config: Config, run_dir: Path, *, collecting: bool = True):
        """Without `collecting` the agent that may collect for this one is not looked for."""
        check(config)
        self.config, self.run_dir = config, run_dir
        self.seed = config.seed
        self.task_config = dataclasses.replace(config, env=kept_task(config.env, run_dir))
        """The configuration by which tasks are made: where the run has a copy of the task's files,
        it names that."""
        self.env = make_env(self.task_config)
        self.regions = make_regions(self.task_config)
        training = self.env
        task = config.task
        if task.train_env_option or task.resample_goals or self.regions is not None:
            training = make_env(self.task_config, training=True, regions=self.regions)
        _check_same_sizes(training, self.env, config)
        self._collector = None
        if collecting:
            self._collector = collector(config, run_dir, training, make_collecting(config))
        self.step = make_train_step(config, training, self._collector)
        self._update = self.step.compiled()
        if config.data.collect == "overlap":
            assert isinstance(self.step, TrainStep)  # others do not take the choice
            self._update = Overlap(self.step)
        self.store = CheckpointStore(
            run_dir / "checkpoints",
            keep=config.logging.keep_checkpoints,
            replay=config.logging.save_replay,
        )
        self.best = CheckpointStore(run_dir / BEST, keep=1, replay=False)
        self._evaluators = self._make_evaluators()
        self._compiled: set[str] = set()
        self.has_futures = False

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of what it is a checkpoint of."""
        task = fingerprint(self.config.env, self.run_dir, self.env)
        found = {"experiment": experiment_checksum(self.config), "task": task}
        if self._collector is not None:
            found["collector"] = checksum(self._collector.agent)
        return found

    def initial(self) -> TrainState:
        """**Raises:** `UserError` if the run that it is to begin with has no such agent."""
        return self._initial(first_agent(self.config, self.run_dir, self.env))

    def abstract(self) -> TrainState:
        """The state's shapes, without its arrays."""
        return self._abstract

    @functools.cached_property
    def _abstract(self) -> TrainState:
        return eqx.filter_eval_shape(self._initial, None)

    def _initial(self, agent: Agent | None) -> TrainState:
        if agent is None:
            agent = make_agent(self.config, self.env, key=run_key(self.seed, "agent"))
        return self.step.init(agent, key=run_key(self.seed, "train"))

    def _make_evaluators(self) -> dict[str, PiecewiseEvaluation]:
        evaluation = self.config.evaluation
        acting = make_acting(self.config, evaluation.eval_acting)
        splits = {"eval": self.env}
        if self.regions is not None:
            for goals in ("seen", "unseen"):
                splits[f"eval_{goals}"] = make_env(
                    self.task_config, regions=self.regions, goals=goals
                )
        if evaluation.eval_split and (far := make_far(self.task_config)):
            _, splits["eval_split"] = far
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
            return self.collect(state)
        if not self.has_futures:
            self.require_futures(state, bool(self.step.can_learn(state)))
        return self.update(state)

    def collect(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """One unroll without an update."""
        state, counts = _collect(self.step, state)
        return state, dataclasses.asdict(counts)

    def update(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """One unroll and its updates."""
        return self._update(state)

    def require_futures(self, state: TrainState, can_learn: bool) -> None:
        """**Raises:** `TrainingError` if there is nothing to learn from; asked once."""
        if not can_learn:
            raise TrainingError(
                f"None of the {int(state.env_steps):,} steps collected has a later one in its own "
                f"episode: every episode of {self.config.env} ends after one step, and there is "
                f"nothing to learn from."
            )
        self.has_futures = True

    def phase(self, name: str) -> str:
        """`name`, or "compiling" the first time."""
        first = name not in self._compiled
        self._compiled.add(name)
        return "compiling" if first else name

    def evaluations(
        self, agent: Agent, key: Keys, *, may_go_on: Callable[[float], bool]
    ) -> dict[str, Any] | None:
        """Every split's metrics, of one agent or of several as [`PiecewiseEvaluation`][] has them;
        None if `may_go_on`, called repeatedly with the share done, said no."""
        row: dict[str, Any] = {}
        for number, (split, evaluator) in enumerate(self._evaluators.items()):
            share = lambda part, number=number: (number + part) / len(self._evaluators)
            metrics = evaluator(
                agent, key, may_go_on=lambda part, share=share: may_go_on(share(part))
            )
            if metrics is None:
                return None
            row |= {f"{split}/{name}": value for name, value in metrics.items()}
        return row

    def diagnose(self, state: TrainState, key: PRNGKey) -> dict[str, Any]:
        """The health rows that can be seen in the state alone."""
        return numbers(_diagnosed(self.step, state, key))
