"""A training run as pure functions: collect, draw, update, all in one compiled step."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ._acting import Acting, stochastic
from ._check_env import check_env
from ._checks import (
    require_count,
    require_discount,
    require_kind,
    require_number,
    require_one_of,
    require_whole,
)
from ._env import AbstractGoalEnv
from ._errors import UserError
from ._fork import not_forked
from ._step import AbstractTrainStep, MetricsOf, train_episodes
from ._train_state import TrainState
from ._types import Count, PRNGKey
from ._update import chosen_optimizers, Optimizers
from .objectives import AbstractObjective, CRL
from .objectives._base import Metrics
from .replay import Batch, TrajectoryBuffer


FINEST = 2**30
"""The largest denominator of updates per environment step, as these are counted in 32 bits."""


def _exact(ratio: float | int | Fraction) -> Fraction:
    """The fraction that a float such as 0.1 stands for; a fraction is kept as it is."""
    call = f"TrainStep(updates_per_env_step={ratio!r})"
    require_number(ratio, call)
    if not isinstance(ratio, Fraction):
        exact = Fraction(float(ratio)).limit_denominator(100_000)
    elif ratio.denominator <= FINEST:
        exact = ratio
    else:
        raise UserError(
            f"`{call}` counts in too small parts: its denominator must be at most {FINEST:,}."
        )
    if (ratio and not exact) or exact > 1000:
        raise UserError(
            f"`TrainStep(updates_per_env_step={ratio})` must be 0, or lie in 1e-5 to 1000."
        )
    return exact


class TrainStep(AbstractTrainStep):
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
    - `train_episode_length`: control steps after which an episode ends here, where the
        environment's own are longer; default the environment's. Evaluation's are its own.
    - `updates_per_env_step`: kept exactly; a fraction of an update is carried to the next call.
    - `replay_capacity`: steps kept per environment.
    - `absorbing`: whether a fallen robot stays down: see [`crl_eqx.TrajectoryBuffer`][].
    - `discount`: of the distribution of future goals.
    - `acting`: how the policy collects, default [`crl_eqx.stochastic`][].
    - `policy_average`: the updates over which the weights of `TrainState.acting_agent`'s policy are
        averaged, exponentially, once per unroll; 0 averages nothing.
    - `metrics_of`: metrics are means over all updates of a call (`"all"`), or those of the last one
        alone (`"last"`), which saves a GPU about 40 launches in each of the others; what is not
        finite is then seen a call later at most.

    **Raises:** `UserError` if a number does not fit the others.
    """

    env: AbstractGoalEnv
    objective: AbstractObjective
    buffer: TrajectoryBuffer
    optimizers: Optimizers = eqx.field(static=True)
    acting: Acting
    num_envs: int = eqx.field(static=True)
    unroll_length: int = eqx.field(static=True)
    prefill_unrolls: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    train_episode_length: int = eqx.field(static=True)
    updates_per_unroll: Fraction = eqx.field(static=True)
    policy_average: int = eqx.field(static=True)
    metrics_of: MetricsOf = eqx.field(static=True)

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
        train_episode_length: int | None = None,
        updates_per_env_step: float | int | Fraction = Fraction(800, 512 * 62),
        replay_capacity: int = 10_000,
        absorbing: bool = False,
        discount: float = 0.99,
        acting: Acting = stochastic,
        policy_average: int = 0,
        metrics_of: MetricsOf = "all",
    ):
        check_env(env)
        call = f"TrainStep(metrics_of={metrics_of!r})"
        require_one_of(metrics_of, get_args(MetricsOf), call)
        for name, given, kind, example in (
            ("objective", objective, AbstractObjective, "one of `crl_eqx.objectives`"),
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
        self.optimizers = chosen_optimizers(optimizers, "TrainStep")
        self.acting = acting
        self.buffer = TrajectoryBuffer(
            replay_capacity, num_envs, absorbing, discount, env.achieved_goal
        )
        self.num_envs = num_envs
        self.unroll_length = unroll_length
        self.prefill_unrolls = -(-prefill_length // unroll_length)
        self.batch_size = batch_size
        self.train_episode_length = train_episodes(env, train_episode_length, "TrainStep", least=2)
        self.updates_per_unroll = _exact(updates_per_env_step) * self.env_steps_per_unroll
        self.policy_average, self.metrics_of = policy_average, metrics_of
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

    @not_forked
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        state, counts = self.collect(state)
        due, debt = self.due(state.update_debt)
        slots = math.ceil(self.updates_per_unroll)
        may_skip = slots != self.updates_per_unroll
        state, metrics = self._updates(state, slots, due, may_skip=may_skip)
        state = self.averaged(state, due)
        state = eqx.tree_at(lambda s: s.update_debt, state, debt)
        return state, metrics | dataclasses.asdict(counts)

    def due(self, debt: Count) -> tuple[Count, Count]:
        """The updates after an unroll before which `debt` was owed, and what is owed after them."""
        whole, part = divmod(self.updates_per_unroll, 1)
        debt = debt + part.numerator
        one_more = debt >= part.denominator
        due = whole + one_more.astype(jnp.int32)
        return due, jnp.where(one_more, debt - part.denominator, debt)

    @not_forked
    def learn_stored(self, state: TrainState, updates: int) -> tuple[TrainState, Metrics]:
        """So many updates from what is stored, without collecting."""
        require_count(updates, f"TrainStep.learn_stored(updates={updates!r})")
        return self._updates(state, updates, jnp.asarray(updates, jnp.int32), may_skip=False)

    def _updates(
        self, state: TrainState, slots: int, due: Int[Array, ""], *, may_skip: bool
    ) -> tuple[TrainState, Metrics]:
        """`slots` updates, of which the first `due` are made."""
        if slots == 0:
            return state, {}
        key, place_key, update_key = jax.random.split(state.key, 3)
        buffer = state.buffer
        places = self.buffer.places(buffer, (slots, self.batch_size), key=place_key)
        state = eqx.tree_at(lambda s: s.key, state, key)
        return self.learn(
            state,
            places,
            lambda place: self.buffer.gather(buffer, place),
            due=due,
            may_skip=may_skip,
            key=update_key,
        )

    @property
    def mean_updates_per_unroll(self) -> float:
        return float(self.updates_per_unroll)

    def can_learn(self, state: TrainState) -> Bool[Array, ""]:
        return self.buffer.can_sample(state.buffer)

    def sample(self, state: TrainState, size: int, *, key: PRNGKey) -> Batch:
        return self.buffer.stored(state.buffer).sample((size,), key=key)
