"""Is a deep network healthy? Cheap numbers that show it before the return does."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ._agent import Agent
from ._critic import Critic
from ._env import AbstractGoalEnv
from ._fork import not_forked
from ._types import PRNGKey, Repr, Scalar
from ._update import trainable
from .nn import ResidualMLP
from .objectives import AbstractObjective
from .objectives._base import ObjectiveState


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
    total = jnp.sum(_unit(representations), axis=0)
    return (jnp.sum(jnp.square(total)) - n) / (n * (n - 1))


def block_norms(network_grads: ResidualMLP) -> Float[Array, " blocks"]:
    """Norm of the gradient of every residual block, from the first to the last."""
    leaves = jax.tree.leaves(eqx.filter(network_grads.trunk.blocks, eqx.is_inexact_array))
    squares = [jnp.sum(jnp.square(leaf).reshape(leaf.shape[0], -1), axis=1) for leaf in leaves]
    return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))


class Flow(NamedTuple):
    """What becomes of a batch on its way through a network's blocks."""

    scales: Float[Array, " blocks"]
    """Root mean square of what each block puts out."""
    dead: Scalar
    """Share of the features before the head that do not move with the input at all."""


def flow(network: ResidualMLP, *inputs: Float[Array, "batch _"]) -> Flow:
    """Follows a batch through the blocks, one by one: kernels keep nothing of what lies between
    them."""
    arrays, static = eqx.partition(network.trunk.blocks, eqx.is_array)

    def through(x, arrays):
        x = eqx.combine(arrays, static)(x)
        return x, jnp.sqrt(jnp.mean(jnp.square(x)))

    features, scales = jax.lax.scan(through, network.first(network.joined(inputs)), arrays)
    return Flow(scales, jnp.mean((jnp.std(features, axis=0) < 1e-6).astype(jnp.float32)))


def alignment(sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "n repr"]) -> Scalar:
    """Mean squared distance of positive pairs on the unit sphere, from 0 to 4; low is aligned.

    ??? cite
        [Understanding Contrastive Representation Learning through Alignment and
        Uniformity](https://arxiv.org/abs/2005.10242)
    """
    return 2 - 2 * jnp.mean(jnp.sum(_unit(sa_repr) * _unit(g_repr), axis=-1))


def uniformity(representations: Float[Array, "n repr"]) -> Scalar:
    """log mean exp(-2 d²) over all pairs of rows on the unit sphere, at most 0; low is uniform.
    Source: as for `alignment`."""
    unit, n = _unit(representations), representations.shape[0]
    cosines = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    exponents = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, 4 * cosines - 4)
    return jax.nn.logsumexp(exponents) - jnp.log(float(n * (n - 1)))


def logit_gap(logits: Float[Array, "n n"]) -> Scalar:
    """How far positives, the diagonal, lie above negatives, on average."""
    n = logits.shape[0]
    positive = jnp.mean(jnp.diagonal(logits))
    return positive - (jnp.sum(logits) / n - positive) / (n - 1)


def coverage(
    env: AbstractGoalEnv, states: Float[Array, "n state"], goals: Float[Array, "m goal"]
) -> Scalar:
    """Share of the goals that at least one of the states is a success for."""
    reached = lambda goal: jnp.any(jax.vmap(lambda state: env.success(state, goal))(states))
    return jnp.mean(jax.lax.map(reached, goals).astype(jnp.float32))


def _unit(rows: Float[Array, "n repr"]) -> Float[Array, "n repr"]:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _residual(agent: Agent, batch: Any) -> dict[str, tuple[ResidualMLP, Any]]:
    """Those networks of an agent that are residual, and what they are given."""
    state, goal = agent.normalized_state(batch.state), agent.normalized_goal(batch.future_goal)
    parts = agent.networks(state, batch.action, goal)
    found = {name: (getattr(part, "network", None), given) for name, (part, given) in parts.items()}
    return {name: (net, x) for name, (net, x) in found.items() if isinstance(net, ResidualMLP)}


def _representation_rows(name: str, rows: Repr) -> dict[str, Scalar]:
    return {
        f"{name}_rank": effective_rank(rows),
        f"{name}_mean_cosine": mean_cosine(rows),
        f"{name}_uniformity": uniformity(rows),
    }


@not_forked
def diagnose(
    agent: Agent,
    batch: Any,
    *,
    objective: AbstractObjective,
    objective_state: ObjectiveState = None,
    key: PRNGKey,
) -> dict[str, Array]:
    """Gradients and activations per block; rank, alignment and uniformity of representations;
    dead and saturated fractions. [`crl_eqx.verdict`][] says what they mean.

    Of an objective that remembers something, such as target networks, `objective_state` is that of
    the run; by default what it is at the start, of this agent.

    **Returns:** scalars by name; `*_block_grad_norms` and `*_activation_scales` have one number per
    residual block.
    """
    if objective_state is None:
        objective_state = objective.init(agent)
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

    critic = agent.critic
    if isinstance(critic, Critic):  # the others compare no representations
        sa_repr = critic.sa_repr(agent.normalized_state(batch.state), batch.action)
        g_repr = critic.g_repr(agent.normalized_goal(batch.future_goal))
        rows |= _representation_rows("sa_repr", sa_repr) | _representation_rows("g_repr", g_repr)
        rows["alignment"] = alignment(sa_repr, g_repr)
        rows["logit_gap"] = logit_gap(critic.energy.pairwise(sa_repr, g_repr))
    saturated = jnp.abs(agent.policy(batch.state, batch.future_goal).mode()) > 0.99
    rows["action_saturated_fraction"] = jnp.mean(saturated.astype(jnp.float32))
    for name, (network, given) in _residual(agent, batch).items():
        found = flow(network, *given)
        rows[f"{name}_activation_scales"] = found.scales
        rows[f"{name}_dead_fraction"] = found.dead
    return rows
