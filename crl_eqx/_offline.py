"""A critic alone, learnt from trajectories that are already in memory."""

from typing import Any, cast

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float

from ._checks import require_count, require_key, require_kind
from ._errors import UserError
from ._fork import not_forked
from ._types import Action, Goal, PRNGKey, Repr, State
from ._update import adam
from .energy import AbstractEnergy, NegL2, require_energy
from .nn import Encoder
from .objectives import CRL
from .replay import AbstractData, Batch


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
    @not_forked
    def create(
        cls,
        data: AbstractData,
        *,
        energy: AbstractEnergy | None = None,
        key: PRNGKey,
        **encoder,
    ) -> "Critic":
        """Encoders for `data`.

        **Raises:** `UserError` if a size is not a positive whole number, or `energy` not an energy.

        `**encoder` are keywords of [`crl_eqx.nn.Encoder`][], such as `depth` and `width`.
        """
        require_energy(energy, "Critic.create")
        require_kind(data, AbstractData, "Critic.create(data)", "`Trajectories`, or other data")
        require_key(key, "Critic.create(data, key=...)")
        sa_key, g_key = jax.random.split(key)
        batch = _example(data)
        size = batch.state.shape[-1] + batch.action.shape[-1]
        return cls(
            Encoder(size, key=sa_key, **encoder),
            Encoder(batch.future_goal.shape[-1], key=g_key, **encoder),
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

    @not_forked
    def __call__(self, state: State, goal: Goal, action: Action | None = None):
        """The energy, `[*batch]`: the larger, the sooner `goal` follows."""
        return self.energy(self.sa_repr(state, action), self.g_repr(goal))


def _example(data: AbstractData) -> Batch:
    """The shapes of a batch of one."""
    return jax.eval_shape(lambda key: data.sample((1,), key=key), jax.random.key(0))


def _check_sizes(critic: Critic, data: AbstractData) -> None:
    """**Raises:** `UserError` unless the critic takes what `data` gives."""
    batch = _example(data)
    state, action, goal = batch.state, batch.action, batch.future_goal
    sizes = f"states and actions of {state.shape[-1]} and {action.shape[-1]}"
    for what, encode, given in (
        (f"goals of {goal.shape[-1]}", critic.g_repr, (goal,)),
        (sizes, critic.sa_repr, (state, action)),
    ):
        try:
            eqx.filter_eval_shape(encode, *given)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"`fit(critic, data)`: the data have {what} numbers, which is not what the critic "
                f"was made for (`Critic.create(data)`)."
            ) from error


@not_forked
def fit(
    critic: Critic,
    data: AbstractData,
    *,
    num_updates: int,
    batch_size: int = 256,
    objective: CRL | None = None,
    optimizer: optax.GradientTransformation | None = None,
    key: PRNGKey,
) -> tuple[Critic, dict[str, Float[Array, " updates"]]]:
    """Trains a critic on data in memory, as one compiled scan.

    **Arguments:**

    - `num_updates`, `batch_size`: gradient steps, and transitions in each.

    **Other arguments:**

    - `objective`: whose critic loss, default [`crl_eqx.objectives.CRL`][].
    - `optimizer`: default Adam 3e-4.

    **Returns:** the critic, and every metric as an array `[num_updates]`.

    **Raises:** `UserError` if a number is out of its range, or goals or states do not fit the
    critic's encoders.
    """
    require_kind(critic, eqx.Module, "fit(critic, data)", "a `Critic`")
    require_kind(data, AbstractData, "fit(critic, data)", "`Trajectories`, or other data")
    require_key(key, "fit(..., key=...)")
    require_count(num_updates, f"fit(num_updates={num_updates!r})")
    # Contrasts need two.
    require_count(batch_size, f"fit(batch_size={batch_size!r})", least=2)
    _check_sizes(critic, data)
    objective = CRL() if objective is None else objective
    require_kind(objective, CRL, f"fit(objective={objective!r})", "a `CRL`, whose critic this is")
    optimizer = adam() if optimizer is None else optimizer
    params, static = eqx.partition(critic, eqx.is_inexact_array)

    def loss(params, batch):
        critic = eqx.combine(params, static)
        sa_repr = critic.sa_repr(batch.state, batch.action)
        g_repr = critic.g_repr(batch.future_goal)
        value, metrics = objective.critic_loss(critic.energy, sa_repr, g_repr)
        return value, metrics | {"critic_loss": value}

    def body(carry, key):
        params, opt_state = carry
        batch = data.sample((batch_size,), key=key)
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
