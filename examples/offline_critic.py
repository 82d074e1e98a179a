"""A critic learnt from trajectories that are already in memory, in three lines.

The data are walks around a ring with a drift to the right. What a critic should have learnt from
them is how far apart in time two places are, which is not how far apart they lie.

Run it with `python examples/offline_critic.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import crl_eqx as crl


def walks(n: int, t: int, key):
    """Steps of 0.1 ± 0.05 rad: states [n, t, 2] on the circle, actions [n, t, 1], lengths [n]."""
    start_key, step_key, length_key = jax.random.split(key, 3)
    steps = 0.1 + 0.05 * jax.random.normal(step_key, (n, t))
    start = jax.random.uniform(start_key, (n, 1), maxval=2 * jnp.pi)
    angles = start + jnp.cumsum(steps, axis=1) - steps
    states = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    return states, steps[..., None], jax.random.randint(length_key, (n,), t // 2, t + 1)


def energies_ahead(critic) -> str:
    """The energy of places that lie 5, 10, 20 and 40 steps ahead of one place."""
    at = lambda angle: jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    goals = at(0.1 * jnp.array([5.0, 10.0, 20.0, 40.0]))
    start = jnp.broadcast_to(at(jnp.zeros(())), goals.shape)
    return ", ".join(f"{energy:.2f}" for energy in critic(start, None, goals))


class OwnEncoder(eqx.Module):
    """Any module will do that maps a batch of inputs to a batch of representations."""

    mlp: eqx.nn.MLP

    def __init__(self, in_size: int, key):
        self.mlp = eqx.nn.MLP(in_size, 16, width_size=64, depth=2, key=key)

    def __call__(self, *inputs):
        return jax.vmap(self.mlp)(jnp.concatenate(inputs, axis=-1))


def main() -> None:
    key, data_key, a_key, b_key = jax.random.split(jax.random.key(0), 4)
    states, actions, lengths = walks(200, 100, data_key)

    data = crl.Trajectories(states, lengths=lengths, discount=0.9)
    critic = crl.Critic.create(data, depth=4, width=64, key=key)
    print(f"untrained:                   {energies_ahead(critic)}")
    critic, history = crl.fit(critic, data, num_updates=1_000, batch_size=64, key=key)

    print(f"5, 10, 20 and 40 steps away: {energies_ahead(critic)}")
    accuracy = history["categorical_accuracy"]
    print(f"accuracy {accuracy[0]:.3f} -> {accuracy[-100:].mean():.3f} (chance {1 / 64:.3f})")

    # With actions, and with encoders of one's own.
    data = crl.Trajectories(states, actions, lengths, discount=0.9)
    critic = crl.Critic(OwnEncoder(2 + 1, a_key), OwnEncoder(2, b_key))
    critic, history = crl.fit(critic, data, num_updates=1_000, batch_size=64, key=key)
    accuracy = history["categorical_accuracy"]
    print(f"own encoders: accuracy {accuracy[0]:.3f} -> {accuracy[-100:].mean():.3f}")


if __name__ == "__main__":
    main()
