"""What every trainer does: it begins, collects, and makes updates."""

import abc
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._acting import Acting
from ._agent import Agent
from ._checks import require_count, require_key
from ._env import AbstractGoalEnv
from ._errors import first_line, UserError
from ._fork import not_forked
from ._rollout import collect, Episodes, RolloutCounts, start_episodes
from ._train_state import TrainState
from ._types import Action, Count, PRNGKey
from ._update import init_optimizers, Moving, Optimizers
from .nn import Audit, audit
from .objectives import AbstractObjective
from .objectives._base import Metrics
from .replay import TrajectoryBuffer, Transition


MetricsOf: TypeAlias = Literal["all", "last"]
"""Which updates of a call are measured: their mean is told, or the last one alone."""


def _first_nonfinite(metrics: dict[str, Float[Array, " updates"]], before: Count) -> Count:
    """The gradient step at which a metric was first not finite, or -1; `before` counts earlier
    steps."""
    bad = jnp.any(jnp.stack([~jnp.isfinite(values) for values in metrics.values()]), axis=0)
    return jnp.where(jnp.any(bad), before + jnp.argmax(bad), -1)


def copied(tree: PyTree) -> PyTree:
    """The same in arrays of its own."""
    return jax.tree.map(lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf, tree)


def train_episodes(env: AbstractGoalEnv, length: int | None, maker: str, *, least: int = 1) -> int:
    """The control steps of training's episodes: the environment's, or `length` if that is less.

    **Raises:** `UserError` naming `maker(train_episode_length=...)`.
    """
    if length is None:
        return env.episode_length
    require_count(length, f"{maker}(train_episode_length={length!r})", least=least)
    return min(length, env.episode_length)


