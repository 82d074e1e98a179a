"""A training run as pure functions: collect, draw, update, all in one compiled step."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._acting import Acting, stochastic
from ._agent import Agent
from ._check_env import check_env
from ._checks import (
    require_count,
    require_discount,
    require_key,
    require_kind,
    require_number,
    require_whole,
)
from ._env import AbstractGoalEnv
from ._errors import first_line, UserError
from ._fork import not_forked
from ._rollout import collect, Episodes, RolloutCounts, start_episodes
from ._train_state import TrainState
from ._types import Count, PRNGKey
from ._update import adam_optimizers, init_optimizers, Optimizers, update
from .objectives import AbstractObjective, CRL
from .objectives._base import Metrics
from .replay import TrajectoryBuffer, Transition


def _exact(ratio: float | int | Fraction) -> Fraction:
    """The fraction that a float such as 0.1 stands for; a fraction is kept as it is."""
    require_number(ratio, f"TrainStep(updates_per_env_step={ratio!r})")
    exact = Fraction(ratio)
    if not isinstance(ratio, Fraction):
        exact = exact.limit_denominator(100_000)
    if ratio and not exact:
        raise UserError(
            f"`TrainStep(updates_per_env_step={ratio})` must be 0 or at least 1/100000."
        )
    return exact


def _first_nonfinite(metrics: dict[str, Float[Array, " updates"]], before: Count) -> Count:
    """The gradient step at which a metric was first not finite, or -1; `before` were made."""
    bad = jnp.any(jnp.stack([~jnp.isfinite(values) for values in metrics.values()]), axis=0)
    return jnp.where(jnp.any(bad), before + jnp.argmax(bad), -1)


class TrainStep(eqx.Module):
    """`TrainState -> (TrainState, Metrics)`: one unroll of every environment, then its updates.

    ```python
    step = crl_eqx.TrainStep(env, num_envs=64)
    state = step.start(agent, key=key)
    train = step.compiled()
    state, metrics = train(state)
    ```

    **Arguments:**

    - `env`: what to learn.
    - `objective`: default [`crl_eqx.objectives.CRL`][].
    - `optimizers`: default Adam 3e-4 for each group.

    **Other arguments:** (the paper's values are the defaults)

    - `num_envs`, `unroll_length`: environments, and control steps of each between updates.
    - `prefill_length`: control steps of each environment before the first update, rounded up to
        whole unrolls.
    - `batch_size`: transitions per update.
    - `updates_per_env_step`: kept exactly; a fraction of an update is carried to the next step.
    - `replay_capacity`: steps kept per environment.
    - `absorbing`: whether a fallen robot stays down: see [`crl_eqx.TrajectoryBuffer`][].
    - `discount`: of the distribution of future goals.
    - `acting`: how the policy collects, default [`crl_eqx.stochastic`][].
    - `policy_average`: the updates over which the weights of `TrainState.acting_agent`'s policy are
        averaged, exponentially, once per unroll; 0 averages nothing.

    **Raises:** `UserError` if a number does not fit the others.
    """

    env: AbstractGoalEnv
    objective: AbstractObjective
    buffer: TrajectoryBuffer
    optimizers: Optimizers = eqx.field(static=True)
    acting: Acting = eqx.field(static=True)
    num_envs: int = eqx.field(static=True)
    unroll_length: int = eqx.field(static=True)
    prefill_unrolls: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    updates_per_unroll: Fraction = eqx.field(static=True)
    policy_average: int = eqx.field(static=True)

    @not_forked
    def __init__(
        self,
        env: AbstractGoalEnv,
        objective: AbstractObjective | None = None,
        optimizers: Optimizers | None = None,
        *,
        num_envs: int = 512,
        unroll_length: int = 62,
        prefill_length: int = 1000,
        batch_size: int = 512,
        updates_per_env_step: float | int | Fraction = Fraction(800, 512 * 62),
        replay_capacity: int = 10_000,
        absorbing: bool = False,
        discount: float = 0.99,
        acting: Acting = stochastic,
        policy_average: int = 0,
    ):
        check_env(env)
        for name, given, kind, example in (
            ("objective", objective, AbstractObjective, "one of `crl_eqx.objectives`"),
            (
                "optimizers",
                optimizers,
                Mapping,
                "what `adam_optimizers()` gives",
            ),
            ("acting", acting, Callable, "what makes a policy of an agent, as `stochastic`"),
        ):
            if given is not None:
                require_kind(given, kind, f"TrainStep({name}={given!r})", example)
        require_whole(batch_size, f"TrainStep(batch_size={batch_size!r})")
        counts = dict(num_envs=num_envs, unroll_length=unroll_length)
        for name, count in (counts | dict(replay_capacity=replay_capacity)).items():
            require_count(count, f"TrainStep({name}={count!r})")
        counts = dict(prefill_length=prefill_length, policy_average=policy_average)
        for name, count in counts.items():
            require_count(count, f"TrainStep({name}={count!r})", least=0)
        require_discount(discount, f"TrainStep(discount={discount!r})")
        self.env = env
        self.objective = CRL() if objective is None else objective
        self.optimizers = adam_optimizers() if optimizers is None else optimizers
        self.acting = acting
        self.buffer = TrajectoryBuffer(
            replay_capacity, num_envs, absorbing, discount, env.achieved_goal
        )
        self.num_envs = num_envs
        self.unroll_length = unroll_length
        self.prefill_unrolls = -(-prefill_length // unroll_length)
        self.batch_size = batch_size
        self.updates_per_unroll = _exact(updates_per_env_step) * self.env_steps_per_unroll
        self.policy_average = policy_average
        self._check(prefill_length)

    def _check(self, prefill_length: int) -> None:
        stored = min(self.prefill_unrolls * self.unroll_length, self.buffer.capacity)
        if self.buffer.capacity < 2:
            raise UserError(
                f"`TrainStep(replay_capacity={self.buffer.capacity})` must be at least 2: a step "
                f"needs a later one to be its goal."
            )
        if self.unroll_length > self.buffer.capacity:
            raise UserError(
                f"`TrainStep(replay_capacity={self.buffer.capacity})` is less than "
                f"`unroll_length={self.unroll_length}`: the replay must hold at least one unroll."
            )
        if self.env.episode_length < 2:
            raise UserError(
                f"`TrainStep(env)` was given episodes of `episode_length="
                f"{self.env.episode_length}`: a goal is a later state of the same episode, so that "
                f"it must be at least 2."
            )
        if not 2 <= self.batch_size <= stored * self.num_envs:
            raise UserError(
                f"`TrainStep(batch_size={self.batch_size})` must lie between 2 and the "
                f"{stored * self.num_envs} steps that the prefill stores: lower `batch_size` or "
                f"raise `prefill_length={prefill_length}` or `num_envs={self.num_envs}`."
            )

    def _check_agent(self, agent: Agent) -> None:
        env = self.env
        state, goal = jnp.zeros((1, env.state_size)), jnp.zeros((1, env.goal_size))
        call = f"`TrainStep.init({type(agent).__name__}(...))`"

        def act():
            action = agent.act(state, goal)
            return action, None if agent.critic is None else agent.value(state, action, goal)

        try:
            action, _ = eqx.filter_eval_shape(act)
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{call} needs an agent for this task: {first_line(error)}") from error
        if action.shape != (1, env.action_size):
            raise UserError(f"{call} needs an agent that acts with {env.action_size} numbers.")

    @property
    def env_steps_per_unroll(self) -> int:
        return self.unroll_length * self.num_envs

    @property
    def prefill_env_steps(self) -> int:
        return self.prefill_unrolls * self.env_steps_per_unroll

    @not_forked
    def init(self, agent: Agent, *, key: PRNGKey) -> TrainState:
        """A run that has not begun: fresh episodes and an empty buffer."""
        require_key(key, "TrainStep.init(agent, key=...)")
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
        agent, opt_state, episodes, key, average, objective_state, *counters = jax.tree.map(
            lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf,
            (agent, opt_state, episodes, key, average, objective_state, zero, zero, zero),
        )
        env_steps, gradient_steps, update_debt = counters
        return TrainState(
            agent,
            opt_state,
            self.buffer.init(example),
            episodes,
            key,
            env_steps,
            gradient_steps,
            update_debt,
            average,
            objective_state,
        )

    @not_forked
    def start(self, agent: Agent, *, key: PRNGKey) -> TrainState:
        """`init`, then `prefill`, compiled: a run before its first update."""
        return _prefill(self, self.init(agent, key=key))

    @not_forked
    def compiled(self) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
        """The step as one program. It consumes its input state: the memory, above all the
        replay's, is reused for the next one."""
        return functools.partial(_advance, self)

    @not_forked
    def restart(self, state: TrainState) -> TrainState:
        """Fresh episodes instead of those under way, which end here: for a restored state whose
        environment is not [`crl_eqx.AbstractGoalEnv.resumable`][]."""
        key, start_key = jax.random.split(state.key)
        fresh, old = start_episodes(self.env, self.num_envs, key=start_key), state.episodes
        # An episode without a stored step has not used up its number.
        number = old.number + (old.age > 0).astype(jnp.int32)
        episodes = Episodes(fresh.env_state, jnp.zeros_like(old.age), number)
        episodes = jax.tree.map(lambda leaf: leaf.copy(), episodes)  # donated: no array twice
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
            next_states=self.objective.needs_next_state,
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

    @not_forked
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        state, counts = self.collect(state)
        whole, part = divmod(self.updates_per_unroll, 1)
        debt = state.update_debt + part.numerator
        one_more = debt >= part.denominator
        due = whole + one_more.astype(jnp.int32)
        state, metrics = self._updates(state, whole + (part > 0), due)
        state = self._averaged(state, due)
        state = eqx.tree_at(
            lambda s: s.update_debt, state, jnp.where(one_more, debt - part.denominator, debt)
        )
        return state, metrics | dataclasses.asdict(counts)

    def _averaged(self, state: TrainState, due: Int[Array, ""]) -> TrainState:
        """Moves the averaged policy as far as `due` updates count."""
        if state.average is None:
            return state
        step = -jnp.expm1(-due.astype(jnp.float32) / self.policy_average)
        move = lambda old, new: old + step * (new - old) if eqx.is_inexact_array(old) else new
        average = jax.tree.map(move, state.average, state.agent.actor)
        return eqx.tree_at(lambda s: s.average, state, average)

    def _updates(
        self, state: TrainState, slots: int, due: Int[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        """Scans over `slots` updates, of which the first `due` are made."""
        if slots == 0:
            return state, {}
        key, place_key, update_key = jax.random.split(state.key, 3)
        places = self.buffer.places(state.buffer, (slots, self.batch_size), key=place_key)
        learnt = state.agent, state.opt_state, state.objective_state
        arrays, static = eqx.partition(learnt, eqx.is_array)

        def make(arrays, place, key):
            agent, opt_state, objective_state = eqx.combine(arrays, static)
            *new, metrics = update(
                agent,
                opt_state,
                objective_state,
                self.buffer.gather(state.buffer, place),
                objective=self.objective,
                optimizers=self.optimizers,
                key=key,
            )
            return eqx.filter(tuple(new), eqx.is_array), metrics

        def body(arrays, slot):
            index, place, key = slot
            if slots == self.updates_per_unroll:
                return make(arrays, place, key)
            like = jax.eval_shape(make, arrays, place, key)[1]
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
            skip = lambda: (arrays, nothing)
            return jax.lax.cond(index < due, lambda: make(arrays, place, key), skip)

        index = jnp.arange(slots)
        xs = index, places, jax.random.split(update_key, slots)
        arrays, metrics = jax.lax.scan(body, arrays, xs)
        made = jnp.maximum(due, 1).astype(jnp.float32)
        before = state.gradient_steps
        agent, opt_state, objective_state = eqx.combine(arrays, static)
        state = dataclasses.replace(
            state,
            agent=agent,
            opt_state=opt_state,
            objective_state=objective_state,
            key=key,
            gradient_steps=before + due,
        )
        means = jax.tree.map(lambda values: jnp.sum(values, axis=0) / made, metrics)
        return state, means | {"nonfinite_from": _first_nonfinite(metrics, before)}


# The state is donated, but never the step, which holds the environment's arrays.
_advance = eqx.filter_jit(TrainStep.__call__, donate="all-except-first")
_prefill = eqx.filter_jit(TrainStep.prefill, donate="all-except-first")
