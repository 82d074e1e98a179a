"""A critic alone, learnt from trajectories that are already in memory."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ._agent import Agent
from ._checks import require_count, require_key, require_kind
from ._critic import Critic, example_batch
from ._errors import UserError
from ._fork import not_forked
from ._types import PRNGKey, Scalar
from ._update import adam, init_optimizers, Optimizers, update
from .objectives import AbstractObjective, CRL
from .objectives._base import Metrics, ObjectiveState
from .objectives._crl import contrastive
from .replay import AbstractData, Batch


class _CriticAlone(AbstractObjective):
    """The critic's part of CRL, for an agent that has no policy."""

    trains: ClassVar[tuple[str, ...]] = ("critic",)

    crl: CRL

    def __call__(
        self, agent: Agent, state: ObjectiveState, batch: Batch, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        del state, key
        critic = contrastive(agent)
        sa_repr, g_repr = (
            critic.sa_repr(batch.state, batch.action),
            critic.g_repr(batch.future_goal),
        )
        loss, metrics = self.crl.critic_loss(critic.energy, sa_repr, g_repr)
        return loss, metrics | {"critic_loss": loss}


def _check_sizes(critic: Critic, data: AbstractData) -> None:
    """**Raises:** `UserError` unless the critic takes what `data` gives."""
    batch = example_batch(data)
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

    - `objective`: whose critic loss, default [`crl_eqx.objectives.CRL`][]; its choices about a
        policy stay at their defaults.
    - `optimizer`: default Adam 3e-4.

    **Returns:** the critic, and every metric as an array `[num_updates]`.

    **Raises:** `UserError` if a number is out of its range, goals or states do not fit the
    critic's encoders, or the objective has choices about a policy.
    """
    require_kind(critic, Critic, "fit(critic, data)", "a `Critic`")
    require_kind(data, AbstractData, "fit(critic, data)", "`Trajectories`, or other data")
    require_key(key, "fit(..., key=...)")
    require_count(num_updates, f"fit(num_updates={num_updates!r})")
    # Contrasts need two.
    require_count(batch_size, f"fit(batch_size={batch_size!r})", least=2)
    _check_sizes(critic, data)
    data.require_samples("fit(critic, data)")
    objective = CRL() if objective is None else objective
    require_kind(objective, CRL, f"fit(objective={objective!r})", "a `CRL`, whose critic this is")
    if optimizer is not None:
        call = f"fit(optimizer={optimizer!r})"
        require_kind(
            optimizer, optax.GradientTransformation, call, "one of Optax, as `optax.adam(3e-4)`"
        )
    for name in ("goals", "target_entropy_per_action"):
        if (given := getattr(objective, name)) != getattr(CRL, name):
            raise UserError(
                f"`fit(objective=CRL({name}={given!r}))` is about a policy, and a critic alone is "
                f"trained here: leave it out."
            )
    optimizers = {"critic": _ADAM if optimizer is None else optimizer}
    agent = Agent(None, critic, jnp.zeros(()))
    agent, history = _fit(
        agent, data, _CriticAlone(objective), optimizers, num_updates, batch_size, key
    )
    return contrastive(agent), history


_ADAM = adam()  # one for all calls, which then share a program


@eqx.filter_jit
def _fit(
    agent: Agent,
    data: AbstractData,
    objective: _CriticAlone,
    optimizers: Optimizers,
    num_updates: int,
    batch_size: int,
    key: PRNGKey,
) -> tuple[Agent, dict[str, Float[Array, " updates"]]]:
    """Not within `fit`: what a function closes over, such as the data, is copied into its program,
    and the program belongs to that one call."""
    arrays, static = eqx.partition(agent, eqx.is_array)

    def body(carry, key):
        arrays, opt_state = carry
        *learnt, _, metrics = update(
            eqx.combine(arrays, static),
            opt_state,
            None,
            data.sample((batch_size,), key=key),
            objective=objective,
            optimizers=optimizers,
            key=key,
        )
        return tuple(eqx.filter(learnt, eqx.is_array)), metrics

    opt_state = init_optimizers(optimizers, agent, objective)
    keys = jax.random.split(key, num_updates)
    (arrays, _), history = jax.lax.scan(body, (arrays, opt_state), keys)
    return eqx.combine(arrays, static), history
