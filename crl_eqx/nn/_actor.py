from typing import final, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Action, Goal, PRNGKey, State
from ._residual_mlp import check_depth, NetworkOptions, ResidualMLP, Tower


LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class TanhNormal(eqx.Module):
    """The distribution of tanh(u), u normal with independent components: a squashed Gaussian."""

    mean: Float[Array, "*batch action"]
    log_std: Float[Array, "*batch action"]

    def mode(self) -> Action:
        """tanh(mean), the deterministic action."""
        return jnp.tanh(self.mean)

    def sample(self, *, key: PRNGKey) -> Action:
        return self.sample_and_log_prob(key=key)[0]

    def sample_and_log_prob(self, *, key: PRNGKey) -> tuple[Action, Float[Array, "*batch"]]:
        """A reparametrised action and its log-density.

        The density is taken at u, before squashing, so that it stays finite where tanh saturates.
        """
        noise = jax.random.normal(key, self.mean.shape)
        u = self.mean + jnp.exp(self.log_std) * noise
        return jnp.tanh(u), jnp.sum(self._log_normal(noise) - _log_slope(u), axis=-1)

    def sample_unsquashed(self, *, key: PRNGKey) -> Action:
        """u itself, before the tanh."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def unsquashed_log_prob(self, u: Action) -> Float[Array, "*batch"]:
        """The log-density of u itself: where tanh saturates, u cannot be told from tanh(u)."""
        return jnp.sum(self._log_normal(self._noise(u)), axis=-1)

    def unsquashed_entropy(self) -> Float[Array, "*batch"]:
        """Of u, in nats."""
        return jnp.sum(self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)

    def log_prob(self, action: Action) -> Float[Array, "*batch"]:
        """The log-density of `action`, in the same measure as `sample_and_log_prob` gives it.

        Actions nearer than 1e-6 to the edge, ±1, or beyond it, count as those at that distance: at
        the edge itself there is no density.
        """
        edge = 1.0 - 1e-6
        u = jnp.arctanh(jnp.clip(action, -edge, edge))
        return jnp.sum(self._log_normal(self._noise(u)) - _log_slope(u), axis=-1)

    def _noise(self, u: Action) -> Action:
        """The standard normal numbers that give u."""
        return (u - self.mean) * jnp.exp(-self.log_std)

    def _log_normal(self, noise: Action) -> Action:
        """The log-density of each component of u."""
        return -0.5 * jnp.square(noise) - self.log_std - 0.5 * jnp.log(2 * jnp.pi)


def _log_slope(u: Action) -> Action:
    """log(1 - tanh²u), exact for any u."""
    return 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))


@final
class Actor(eqx.Module):
    """The policy π(s, g): a [`crl_eqx.nn.ResidualMLP`][] that gives a `TanhNormal`.

    Its `2 · action_size` outputs are the mean and, through -5 + 3.5 (tanh(·) + 1), the log-std
    in [-5, 2]. `**network` are the keywords of [`crl_eqx.nn.ResidualMLP`][].
    """

    network: ResidualMLP

    def __init__(
        self,
        state_size: int,
        goal_size: int,
        action_size: int,
        *,
        depth: int = 16,
        key: PRNGKey,
        **network: Unpack[NetworkOptions],
    ):
        check_depth(depth, f"Actor(depth={depth!r})")
        sizes = state_size + goal_size, 2 * action_size
        self.network = ResidualMLP(*sizes, depth=depth, key=key, **network)

    def __call__(self, state: State, goal: Goal) -> TanhNormal:
        return self.distribution(self.network(state, goal))

    def as_tower(self) -> Tower:
        return Tower(self.network, self.distribution)

    def distribution(self, outputs: Float[Array, "*batch outputs"]) -> TanhNormal:
        """What the network's outputs stand for."""
        mean, raw = jnp.split(outputs, 2, axis=-1)
        half_range = 0.5 * (LOG_STD_MAX - LOG_STD_MIN)
        return TanhNormal(mean, LOG_STD_MIN + half_range * (jnp.tanh(raw) + 1))
