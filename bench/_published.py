"""The published update and sampler, restated: the baseline that this project is measured against.

Own code, written from what the public implementations of "1000 Layer Networks for
Self-Supervised RL" (arXiv 2503.14858; github.com/wang-kevin3290/scaling-crl) and JaxGCRL
(arXiv 2408.11052) compute, in plain JAX, so that it runs on the JAX installed here. It is a
baseline, not a caricature: the whole update is one jitted function with a donated state, nothing
is computed that the originals do not compute, and samples hold only what the update reads (the
originals also carry rewards and extras along, which XLA drops).

FROZEN. It does not change when the library does; if a fault in it is found, the results that
used it are measured again.

What is deliberately as published: layers unrolled in Python, no rematerialisation; three separate
`value_and_grad`, so that the policy's loss encodes the goal and the state a second time; the
[batch, batch, repr] difference; log-density with `log(1 - a² + 1e-6)`; one T × T matrix of
probabilities per environment; a permutation of all the samples, of which some are thrown away.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


LAYERS_PER_BLOCK = 4
REPR_SIZE = 64
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
LOGSUMEXP_PENALTY = 0.1
LEARNING_RATE = 3e-4
NORM_EPSILON = 1e-6
DIAGONAL = 1e-5
"""Weight of a step as its own goal, so that the last step of an episode has a goal at all."""

Params = dict[str, Any]


class Sizes(NamedTuple):
    state: int
    action: int
    goal: int


class Transitions(NamedTuple):
    """A batch; `goal` is the future achieved goal that the sampler chose."""

    state: jax.Array
    action: jax.Array
    goal: jax.Array


class State(NamedTuple):
    actor: Params
    critic: Params
    alpha: Params
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    alpha_opt: optax.OptState
    key: jax.Array
    gradient_steps: jax.Array


# -- networks ------------------------------------------------------------------------------------


def _init_dense(key: jax.Array, fan_in: int, fan_out: int) -> Params:
    bound = fan_in**-0.5
    kernel = jax.random.uniform(key, (fan_in, fan_out), minval=-bound, maxval=bound)
    return {"kernel": kernel, "bias": jnp.zeros(fan_out)}


def _init_layer(key: jax.Array, fan_in: int, width: int) -> Params:
    norm = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
    return {"dense": _init_dense(key, fan_in, width), "norm": norm}


def init_network(
    key: jax.Array, in_size: int, head_sizes: tuple[int, ...], depth: int, width: int
) -> Params:
    """One input layer, `depth` layers in residual blocks of four, and one Dense per head."""
    keys = jax.random.split(key, 1 + depth + len(head_sizes))
    hidden = [_init_layer(k, width, width) for k in keys[1 : 1 + depth]]
    return {
        "first": _init_layer(keys[0], in_size, width),
        "blocks": [hidden[i : i + LAYERS_PER_BLOCK] for i in range(0, depth, LAYERS_PER_BLOCK)],
        "heads": [
            _init_dense(k, width, n) for k, n in zip(keys[1 + depth :], head_sizes, strict=True)
        ],
    }


def _dense(p: Params, x: jax.Array) -> jax.Array:
    return x @ p["kernel"] + p["bias"][None, :]


def _layer_norm(p: Params, x: jax.Array) -> jax.Array:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    mean_of_squares = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    variance = jnp.maximum(0.0, mean_of_squares - jnp.square(mean))
    gain = jax.lax.rsqrt(variance + NORM_EPSILON) * p["scale"][None, :]
    return (x - mean) * gain + p["bias"][None, :]


def _layer(p: Params, x: jax.Array) -> jax.Array:
    return jax.nn.swish(_layer_norm(p["norm"], _dense(p["dense"], x)))


def apply_network(p: Params, x: jax.Array) -> list[jax.Array]:
    """Every layer traced on its own: the program grows with depth."""
    x = _layer(p["first"], x)
    for block in p["blocks"]:
        y = x
        for layer in block:
            y = _layer(layer, y)
        x = x + y
    return [_dense(head, x) for head in p["heads"]]


def sa_repr(critic: Params, state: jax.Array, action: jax.Array) -> jax.Array:
    return apply_network(critic["sa_encoder"], jnp.concatenate([state, action], axis=-1))[0]


def g_repr(critic: Params, goal: jax.Array) -> jax.Array:
    return apply_network(critic["g_encoder"], goal)[0]


def policy(actor: Params, state: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-std."""
    mean, raw = apply_network(actor, jnp.concatenate([state, goal], axis=-1))
    return mean, LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (jnp.tanh(raw) + 1.0)


