"""Is a deep network healthy? Cheap numbers that show it before the return does."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from ._agent import Agent
from ._critic import Critic
from ._fork import not_forked
from ._types import PRNGKey, Repr, Scalar
from ._update import trainable
from .nn import ResidualMLP
from .objectives import AbstractObjective
from .objectives._base import ObjectiveState


VERDICTS = ("nothing found", "collapsing", "vanishing", "exploding")
"""What `verdict` counts. It looks at gradients and representations alone: even if they are fine,
a policy may learn nothing, which only evaluations show."""

EXPLODING_NORM = 1e4
VANISHING_RATIO = 1e-4
COLLAPSED_COSINE = 0.99
COLLAPSED_RANK = 2.0


def effective_rank(representations: Float[Array, "batch repr"]) -> Scalar:
    """exp(entropy of the normalised singular values) of the centred batch.

    ??? cite
        [The Effective Rank](https://doi.org/10.5281/zenodo.40605)
    """
    centred = representations - jnp.mean(representations, axis=0, keepdims=True)
    values = jnp.linalg.svd(centred, compute_uv=False)
    p = values / jnp.maximum(jnp.sum(values), 1e-12)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))


def mean_cosine(representations: Float[Array, "batch repr"]) -> Scalar:
    """Mean cosine similarity between different rows; near 1 the representation has collapsed."""
    n = representations.shape[0]
    lengths = jnp.linalg.norm(representations, axis=-1, keepdims=True)
    total = jnp.sum(representations / jnp.maximum(lengths, 1e-12), axis=0)
    return (jnp.sum(jnp.square(total)) - n) / (n * (n - 1))


def block_norms(network_grads: ResidualMLP) -> Float[Array, " blocks"]:
    """Norm of the gradient of every residual block, from the first to the last."""
    leaves = jax.tree.leaves(eqx.filter(network_grads.trunk.blocks, eqx.is_inexact_array))
    squares = [jnp.sum(jnp.square(leaf).reshape(leaf.shape[0], -1), axis=1) for leaf in leaves]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))


def dead_fraction(network: ResidualMLP, *inputs: Float[Array, "batch _"]) -> Scalar:
    """Share of the features before the head that do not move with the input at all."""
    features = network.trunk(network.first(jnp.concatenate(inputs, axis=-1)))
    return jnp.mean((jnp.std(features, axis=0) < 1e-6).astype(jnp.float32))


def _verdict(norms: list[Array], cosines: list[Scalar], ranks: list[Scalar]) -> Scalar:
    """The worst that applies: exploding, then vanishing, then collapsing."""
    exploding: Bool[Array, ""] = jnp.any(
        jnp.stack([~jnp.isfinite(n).all() | (n.max() > EXPLODING_NORM) for n in norms])
    )
    vanishing = jnp.any(jnp.stack([n.min() < VANISHING_RATIO * n.max() for n in norms]))
    collapsed = [c > COLLAPSED_COSINE for c in cosines] + [r < COLLAPSED_RANK for r in ranks]
    collapsing = jnp.any(jnp.stack(collapsed or [jnp.zeros((), bool)]))
    index = jnp.where(exploding, 3, jnp.where(vanishing, 2, jnp.where(collapsing, 1, 0)))
    return index.astype(jnp.float32)


def _residual(agent: Agent, batch: Any) -> dict[str, tuple[ResidualMLP, Any]]:
    """Those networks of an agent that are residual, and what they are given."""
    parts = agent.networks(batch.state, batch.action, batch.future_goal)
    found = {name: (getattr(part, "network", None), given) for name, (part, given) in parts.items()}
    return {name: (net, x) for name, (net, x) in found.items() if isinstance(net, ResidualMLP)}


def _representation_rows(name: str, rows: Repr) -> dict[str, Scalar]:
    return {f"{name}_rank": effective_rank(rows), f"{name}_mean_cosine": mean_cosine(rows)}


@not_forked
def diagnose(
    agent: Agent,
    batch: Any,
    *,
    objective: AbstractObjective,
    objective_state: ObjectiveState = None,
    key: PRNGKey,
) -> dict[str, Array]:
    """Gradient norms per block, representation rank and collapse, dead and saturated fractions.

    **Returns:** scalars by name, `*_block_grad_norms` with one number per residual block, and
    `verdict`, an index into [`crl_eqx.VERDICTS`][].
    """
    grads, _ = eqx.filter_grad(
        lambda agent: objective(agent, objective_state, batch, key=key), has_aux=True
    )(agent)
    trained = {"actor": "actor" in objective.trains}
    norms = {
        name: block_norms(network)
        for name, (network, _) in _residual(grads, batch).items()
        if trained.get(name, "critic" in objective.trains)
    }
    rows: dict[str, Array] = {f"{name}_block_grad_norms": norm for name, norm in norms.items()}
    groups = trainable(agent, objective)
    rows |= {f"{name}_param_norm": optax.tree.norm(group) for name, group in groups.items()}

    cosines, ranks = [], []
    critic = agent.critic
    if isinstance(critic, Critic):  # the others compare no representations
        sa_repr = critic.sa_repr(agent.normalized_state(batch.state), batch.action)
        g_repr = critic.g_repr(agent.normalized_goal(batch.future_goal))
        rows |= _representation_rows("sa_repr", sa_repr) | _representation_rows("g_repr", g_repr)
        cosines = [rows["sa_repr_mean_cosine"], rows["g_repr_mean_cosine"]]
        ranks = [rows["sa_repr_rank"], rows["g_repr_rank"]]
    saturated = jnp.abs(agent.policy(batch.state, batch.future_goal).mode()) > 0.99
    rows["action_saturated_fraction"] = jnp.mean(saturated.astype(jnp.float32))
    for name, (network, given) in _residual(agent, batch).items():
        rows[f"{name}_dead_fraction"] = dead_fraction(network, *given)
    rows["verdict"] = _verdict(list(norms.values()) or [jnp.ones(1)], cosines, ranks)
    return rows
