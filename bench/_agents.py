"""Our side of the comparisons: the library's agent and its update, on given weights."""

from collections.abc import Callable
from typing import Any

import _published
import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from _published import Params, Sizes, State, Transitions

import crl_eqx
from crl_eqx.nn import Actor, Compute, Encoder


ANT = Sizes(state=29, action=8, goal=2)


class Sized(crl_eqx.AbstractGoalEnv):
    """A task of these sizes without physics, where only the networks are measured. The goal is a
    part of the state."""

    state_size: int
    action_size: int
    goal_size: int
    episode_length: int = 100

    def reset(self, *, key: jax.Array) -> crl_eqx.EnvState:
        state = jax.random.normal(key, (self.state_size,))
        return crl_eqx.EnvState(None, state, self.achieved_goal(-state))

    def step(self, env_state: crl_eqx.EnvState, action: jax.Array) -> crl_eqx.EnvState:
        state = env_state.state + 0.1 * jnp.sum(action)
        return crl_eqx.EnvState(None, state, env_state.goal)

    def achieved_goal(self, state: jax.Array) -> jax.Array:
        return state[..., : self.goal_size]

    def success(self, state: jax.Array, goal: jax.Array) -> jax.Array:
        return self.distance(state, goal) < 0.5


def random_transitions(sizes: Sizes, batch_size: int, key: jax.Array) -> Transitions:
    keys = jax.random.split(key, 3)
    shape = lambda size: (batch_size, size)
    return Transitions(
        jax.random.normal(keys[0], shape(sizes.state)),
        jnp.tanh(jax.random.normal(keys[1], shape(sizes.action))),
        jax.random.normal(keys[2], shape(sizes.goal)),
    )


def as_batch(transitions: Transitions) -> crl_eqx.Batch:
    """Ours, in which no goal was commanded."""
    state, action, goal = transitions
    return crl_eqx.Batch(state, action, jnp.zeros_like(goal), goal)


@eqx.filter_jit
def new_agent(
    sizes: Sizes, *, depth: int, width: int, key: jax.Array, **compute: Any
) -> crl_eqx.Agent:
    actor_key, sa_key, g_key = jax.random.split(key, 3)
    network = dict(depth=depth, width=width, compute=Compute(**compute))
    return crl_eqx.Agent(
        actor=Actor(sizes.state, sizes.goal, sizes.action, key=actor_key, **network),
        critic=crl_eqx.Critic(
            Encoder(sizes.state + sizes.action, key=sa_key, **network),
            Encoder(sizes.goal, key=g_key, **network),
        ),
        log_alpha=jnp.zeros(()),
    )


def _layer_with(layer: Any, p: Params) -> Any:
    where = lambda l: (l.linear.weight, l.linear.bias, l.norm.scale, l.norm.offset)
    dense, norm = p["dense"], p["norm"]
    return eqx.tree_at(where, layer, (dense["kernel"], dense["bias"], norm["scale"], norm["bias"]))


def _network_with(network: Any, p: Params) -> Any:
    """The published weights in our packed network."""
    weights = [[layer["dense"]["kernel"] for layer in block] for block in p["blocks"]]
    rows = lambda layer: (layer["dense"]["bias"], layer["norm"]["scale"], layer["norm"]["bias"])
    vectors = [[jnp.stack(rows(layer)) for layer in block] for block in p["blocks"]]
    pack = lambda blocks: jnp.stack([jnp.stack(layers) for layers in blocks])
    heads = [jnp.concatenate([h[name] for h in p["heads"]], axis=-1) for name in ("kernel", "bias")]
    where = lambda n: (n.first, n.trunk.blocks.weights, n.trunk.blocks.vectors)
    return eqx.tree_at(
        lambda n: (*where(n), n.head.weight, n.head.bias),
        network,
        (_layer_with(network.first, p["first"]), pack(weights), pack(vectors), *heads),
    )


def with_weights(agent: crl_eqx.Agent, actor: Params, critic: Params, log_alpha: jax.Array):
    """`agent` with published weights (or, as well, published gradients)."""
    new = (
        _network_with(agent.actor.network, actor),
        _network_with(agent.critic.sa_encoder.network, critic["sa_encoder"]),
        _network_with(agent.critic.g_encoder.network, critic["g_encoder"]),
        log_alpha,
    )
    encoders = lambda critic: (critic.sa_encoder.network, critic.g_encoder.network)
    where = lambda a: (a.actor.network, *encoders(a.critic), a.log_alpha)
    return eqx.tree_at(where, agent, new)


def from_published(state: State, sizes: Sizes, **compute: Any) -> crl_eqx.Agent:
    """Our agent with the baseline's weights."""
    depth = len(state.actor["blocks"]) * _published.LAYERS_PER_BLOCK
    width = state.actor["heads"][0]["kernel"].shape[0]
    agent = new_agent(sizes, depth=depth, width=width, key=jax.random.key(0), **compute)
    return with_weights(agent, state.actor, state.critic, state.alpha["log_alpha"])


def first_carry(agent: crl_eqx.Agent, optimizers: Any = None) -> tuple[Any, Any, Any]:
    """What `crl_eqx.update` takes before the batch: the agent, and what its optimisers and its
    objective remember."""
    optimizers = crl_eqx.adam_optimizers() if optimizers is None else optimizers
    objective = crl_eqx.objectives.CRL()
    return agent, crl_eqx.init_optimizers(optimizers, agent, objective), objective.init(agent)


def make_update(
    optimizers: Any = None,
) -> Callable[[Any, crl_eqx.Batch, jax.Array], tuple[Any, Any]]:
    """`(carry, batch, key) -> (carry, metrics)`, the library's own."""
    optimizers = crl_eqx.adam_optimizers() if optimizers is None else optimizers

    def update(carry, batch, key):
        *carry, metrics = crl_eqx.update(
            *carry,
            batch,
            objective=crl_eqx.objectives.CRL(),
            optimizers=optimizers,
            key=key,
        )
        return tuple(carry), metrics

    return update


def gradients(agent: crl_eqx.Agent, batch: crl_eqx.Batch, key: jax.Array):
    """What one update would hand to its optimisers, by group."""
    keep = {name: optax.trace(decay=0.0) for name in ("actor", "critic", "alpha")}
    carry = first_carry(agent, keep)
    (_, kept, _), _ = eqx.filter_jit(make_update(keep))(carry, batch, key)
    return {name: state.trace for name, state in kept.items()}


def donated(update: Callable, carry: Any) -> tuple[Callable, Any]:
    """`update` as a jitted function of arrays alone that donates its carry, and the carry's, which
    may be shapes."""
    is_array = lambda leaf: eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
    arrays, static = eqx.partition(carry, is_array)

    def step(arrays, batch, key):
        carry, metrics = update(eqx.combine(arrays, static), batch, key)
        return eqx.filter(carry, eqx.is_array), metrics

    return jax.jit(step, donate_argnums=0), arrays
