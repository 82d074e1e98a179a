"""A critic alone, learnt from trajectories that are already in memory."""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ._errors import UserError
from ._replay import Batch
from ._step import adam
from ._types import Action, Goal, PRNGKey, Repr, State
from .energy import AbstractEnergy, NegL2
from .nn import Encoder
from .objectives import CRL
from .objectives._base import AchievedGoal
from .relabel import future_index


class Trajectories(eqx.Module):
    """`n` trajectories of up to `t` steps.

    **Arguments:**

    - `states`: `[n, t, state]`.
    - `actions`: `[n, t, action]`, or none: then φ takes the state alone.
    - `lengths`: `[n]`, how many steps of each trajectory are real; default all of them.

    **Raises:** `UserError` when shapes disagree, or when no trajectory has two steps.
    """

    states: Float[Array, "n t state"]
    actions: Float[Array, "n t action"]
    lengths: Int[Array, " n"]

    def __init__(self, states, actions=None, lengths=None):
        states = jnp.asarray(states, jnp.float32)
        if states.ndim != 3:
            raise UserError(f"`Trajectories(states)` must be [n, t, state], not {states.shape}.")
        n, t, _ = states.shape
        actions = jnp.zeros((n, t, 0)) if actions is None else jnp.asarray(actions, jnp.float32)
        if actions.ndim != 3 or actions.shape[:2] != (n, t):
            raise UserError(
                f"`Trajectories(actions=...)` must be [{n}, {t}, action] like the states, not "
                f"{actions.shape}."
            )
        host_lengths = np.full(n, t) if lengths is None else np.asarray(lengths)
        if host_lengths.shape != (n,) or host_lengths.max(initial=0) > t:
            raise UserError(
                f"`Trajectories(lengths=...)` must be {n} numbers of at most {t}, one for each "
                f"trajectory."
            )
        if host_lengths.max(initial=0) < 2:
            raise UserError("`Trajectories`: no trajectory has two steps, so none has a future.")
        self.states, self.actions = states, actions
        self.lengths = jnp.asarray(host_lengths, jnp.int32)

    def sample(self, size: int, *, discount: float, key: PRNGKey) -> Batch:
        """`size` steps, uniform over those that have a future, each with a state of its future."""
        step_key, future_key = jax.random.split(key)
        steps_before = jnp.cumsum(jnp.maximum(self.lengths - 1, 0))
        index = jax.random.randint(step_key, (size,), 0, steps_before[-1])
        row = jnp.searchsorted(steps_before, index, side="right")
        time = index - jnp.where(row > 0, steps_before[row - 1], 0)
        future = future_index(self.lengths[row], time, discount=discount, key=future_key)
        state = self.states[row, time]
        return Batch(state, self.actions[row, time], state[:, :0], self.states[row, future])


class Critic(eqx.Module):
    """f(s, a, g) = energy(φ(s, a), ψ(g)) without a policy.

    ```python
    data = crl_eqx.Trajectories(states, actions)
    critic = crl_eqx.Critic.create(data, depth=8, key=key)
    critic, history = crl_eqx.fit(critic, data, num_updates=1000, key=key)
    ```

    Any two modules may be its encoders: `sa_encoder(state, action)` (without actions:
    `sa_encoder(state)`) and `g_encoder(goal)`, on batches.
    """

    sa_encoder: Any
    g_encoder: Any
    energy: AbstractEnergy = NegL2()

    @classmethod
    def create(
        cls,
        data: Trajectories,
        *,
        goal_size: int | None = None,
        energy: AbstractEnergy | None = None,
        key: PRNGKey,
        **encoder,
    ) -> "Critic":
        """Encoders for `data`; goals are whole states unless `goal_size` says otherwise.

        `**encoder` are keywords of [`crl_eqx.nn.Encoder`][], such as `depth` and `width`.
        """
        sa_key, g_key = jax.random.split(key)
        state_size, action_size = data.states.shape[-1], data.actions.shape[-1]
        return cls(
            Encoder(state_size + action_size, key=sa_key, **encoder),
            Encoder(goal_size or state_size, key=g_key, **encoder),
            NegL2() if energy is None else energy,
        )

    def sa_repr(self, state: State, action: Action | None = None) -> Repr:
        """φ(s, a), or φ(s)."""
        if action is None or action.shape[-1] == 0:
            return self.sa_encoder(state)
        return self.sa_encoder(state, action)

    def g_repr(self, goal: Goal) -> Repr:
        """ψ(g)."""
        return self.g_encoder(goal)

    def __call__(self, state: State, goal: Goal, action: Action | None = None):
        """The energy, `[*batch]`: the larger, the sooner `goal` follows."""
        return self.energy(self.sa_repr(state, action), self.g_repr(goal))


def fit(
    critic: Critic,
    data: Trajectories,
    *,
    num_updates: int,
    batch_size: int = 256,
    discount: float = 0.99,
    objective: CRL | None = None,
    optimizer: optax.GradientTransformation | None = None,
    achieved_goal: AchievedGoal = lambda state: state,
    key: PRNGKey,
) -> tuple[Critic, dict[str, Float[Array, " updates"]]]:
    """Trains a critic on trajectories in memory, as one compiled scan.

    **Arguments:**

    - `num_updates`, `batch_size`: gradient steps, and transitions in each.
    - `discount`: of the distribution of futures.

    **Other arguments:**

    - `objective`: whose critic loss, default [`crl_eqx.objectives.CRL`][].
    - `optimizer`: default Adam 3e-4.
    - `achieved_goal`: the part of a state that is a goal, default all of it.

    **Returns:** the critic, and every metric as an array `[num_updates]`.
    """
    objective = CRL() if objective is None else objective
    optimizer = adam() if optimizer is None else optimizer
    params, static = eqx.partition(critic, eqx.is_inexact_array)

    def loss(params, batch):
        critic = eqx.combine(params, static)
        sa_repr = critic.sa_repr(batch.state, batch.action)
        g_repr = critic.g_repr(achieved_goal(batch.future_state))
        value, metrics = objective.critic_loss(critic.energy, sa_repr, g_repr)
        return value, metrics | {"critic_loss": value}

    def body(carry, key):
        params, opt_state = carry
        batch = data.sample(batch_size, discount=discount, key=key)
        grads, metrics = jax.grad(loss, has_aux=True)(params, batch)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its int counters with floats
            updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    @eqx.filter_jit
    def run(params, key):
        keys = jax.random.split(key, num_updates)
        return jax.lax.scan(body, (params, optimizer.init(params)), keys)

    (fitted, _), history = run(params, key)
    return cast(Critic, eqx.combine(fitted, static)), history