class AbstractTrainStep(eqx.Module):
    """`TrainState -> (TrainState, Metrics)`: one unroll of every environment, then its updates."""

    env: eqx.AbstractVar[AbstractGoalEnv]
    objective: eqx.AbstractVar[AbstractObjective]
    buffer: eqx.AbstractVar[TrajectoryBuffer]
    optimizers: eqx.AbstractVar[Optimizers]
    acting: eqx.AbstractVar[Acting]
    num_envs: eqx.AbstractVar[int]
    unroll_length: eqx.AbstractVar[int]
    batch_size: eqx.AbstractVar[int]
    train_episode_length: eqx.AbstractVar[int]
    policy_average: eqx.AbstractVar[int]
    metrics_of: eqx.AbstractVar[MetricsOf]
    prefill_unrolls: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """One unroll, then its updates."""

    def applied(self, action: Action) -> Action:
        """The action passed to the environment; by default the policy's, unchanged."""
        return action

    @property
    @abc.abstractmethod
    def mean_updates_per_unroll(self) -> float:
        """Gradient steps per unroll, on average."""

    @abc.abstractmethod
    def can_learn(self, state: TrainState) -> Bool[Array, ""]:
        """Whether there is anything to learn from, once the prefill is over."""

    @abc.abstractmethod
    def sample(self, state: TrainState, size: int, *, key: PRNGKey) -> Any:
        """For diagnostics: a batch such as an update gets."""

    @property
    def env_steps_per_unroll(self) -> int:
        return self.unroll_length * self.num_envs

    @property
    def prefill_env_steps(self) -> int:
        return self.prefill_unrolls * self.env_steps_per_unroll

    def audit(self, agent: Agent) -> Audit:
        """What an update of this step costs: see [`crl_eqx.nn.audit`][]."""
        return audit(agent, batch_size=self.batch_size, passes=self.objective.passes)

    @not_forked
    def init(self, agent: Agent, *, key: PRNGKey) -> TrainState:
        """A run that has not begun: fresh episodes and an empty buffer."""
        require_key(key, f"{type(self).__name__}.init(agent, key=...)")
        self._check_agent(agent)
        start_key, key = jax.random.split(key)
        episodes = start_episodes(self.env, self.num_envs, key=start_key)
        one = jax.tree.map(lambda leaf: leaf[0], episodes.env_state)
        action = jnp.zeros(self.env.action_size)
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        ahead = one.state if self.objective.needs_next_state else None
        example = Transition(one.state, action, one.goal, zero, no, ahead)
        opt_state = init_optimizers(self.optimizers, agent, self.objective)
        objective_state = self.objective.init(agent)
        # Copies, so that donating the run's state neither consumes the caller's agent nor meets
        # one array in two places.
        average = agent.actor if self.policy_average else None
        return TrainState(
            agent=copied(agent),
            opt_state=copied(opt_state),
            buffer=self.buffer.init(example),
            episodes=copied(episodes),
            key=copied(key),
            env_steps=copied(zero),
            gradient_steps=copied(zero),
            update_debt=copied(zero),
            average=copied(average),
            objective_state=copied(objective_state),
        )

    @not_forked
    def start(self, agent: Agent, *, key: PRNGKey) -> TrainState:
        """`init`, then `prefill`, compiled: a run before its first update.

        **Raises:** `UserError` if the prefill holds no step that has a later one in its episode.
        """
        state = _prefill(self, self.init(agent, key=key))
        try:
            can_learn = bool(self.can_learn(state))
        except jax.errors.TracerBoolConversionError:  # within a transformation nobody can tell
            return state
        if self.prefill_unrolls and not can_learn:
            raise UserError(
                f"`{type(self).__name__}.start(agent)` has found no step that is followed by "
                f"another: every episode of `{type(self.env).__name__}` ends at once."
            )
        return state

    @not_forked
    def compiled(self) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
        """The step as one program. It consumes its input state: the memory, above all the
        replay's, is reused for the next one."""
        return functools.partial(_advance, self)

    @not_forked
    def with_fresh_episodes(self, state: TrainState) -> TrainState:
        """Fresh episodes instead of those under way, which end here: for a restored state whose
        environment is not [`crl_eqx.AbstractGoalEnv.resumable`][]."""
        key, start_key = jax.random.split(state.key)
        fresh, old = start_episodes(self.env, self.num_envs, key=start_key), state.episodes
        # An episode without a stored step has not used up its number.
        number = old.number + (old.age > 0).astype(jnp.int32)
        episodes = Episodes(fresh.env_state, jnp.zeros_like(old.age), number)
        episodes = copied(episodes)  # donated: no array twice
        return eqx.tree_at(lambda s: (s.episodes, s.key), state, (episodes, key))

    @not_forked
    def collect(self, state: TrainState) -> tuple[TrainState, RolloutCounts]:
        """One unroll into the buffer, without an update."""
        key, rollout_key = jax.random.split(state.key)
        policy = self.acting(state.agent)
        episodes, steps, counts = collect(
            policy,
            self.env,
            state.episodes,
            length=self.unroll_length,
            episode_length=self.train_episode_length,
            next_states=self.objective.needs_next_state,
            applied=self.applied,
            key=rollout_key,
        )
        agent = state.agent.observe(steps.state, self.env.achieved_goal(steps.state))
        state = eqx.tree_at(
            lambda s: (s.agent, s.buffer, s.episodes, s.key, s.env_steps),
            state,
            (
                agent,
                self.buffer.insert(state.buffer, steps),
                episodes,
                key,
                state.env_steps + self.env_steps_per_unroll,
            ),
        )
        return state, counts

    @not_forked
    def prefill(self, state: TrainState) -> TrainState:
        """The unrolls before the first update, by the initial policy."""
        arrays, static = eqx.partition(state, eqx.is_array)

        def body(arrays, _):
            state, _ = self.collect(eqx.combine(arrays, static))
            return eqx.filter(state, eqx.is_array), None

        arrays, _ = jax.lax.scan(body, arrays, length=self.prefill_unrolls)
        return eqx.combine(arrays, static)

    def averaged(self, state: TrainState, due: Int[Array, ""]) -> TrainState:
        """Moves the averaged policy as far as `due` updates move it."""
        if state.average is None:
            return state
        step = -jnp.expm1(-due.astype(jnp.float32) / self.policy_average)
        move = lambda old, new: old + step * (new - old) if eqx.is_inexact_array(old) else new
        average = jax.tree.map(move, state.average, state.agent.actor)
        return eqx.tree_at(lambda s: s.average, state, average)

    def learn(
        self,
        state: TrainState,
        xs: PyTree,
        batch_of: Callable[[Any], Any],
        *,
        due: Int[Array, ""] | None = None,
        may_skip: bool = False,
        key: PRNGKey,
    ) -> tuple[TrainState, Metrics]:
        """Scans over updates on the batches `batch_of(x)`, for each x in `xs`: `due` of them, by
        default all. Only under `may_skip` may that be fewer than there are."""
        moving = Moving(self.objective, self.optimizers, state.agent)
        begun = moving.begin(state.agent, state.opt_state, state.objective_state)
        arrays, static = eqx.partition(begun, eqx.is_array)
        slots = len(jax.tree.leaves(xs)[0])
        number = jnp.asarray(slots, jnp.int32) if due is None else due
        skips = due is not None and may_skip
        # One alone may be skipped.
        only_last = self.metrics_of == "last" and slots > 1

        def make(arrays, x, key):
            now, metrics = moving(eqx.combine(arrays, static), batch_of(x), key=key)
            return eqx.filter(now, eqx.is_array), metrics

        def body(arrays, slot):
            index, x, key = slot
            if not skips:
                return make(arrays, x, key)
            like = jax.eval_shape(make, arrays, x, key)[1]
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
            skip = lambda: (arrays, nothing)
            return jax.lax.cond(index < number, lambda: make(arrays, x, key), skip)

        rows = jnp.arange(slots), xs, jax.random.split(key, slots)
        if only_last:
            if skips:  # what is skipped comes first
                order = (jnp.arange(slots) + number) % slots
                rows = jax.tree.map(lambda leaf: leaf[order], rows)
            without = lambda arrays, slot: (body(arrays, slot)[0], None)
            rest, last = (
                jax.tree.map(lambda leaf, part=part: leaf[part], rows)
                for part in (slice(None, -1), -1)
            )
            arrays, _ = jax.lax.scan(without, arrays, rest)
            arrays, metrics = make(arrays, *last[1:])
            metrics = jax.tree.map(lambda value: value[None], metrics)
        else:
            arrays, metrics = jax.lax.scan(body, arrays, rows)
        before = state.gradient_steps
        measured = 1.0 if only_last else jnp.maximum(number, 1).astype(jnp.float32)
        new = *moving.end(eqx.combine(arrays, static)), before + number
        where = lambda s: (s.agent, s.opt_state, s.objective_state, s.gradient_steps)
        state = eqx.tree_at(where, state, new, is_leaf=lambda x: x is None)
        means = jax.tree.map(lambda values: jnp.sum(values, axis=0) / measured, metrics)
        first = before + number - 1 if only_last else before
        return state, means | {"nonfinite_from": _first_nonfinite(metrics, first)}

    def _check_agent(self, agent: Agent) -> None:
        env = self.env
        state, goal = jnp.zeros((1, env.state_size)), jnp.zeros((1, env.goal_size))
        call = f"`{type(self).__name__}.init({type(agent).__name__}(...))`"

        def act():
            action = agent.act(state, goal)
            return action, None if agent.critic is None else agent.value(state, action, goal)

        try:
            action, _ = eqx.filter_eval_shape(act)
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{call} needs an agent for this task: {first_line(error)}") from error
        if action.shape != (1, env.action_size):
            raise UserError(f"{call} needs an agent whose actions have {env.action_size} numbers.")


# The state is donated, but never the step, which holds the environment's arrays.
@eqx.filter_jit(donate="all-except-first")
def _advance(step: AbstractTrainStep, state: TrainState) -> tuple[TrainState, Metrics]:
    return step(state)


@eqx.filter_jit(donate="all-except-first")
def _prefill(step: AbstractTrainStep, state: TrainState) -> TrainState:
    return step.prefill(state)
