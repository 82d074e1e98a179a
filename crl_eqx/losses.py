"""Contrastive losses over `logits[i, j]` = f(sᵢ, aᵢ, gⱼ); the diagonal holds the positives.

Each takes a square matrix and returns one number. [`crl_eqx.losses.logsumexp_penalty`][] is added
by the objective to whichever is chosen.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._diagonal import diagonal, eye
from ._errors import UserError
from ._types import Scalar


Logits: TypeAlias = Float[Array, "batch batch"]
Loss: TypeAlias = Callable[[Logits], Scalar]


def _square(logits: Logits) -> Logits:
    """`logits`, in which every state and action has its goal.

    **Raises:** `UserError` if they are no square matrix.
    """
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1]:
        raise UserError(
            f"A contrastive loss was given logits of shape {logits.shape}: they must be a square "
            f"matrix, whose diagonal holds the positives."
        )
    return logits


def _mask(logits: Logits) -> Bool[Array, "batch batch"]:
    """Where the positives are. **Raises:** as `_square`."""
    return eye(_square(logits))


def _positives(logits: Logits) -> Float[Array, " batch"]:
    """**Raises:** as `_square`."""
    return diagonal(_square(logits))


def _normalized_over(*axes: int) -> Callable[[Loss], Loss]:
    """Marks a loss with the axes of the logits that its softmax runs over."""

    def mark(loss: Loss) -> Loss:
        loss.normalized_over = axes  # pyright: ignore[reportFunctionMemberAccess]
        return loss

    return mark


def _off_diagonal_mean(values: Logits) -> Scalar:
    n = values.shape[0]
    return jnp.sum(jnp.where(_mask(values), 0.0, values)) / max(n * (n - 1), 1)


def _gaps(logits: Logits) -> Logits:
    """diag - logits: how far each positive lies above the others of its row."""
    return _positives(logits)[:, None] - logits


def infonce(logits: Logits) -> Scalar:
    """-mean(diag - logsumexp over j): which goal belongs to this state and action?

    ??? cite
        [Representation Learning with Contrastive Predictive Coding](https://arxiv.org/abs/1807.03748)
    """
    return -jnp.mean(_positives(logits) - jax.nn.logsumexp(logits, axis=1))


@_normalized_over(0)
def infonce_backward(logits: Logits) -> Scalar:
    """-mean(diag - logsumexp over i): which state and action belong to this goal?"""
    return infonce(logits.T)


@_normalized_over(1, 0)
def infonce_symmetric(logits: Logits) -> Scalar:
    """The mean of `infonce` and `infonce_backward`."""
    return 0.5 * (infonce(logits) + infonce_backward(logits))


def binary_nce(logits: Logits) -> Scalar:
    """Mean binary cross-entropy of the logits against the identity, negatives included.

    ??? cite
        [Contrastive Learning as Goal-Conditioned RL](https://arxiv.org/abs/2206.07568)
    """
    return jnp.mean(jax.nn.softplus(jnp.where(_mask(logits), -logits, logits)))


def flatnce(logits: Logits) -> Scalar:
    """mean exp(c - stop(c)), c = logsumexp over j ≠ i of logits - diag: always 1, but its gradient
    is InfoNCE's without the positive in the denominator.

    ??? cite
        [Simpler, Faster, Stronger: Breaking the log-K Curse](https://arxiv.org/abs/2107.01152)
    """
    if logits.shape[0] == 1:
        return jnp.zeros(())  # nothing to tell it from
    c = jax.nn.logsumexp(-_gaps(logits), axis=1, where=~_mask(logits))
    return jnp.mean(jnp.exp(c - jax.lax.stop_gradient(c)))


def dpo(logits: Logits) -> Scalar:
    """-mean over j ≠ i of log σ(diag - logits)."""
    return _off_diagonal_mean(jax.nn.softplus(-_gaps(logits)))


def ipo(logits: Logits) -> Scalar:
    """mean over j ≠ i of (diag - logits - 1)²."""
    return _off_diagonal_mean(jnp.square(_gaps(logits) - 1))


def sppo(logits: Logits) -> Scalar:
    """mean w (logits - t)², t = 1 and w = batch on the diagonal, t = -1 and w = 1 elsewhere."""
    positive = _mask(logits)
    target = jnp.where(positive, 1.0, -1.0)
    weight = jnp.where(positive, float(logits.shape[0]), 1.0)
    return jnp.mean(weight * jnp.square(logits - target))


def forward_backward(logits: Logits) -> Scalar:
    """mean over i of -diag + ½ Σ over j ≠ i of logits² / (batch - 1).

    ??? cite
        [Learning One Representation to Optimize All Rewards](https://arxiv.org/abs/2103.07945)
    """
    return 0.5 * _off_diagonal_mean(jnp.square(logits)) - jnp.mean(_positives(logits))


ALL: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        infonce,
        infonce_backward,
        infonce_symmetric,
        binary_nce,
        flatnce,
        dpo,
        ipo,
        sppo,
        forward_backward,
    )
}
"""Every loss by its name on the command line."""


def logsumexp_penalty(logits: Logits, loss: Loss = infonce) -> Scalar:
    """mean(logsumexp²) along the axis (or axes) that `loss` normalises over: its attribute
    `normalized_over`, else 1, along the rows.

    Without it the logits of a contrastive loss may drift by any constant.
    """
    along = lambda axis: jnp.mean(jnp.square(jax.nn.logsumexp(logits, axis=axis)))
    axes = getattr(loss, "normalized_over", (1,))
    return sum((along(axis) for axis in axes), jnp.zeros(())) / len(axes)
