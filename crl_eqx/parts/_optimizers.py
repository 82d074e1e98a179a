"""Optimisers and their schedules from the words of the command line."""

import functools
import inspect

import jax
import jax.numpy as jnp
import optax

from .._errors import UserError
from .._flat import Elementwise
from .._update import Optimizers
from ..config import Learning


COOLDOWN = 1 / 5
"""The part of a schedule in which `cooldown` lowers the learning rates."""


def _schedule(learning: Learning, peak: float, delay: int) -> float | optax.Schedule:
    """In the steps of a group that moves at every `delay`-th gradient step."""
    updates = (learning.schedule_updates or 0) // delay  # resolved already, where it is used
    warmup = learning.warmup_updates // delay
    falling = max(updates - warmup, 1)
    if learning.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, falling, learning.schedule_end)
    elif learning.schedule == "cooldown":
        last = max(min(round(COOLDOWN * updates), falling), 1)
        end = peak * learning.schedule_end
        after = optax.linear_schedule(peak, end, last, transition_begin=falling - last)
    elif warmup:
        after = optax.constant_schedule(peak)
    else:
        return peak
    rise = optax.linear_schedule(0.0, peak, warmup)
    return optax.join_schedules([rise, after], [warmup])


def _without_decay(learning: Learning, decays: bool) -> dict[str, float]:
    """Turns off the weight decay that some optimisers have by themselves, unless it `decays`."""
    known = inspect.signature(getattr(optax, learning.optimizer)).parameters
    return {} if decays or "weight_decay" not in known else {"weight_decay": 0.0}


def _optimizer(
    learning: Learning, peak: float, *, delay: int = 1, decays: bool = True
) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(learning.max_grad_norm) if learning.max_grad_norm else None
    rate = _schedule(learning, peak, delay)
    if learning.weight_decay and decays:
        step = optax.adamw(rate, weight_decay=learning.weight_decay)
    else:
        step = getattr(optax, learning.optimizer)(rate, **_without_decay(learning, decays))
    step = step if clip is None else optax.chain(clip, step)
    return Elementwise.of(step) if learning.optimizer in ("adam", "adamw") else step


@functools.cache  # equal choices are one object: several seeds share what is compiled
def make_optimizers(learning: Learning, policy_delay: int = 1) -> Optimizers:
    """For a policy that moves at every `policy_delay`-th gradient step."""
    return {
        "actor": _optimizer(learning, learning.actor_learning_rate, delay=policy_delay),
        "critic": _optimizer(learning, learning.critic_learning_rate),
        # A temperature is no weight: nothing should pull it towards 1.
        "alpha": _optimizer(learning, learning.alpha_learning_rate, decays=False),
    }


def check_optimizer(learning: Learning) -> None:
    step = _first_step(learning, learning.actor_learning_rate)
    if step is None or not jnp.all(step < 0):
        raise UserError(
            f"`--optimizer {learning.optimizer}`: Optax has no optimiser of this name that needs a "
            f"learning rate and a gradient alone."
        )
    rate = _schedule(learning, learning.actor_learning_rate, 1)
    if callable(rate) and _first_step(learning, rate) is None:
        raise UserError(
            f"`--optimizer {learning.optimizer}` takes one learning rate, and no schedule of it: "
            f"add `--schedule constant --warmup-updates 0`."
        )
    if learning.weight_decay and learning.optimizer not in ("adam", "adamw"):
        raise UserError(
            f"`--weight-decay {learning.weight_decay}` is adamw's and cannot be combined with "
            f"`--optimizer {learning.optimizer}`."
        )


def _first_step(learning: Learning, rate: float | optax.Schedule) -> jax.Array | None:
    """Down a slope, from the beginning; None where there is no such optimiser."""
    weight = jnp.ones((2, 2))
    try:
        optimizer = getattr(optax, learning.optimizer)(rate)
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(weight, optimizer.init(weight), weight)[0]
    except Exception:  # anything of Optax's may be named, and what it then raises is its own
        return None
