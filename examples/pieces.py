"""Pieces alone: a scanned stack of blocks, an energy, a loss, the replay buffer, `relabel`.

Run it with `python examples/pieces.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import crl_eqx as crl


class Block(eqx.Module):
    """Any module that maps an array to one of the same shape can be stacked."""

    linear: crl.nn.Linear

    def __init__(self, key):
        self.linear = crl.nn.Linear(16, 16, key=key)

    def __call__(self, x):
        return x + 0.1 * jnp.tanh(self.linear(x))


def stacked(key) -> None:
    stack = crl.nn.Stacked(Block, 100, key=key)  # one set of weights with a leading axis of 100
    x = jnp.ones((3, 16))
    scanned, looped = stack(x), x
    for block in stack.unstacked():
        looped = block(looped)
    print(f"Stacked: 100 blocks, scan against loop {jnp.abs(scanned - looped).max():.0e}")


def energy_and_loss(key) -> None:
    sa_repr, noise = jax.random.normal(key, (2, 32, 8))
    g_repr = sa_repr + 0.1 * noise
    logits = crl.energy.NegL2().pairwise(sa_repr, g_repr)  # [32, 32], positives on the diagonal
    value, gradient = jax.value_and_grad(crl.losses.infonce)(logits)
    chance = jnp.log(32.0)
    print(f"infonce: {value:.3f} (chance {chance:.3f}), |gradient| {jnp.abs(gradient).max():.3f}")


def replay(key) -> None:
    """States that count up within an episode, so that a future state tells its distance."""
    buffer = crl.TrajectoryBuffer(capacity=1_000, num_envs=4, discount=0.9)
    time = jnp.broadcast_to(jnp.arange(500)[:, None], (500, 4))
    steps = crl.Transition(
        state=(time % 100).astype(jnp.float32)[..., None],
        action=jnp.zeros((500, 4, 1)),
        goal=jnp.zeros((500, 4, 1)),
        episode=time // 100,
    )
    state = buffer.init(jax.tree.map(lambda leaf: leaf[0, 0], steps))
    state = eqx.filter_jit(buffer.insert, donate="all")(state, steps)
    batch = buffer.stored(state).sample((10_000,), key=key)
    ahead = batch.future_goal - batch.state
    print(f"buffer: futures lie {ahead.mean():.1f} steps ahead on average, at least {ahead.min()}")


def relabelled(key) -> None:
    states = jnp.arange(6.0)[:, None]
    goals = crl.relabel(states, discount=0.9, key=key)
    print(f"relabel: states {states[:-1, 0]} get goals {goals[:, 0]}")


if __name__ == "__main__":
    keys = jax.random.split(jax.random.key(0), 4)
    stacked(keys[0])
    energy_and_loss(keys[1])
    replay(keys[2])
    relabelled(keys[3])
