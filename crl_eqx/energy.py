"""Energies f(s, a, g) between representations: the larger, the likelier that g lies ahead.

Each is an [`crl_eqx.energy.AbstractEnergy`][] with two faces: row by row, and all pairs of two
batches. The pairwise face never builds a `[n, m, repr]` array, except for `MRN`'s maximum, which
XLA fuses.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import require_number
from ._diagonal import with_diagonal
from ._errors import UserError
from ._types import Repr, Scalar


class AbstractEnergy(eqx.Module):
    """f as a function of φ(s, a) and ψ(g)."""

    @abc.abstractmethod
    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        """The energy of every row."""

    @abc.abstractmethod
    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        """`logits[i, j]`: the energy of state-action i and goal j."""

    def check_size(self, repr_size: int, call: str) -> None:
        """**Raises:** `UserError`, which begins with `call`, if it cannot compare representations
        of that size; any can by default."""
        del repr_size, call


def require_energy(energy: Any, call: str, *, optional: bool = True) -> None:
    """**Raises:** `UserError` unless `energy`, an argument of `call`, is one, or None where that
    stands for the default."""
    if not isinstance(energy, AbstractEnergy) and not (optional and energy is None):
        raise UserError(
            f"`{call}(energy={energy!r})` must be one of `crl_eqx.energy`, such as `NegL2()`."
        )


def _squared_norm(x: Float[Array, "*batch repr"]) -> Float[Array, "*batch"]:
    return jnp.sum(jnp.square(x), axis=-1)


def _dots(x: Float[Array, "n repr"], y: Float[Array, "m repr"]) -> Float[Array, "n m"]:
    # Full precision: ‖x‖² + ‖y‖² - 2 x·y cancels, and TF32 would leave only noise.
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def _pairwise_squared_l2(
    x: Float[Array, "n repr"], y: Float[Array, "m repr"]
) -> Float[Array, "n m"]:
    """‖xᵢ - yⱼ‖² as ‖x‖² + ‖y‖² - 2 x·y, clamped at 0.

    Both are first moved by the mean of y, which shortens the vectors whose squares cancel. The
    diagonal (in a batch: the positives, which are close) is taken from the differences directly.
    """
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    x_, y_ = x - centre, y - centre
    squares = _squared_norm(x_)[:, None] + _squared_norm(y_)[None, :] - 2 * _dots(x_, y_)
    k = min(x.shape[0], y.shape[0])
    clamped = jnp.where(squares <= 0, 0.0, squares)  # NaN stays, and is no distance of 0
    return with_diagonal(clamped, _squared_norm(x[:k] - y[:k]))


class NegL2(AbstractEnergy):
    """-√(‖φ - ψ‖² + ε), the default. ε keeps the gradient at distance 0 finite (it is 0 there)."""

    epsilon: float = eqx.field(static=True, default=1e-12)

    def __check_init__(self):
        require_number(self.epsilon, f"NegL2(epsilon={self.epsilon!r})", positive=True)

    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        return -jnp.sqrt(_squared_norm(sa_repr - g_repr) + self.epsilon)

    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        return -jnp.sqrt(_pairwise_squared_l2(sa_repr, g_repr) + self.epsilon)


class NegSquaredL2(AbstractEnergy):
    """-‖φ - ψ‖²."""

    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        return -_squared_norm(sa_repr - g_repr)

    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        return -_pairwise_squared_l2(sa_repr, g_repr)


class Dot(AbstractEnergy):
    """φ·ψ."""

    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        return jnp.sum(sa_repr * g_repr, axis=-1)

    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        return _dots(sa_repr, g_repr)


def _unit(x: Float[Array, "*batch repr"]) -> Float[Array, "*batch repr"]:
    return x * jax.lax.rsqrt(_squared_norm(x) + 1e-12)[..., None]


class Cosine(AbstractEnergy):
    """cos(φ, ψ) / temperature, every row normalised by its own length.

    **Arguments:**

    - `temperature`: where it starts.
    - `learned`: whether training moves it (through its logarithm, so that it stays positive).
    """

    log_temperature: Scalar | float
    """An array if learned; otherwise a number, which neither optimiser nor weight decay sees."""

    def __init__(self, temperature: float = 0.1, *, learned: bool = True):
        require_number(temperature, f"Cosine(temperature={temperature!r})", positive=True)
        log = math.log(temperature)
        self.log_temperature = jnp.asarray(log, jnp.float32) if learned else log

    def _scale(self) -> Scalar:
        return jnp.exp(-jnp.asarray(self.log_temperature, jnp.float32))

    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        return self._scale() * jnp.sum(_unit(sa_repr) * _unit(g_repr), axis=-1)

    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        return self._scale() * _dots(_unit(sa_repr), _unit(g_repr))


class MRN(AbstractEnergy):
    """-[max relu(φ₁ - ψ₁) + √(‖φ₂ - ψ₂‖² + ε)] on the two halves: minus a quasimetric.

    ??? cite
        [Metric Residual Networks for Sample Efficient Goal-Conditioned RL](https://arxiv.org/abs/2208.08133)
    """

    epsilon: float = eqx.field(static=True, default=1e-12)

    def __check_init__(self):
        require_number(self.epsilon, f"MRN(epsilon={self.epsilon!r})", positive=True)

    def check_size(self, repr_size: int, call: str) -> None:
        if repr_size % 2:
            raise UserError(f"`{call}` must be even for `MRN`, which reads it in two halves.")

    def _halves(self, x: Array) -> list[Array]:
        self.check_size(x.shape[-1], f"a representation of {x.shape[-1]} numbers")
        return jnp.split(x, 2, axis=-1)

    def __call__(self, sa_repr: Repr, g_repr: Repr) -> Float[Array, "*batch"]:
        (x1, x2), (y1, y2) = self._halves(sa_repr), self._halves(g_repr)
        asymmetric = jnp.max(jax.nn.relu(x1 - y1), axis=-1)
        return -(asymmetric + jnp.sqrt(_squared_norm(x2 - y2) + self.epsilon))

    def pairwise(
        self, sa_repr: Float[Array, "n repr"], g_repr: Float[Array, "m repr"]
    ) -> Float[Array, "n m"]:
        (x1, x2), (y1, y2) = self._halves(sa_repr), self._halves(g_repr)
        asymmetric = jnp.max(jax.nn.relu(x1[:, None, :] - y1[None, :, :]), axis=-1)
        return -(asymmetric + jnp.sqrt(_pairwise_squared_l2(x2, y2) + self.epsilon))
