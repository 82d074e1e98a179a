"""One gradient step of every network, pure."""

from collections.abc import Mapping
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ._agent import Agent
from ._fork import not_forked
from ._replay import Batch
from ._types import PRNGKey
from .objectives import AbstractObjective
from .objectives._base import AchievedGoal, Metrics


Optimizers: TypeAlias = Mapping[str, optax.GradientTransformation]
"""One for each of `actor`, `critic` and `alpha`."""

OptState: TypeAlias = dict[str, PyTree]


def trainable(agent: Agent) -> dict[str, PyTree]:
    """The three groups of parameters, each with an optimiser of its own."""
    groups = {
        "actor": agent.actor,
        "critic": (agent.sa_encoder, agent.g_encoder, agent.energy),
        "alpha": agent.log_alpha,
    }
    return eqx.filter(groups, eqx.is_inexact_array)


def with_trainable(agent: Agent, groups: dict[str, PyTree]) -> Agent:
    """`agent` with the parameters of `trainable` exchanged."""
    where = lambda a: (a.actor, a.sa_encoder, a.g_encoder, a.energy, a.log_alpha)
    new = eqx.combine((groups["actor"], *groups["critic"], groups["alpha"]), where(agent))
    return eqx.tree_at(where, agent, new, is_leaf=lambda leaf: leaf is None)


def adam(
    learning_rate: float | optax.Schedule = 3e-4,
    *,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """The paper's Adam, with decoupled weight decay and global-norm clipping as options."""
    clip = [] if max_grad_norm is None else [optax.clip_by_global_norm(max_grad_norm)]
    step = (
        optax.adamw(learning_rate, weight_decay=weight_decay)
        if weight_decay
        else optax.adam(learning_rate)
    )
    return optax.chain(*clip, step)


def adam_optimizers(learning_rate: float | optax.Schedule = 3e-4) -> Optimizers:
    """Plain Adam for every group."""
    return {name: adam(learning_rate) for name in ("actor", "critic", "alpha")}


@not_forked
def init_optimizers(optimizers: Optimizers, agent: Agent) -> OptState:
    return {name: optimizers[name].init(group) for name, group in trainable(agent).items()}


@not_forked
def update(
    agent: Agent,
    opt_state: OptState,
    batch: Batch,
    *,
    objective: AbstractObjective,
    optimizers: Optimizers,
    achieved_goal: AchievedGoal,
    key: PRNGKey,
) -> tuple[Agent, OptState, Metrics]:
    """One gradient step of all networks, every gradient taken at the old parameters.

    ```python
    agent, opt_state, metrics = crl_eqx.update(
        agent, opt_state, batch,
        objective=crl_eqx.objectives.CRL(), optimizers=crl_eqx.adam_optimizers(),
        achieved_goal=env.achieved_goal, key=key,
    )
    ```
    """

    def loss(groups):
        return objective(with_trainable(agent, groups), batch, achieved_goal, key=key)

    groups = trainable(agent)
    grads, metrics = jax.grad(loss, has_aux=True)(groups)
    new_groups, new_opt_state = {}, {}
    for name, group in groups.items():
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its int counters with floats
            updates, new_opt_state[name] = optimizers[name].update(
                grads[name], opt_state[name], group
            )
        if name == "alpha":  # a temperature of 0, log α = -∞, stays: no optimiser can move it
            hold = lambda step, log_alpha: jnp.where(jnp.isneginf(log_alpha), 0.0, step)
            updates = jax.tree.map(hold, updates, group)
        new_groups[name] = optax.apply_updates(group, updates)
        metrics[f"{name}_grad_norm"] = jnp.asarray(optax.tree.norm(grads[name]))
        metrics[f"{name}_update_norm"] = jnp.asarray(optax.tree.norm(updates))
    return with_trainable(agent, new_groups), new_opt_state, metrics
