"""Training on a policy's own latest steps: collect, judge, update a few times, forget."""

import dataclasses
from collections.abc import Callable
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ._acting import Acting
from ._agent import Agent
from ._check_env import check_env
from ._checks import require_count, require_kind, require_one_of
from ._env import AbstractGoalEnv
from ._errors import UserError
from ._fork import not_forked
from ._rollout import Policy
from ._step import AbstractTrainStep, MetricsOf, train_episodes
from ._train_state import TrainState
from ._types import Action, PRNGKey
from ._update import chosen_optimizers, Optimizers
from .objectives import PPO
from .objectives._base import Metrics
from .objectives._ppo import RolloutBatch
from .replay import TrajectoryBuffer, Transition


class OnPolicyStep(AbstractTrainStep):
    """`TrainState -> (TrainState, Metrics)`: one unroll of every environment, then `epochs`
    passes over it in shuffled batches.

    ```python
    step = crl_eqx.OnPolicyStep(env, crl_eqx.objectives.PPO(env.success), num_envs=64)
    agent = crl_eqx.Agent.create(env, critic="value", key=key)
    state = step.start(agent, key=key)
    train = step.compiled()
    state, metrics = train(state)
    ```

    **Arguments:**

    - `env`: what to learn.
    - `objective`: a [`crl_eqx.objectives.PPO`][].
    - `optimizers`: default Adam 3e-4 for each group.

    **Other arguments:**

    - `num_envs`, `unroll_length`: environments, and control steps of each between updates.
    - `batch_size`: steps per update. Steps that do not fill a batch are dropped, different ones in
        every epoch.
    - `epochs`: how often the steps of an unroll are gone through.
    - `train_episode_length`, `policy_average`, `metrics_of`: as in [`crl_eqx.TrainStep`][].

    The run's state holds the latest unroll in place of a replay.

    **Raises:** `UserError` if a number does not fit the others.
    """

    env: AbstractGoalEnv
    objective: PPO
    buffer: TrajectoryBuffer
    optimizers: Optimizers = eqx.field(static=True)
    acting: Acting = eqx.field(static=True)
    num_envs: int = eqx.field(static=True)
    unroll_length: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    train_episode_length: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    policy_average: int = eqx.field(static=True)
    metrics_of: MetricsOf = eqx.field(static=True)
    prefill_unrolls: int = eqx.field(static=True, default=0)

    @not_forked
    def __init__(
        self,
        env: AbstractGoalEnv,
        objective: PPO,
        optimizers: Optimizers | None = None,
        *,
        num_envs: int = 512,
        unroll_length: int = 62,
        batch_size: int = 512,
        train_episode_length: int | None = None,
        epochs: int = 4,
        policy_average: int = 0,
        metrics_of: MetricsOf = "all",
    ):
        check_env(env)
        call = f"OnPolicyStep(metrics_of={metrics_of!r})"
        require_one_of(metrics_of, get_args(MetricsOf), call)
        require_kind(objective, PPO, f"OnPolicyStep(objective={objective!r})", "a `PPO`")
        self.optimizers = chosen_optimizers(optimizers, "OnPolicyStep")
        counts = dict(num_envs=num_envs, unroll_length=unroll_length, epochs=epochs)
        for name, count in counts.items():
            require_count(count, f"OnPolicyStep({name}={count!r})")
        require_count(policy_average, f"OnPolicyStep(policy_average={policy_average!r})", least=0)
        require_count(batch_size, f"OnPolicyStep(batch_size={batch_size!r})", least=2)
        if batch_size > num_envs * unroll_length:
            raise UserError(
                f"`OnPolicyStep(batch_size={batch_size})` is more than the "
                f"{num_envs * unroll_length} steps of an unroll: lower it, or raise "
                f"`num_envs={num_envs}` or `unroll_length={unroll_length}`."
            )
        self.env, self.objective, self.acting = env, objective, _unsquashed
        self.buffer = TrajectoryBuffer(unroll_length, num_envs)
        self.num_envs, self.unroll_length, self.batch_size = num_envs, unroll_length, batch_size
        self.train_episode_length = train_episodes(env, train_episode_length, "OnPolicyStep")
        self.epochs, self.policy_average = epochs, policy_average
        self.metrics_of = metrics_of

    @not_forked
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        maker = state.agent
        state, counts = self.collect(state)
        # With other moments the same weights are another policy than the one that acted.
        observed = state.agent
        state = eqx.tree_at(lambda s: s.agent, state, observed.with_moments_of(maker))
        rollout, metrics = self._rollout(maker, state)
        key, order_key, update_key = jax.random.split(state.key, 3)
        state = eqx.tree_at(lambda s: s.key, state, key)
        size, whole = self.env_steps_per_unroll, self.env_steps_per_unroll // self.batch_size
        orders = jax.vmap(lambda key: jax.random.permutation(key, size))(
            jax.random.split(order_key, self.epochs)
        )
        places = orders[:, : whole * self.batch_size].reshape(-1, self.batch_size)
        batch_of: Callable = lambda place: jax.tree.map(lambda leaf: leaf[place], rollout)
        state, learnt = self.learn(state, places, batch_of, key=update_key)
        state = self.averaged(state, jnp.asarray(len(places), jnp.int32))
        state = eqx.tree_at(lambda s: s.agent, state, state.agent.with_moments_of(observed))
        return state, metrics | learnt | dataclasses.asdict(counts)

    def applied(self, action: Action) -> Action:
        return jnp.tanh(action)

    @property
    def mean_updates_per_unroll(self) -> float:
        return float(self.epochs * (self.env_steps_per_unroll // self.batch_size))

    def can_learn(self, state: TrainState) -> Bool[Array, ""]:
        del state  # any unroll can be learnt from
        return jnp.ones((), bool)

    def sample(self, state: TrainState, size: int, *, key: PRNGKey) -> RolloutBatch:
        rollout, _ = self._rollout(state.agent, state)
        place = jax.random.randint(key, (size,), 0, self.env_steps_per_unroll)
        return jax.tree.map(lambda leaf: leaf[place], rollout)

    def _rollout(self, agent: Agent, state: TrainState) -> tuple[RolloutBatch, Metrics]:
        """The steps of the latest unroll, one after the other, and what `agent` thinks of them."""
        steps: Transition = state.buffer.steps  # whole unrolls: the first row is the oldest
        batch, metrics = self.objective.with_advantages(agent, steps)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch), metrics


def _unsquashed(agent: Agent) -> Policy:
    """Samples of the policy before the tanh."""
    return lambda state, goal, key: agent.policy(state, goal).sample_unsquashed(key=key)