# -- update --------------------------------------------------------------------------------------


def _optimiser() -> optax.GradientTransformation:
    return optax.adam(LEARNING_RATE)


def init(key: jax.Array, sizes: Sizes, *, depth: int, width: int = 256) -> State:
    key, actor_key, sa_key, g_key = jax.random.split(key, 4)
    heads = (sizes.action, sizes.action)
    actor = init_network(actor_key, sizes.state + sizes.goal, heads, depth, width)
    critic = {
        "sa_encoder": init_network(sa_key, sizes.state + sizes.action, (REPR_SIZE,), depth, width),
        "g_encoder": init_network(g_key, sizes.goal, (REPR_SIZE,), depth, width),
    }
    alpha = {"log_alpha": jnp.zeros(())}
    actor_opt, critic_opt, alpha_opt = (_optimiser().init(p) for p in (actor, critic, alpha))
    steps = jnp.zeros((), jnp.int32)
    return State(actor, critic, alpha, actor_opt, critic_opt, alpha_opt, key, steps)


def actor_loss(
    actor: Params, critic: Params, log_alpha: jax.Array, batch: Transitions, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """mean(α log π(ã|s,g) - f(s,ã,g)), and log π(ã|s,g)."""
    mean, log_std = policy(actor, batch.state, batch.goal)
    std = jnp.exp(log_std)
    x = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
    action = jnp.tanh(x)
    log_prob = jax.scipy.stats.norm.logpdf(x, loc=mean, scale=std)
    log_prob = jnp.sum(log_prob - jnp.log(1.0 - jnp.square(action) + 1e-6), axis=-1)
    difference = sa_repr(critic, batch.state, action) - g_repr(critic, batch.goal)
    energy = -jnp.sqrt(jnp.sum(jnp.square(difference), axis=-1))
    return jnp.mean(jnp.exp(log_alpha) * log_prob - energy), log_prob


def alpha_loss(alpha: Params, log_prob: jax.Array, target_entropy: float) -> jax.Array:
    missing = jax.lax.stop_gradient(-log_prob - target_entropy)
    return jnp.exp(alpha["log_alpha"]) * jnp.mean(missing)


def critic_loss(critic: Params, batch: Transitions) -> tuple[jax.Array, jax.Array]:
    """InfoNCE (forward) with its penalty, and the mean logsumexp."""
    phi, psi = sa_repr(critic, batch.state, batch.action), g_repr(critic, batch.goal)
    logits = -jnp.sqrt(jnp.sum(jnp.square(phi[:, None, :] - psi[None, :, :]), axis=-1))
    loss = -jnp.mean(jnp.diag(logits) - jax.nn.logsumexp(logits, axis=1))
    logsumexp = jax.nn.logsumexp(logits + 1e-6, axis=1)
    return loss + LOGSUMEXP_PENALTY * jnp.mean(jnp.square(logsumexp)), jnp.mean(logsumexp)


def _apply(params: Params, grads: Params, opt: optax.OptState) -> tuple[Params, optax.OptState]:
    with jax.numpy_dtype_promotion("standard"):  # optax mixes int and float scalars
        updates, opt = _optimiser().update(grads, opt)
        return optax.apply_updates(params, updates), opt  # pyright: ignore[reportReturnType]


def update_step(state: State, batch: Transitions) -> tuple[State, dict[str, jax.Array]]:
    """All three gradients at the old parameters, then three Adam steps."""
    target_entropy = -0.5 * batch.action.shape[-1]
    key, actor_key = jax.random.split(state.key)

    (a_loss, log_prob), a_grads = jax.value_and_grad(actor_loss, has_aux=True)(
        state.actor, state.critic, state.alpha["log_alpha"], batch, actor_key
    )
    t_loss, t_grads = jax.value_and_grad(alpha_loss)(state.alpha, log_prob, target_entropy)
    (c_loss, logsumexp), c_grads = jax.value_and_grad(critic_loss, has_aux=True)(
        state.critic, batch
    )

    actor, actor_opt = _apply(state.actor, a_grads, state.actor_opt)
    alpha, alpha_opt = _apply(state.alpha, t_grads, state.alpha_opt)
    critic, critic_opt = _apply(state.critic, c_grads, state.critic_opt)
    metrics = {
        "actor_loss": a_loss,
        "alpha_loss": t_loss,
        "critic_loss": c_loss,
        "logsumexp": logsumexp,
        "entropy": -jnp.mean(log_prob),
    }
    steps = state.gradient_steps + 1
    new = State(actor, critic, alpha, actor_opt, critic_opt, alpha_opt, key, steps)
    return new, metrics


update = jax.jit(update_step, donate_argnums=0)


# -- replay --------------------------------------------------------------------------------------


class Storage(NamedTuple):
    """A queue of flat rows [time, environment, state | action | episode]; `size` rows are valid.

    The originals' rows also hold reward, discount, truncation and the commanded goal.
    """

    data: jax.Array
    size: jax.Array


def _windows(storage: Storage, key: jax.Array, window: int) -> jax.Array:
    """One stretch of `window` steps from every environment, in a random order of environments."""
    num_envs = storage.data.shape[1]
    env_key, start_key = jax.random.split(key)
    order = jax.random.choice(env_key, jnp.arange(num_envs), (num_envs,), replace=False)
    starts = jax.random.randint(start_key, (num_envs,), 0, jnp.maximum(1, storage.size - window))
    rows = starts[:, None] + jnp.arange(window)[None, :]
    take = lambda column, index: jnp.take(column, index, axis=0, mode="wrap")
    return jax.vmap(take, in_axes=(1, 0))(storage.data[:, order], rows)


def relabel(
    key: jax.Array,
    trajectory: jax.Array,
    *,
    sizes: Sizes,
    goal_indices: tuple[int, ...],
    discount: float,
) -> Transitions:
    """A future of the same episode for each step but the last of `trajectory` [time, features].

    Row i of the T × T matrix holds the weights discount^(j - i) of the goals j > i.
    """
    state = trajectory[:, : sizes.state]
    action = trajectory[:, sizes.state : sizes.state + sizes.action]
    episode = trajectory[:, -1]
    time = jnp.arange(trajectory.shape[0])
    offset = (time[None, :] - time[:, None]).astype(jnp.float32)
    weights = (offset > 0).astype(jnp.float32) * discount**offset
    same = (episode[:, None] == episode[None, :]).astype(jnp.float32)
    weights = weights * same + DIAGONAL * jnp.eye(time.size)
    future = jax.random.categorical(key, jnp.log(weights))[:-1]
    goal = jnp.take(state, future, axis=0)[:, jnp.asarray(goal_indices)]
    return Transitions(state[:-1], action[:-1], goal)


@functools.partial(
    jax.jit,
    static_argnames=(
        "sizes",
        "goal_indices",
        "window",
        "num_batches",
        "batch_size",
        "discount",
    ),
)
def sample(
    storage: Storage,
    key: jax.Array,
    *,
    sizes: Sizes,
    goal_indices: tuple[int, ...],
    window: int = 1000,
    num_batches: int = 800,
    batch_size: int = 512,
    discount: float = 0.99,
) -> Transitions:
    """All batches of one training step, [num_batches, batch_size, ...].

    Every step of every environment's window is relabelled and shuffled; batches beyond
    `num_batches` are thrown away.
    """
    window_key, relabel_key, shuffle_key, batch_key = jax.random.split(key, 4)
    trajectories = _windows(storage, window_key, window)
    one = functools.partial(relabel, sizes=sizes, goal_indices=goal_indices, discount=discount)
    samples = jax.vmap(one)(jax.random.split(relabel_key, len(trajectories)), trajectories)

    flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, x.shape[-1]), order="F"), samples)
    shuffled = jax.random.permutation(shuffle_key, len(flat.state))
    whole = len(flat.state) // batch_size
    kept = shuffled[: whole * batch_size]
    batches = jax.tree.map(lambda x: x[kept].reshape(whole, batch_size, x.shape[-1]), flat)
    chosen = jax.random.permutation(batch_key, whole)[:num_batches]
    return jax.tree.map(lambda x: x[chosen], batches)
