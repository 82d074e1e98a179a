"""Hindsight goals: states that really lie ahead, at a geometrically distributed distance."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from ._checks import require_discount, require_key
from ._errors import UserError
from ._types import PRNGKey


def future_offset(
    uniform: Float[Array, "*batch"], horizon: Int[Array, "*batch"], discount: float
) -> Int[Array, "*batch"]:
    r"""How many steps ahead the goal lies: $P(k) \propto \gamma^k$ for $1 \le k \le H$.

    The inverse distribution function
    $k = \min(H, 1 + \lfloor \log(1 - u(1 - \gamma^H)) / \log\gamma \rfloor)$, written with
    `log1p` and `expm1` so that it is exact for a discount near 1. The minimum is needed: in single
    precision the quotient rounds up to H now and then, which would cross into the next episode.

    **Arguments:**

    - `uniform`: u, uniform in [0, 1).
    - `horizon`: H, the steps that are left, at least 1.
    - `discount`: γ in (0, 1]; 1 is the uniform distribution.
    """
    left = horizon.astype(uniform.dtype)
    if discount == 1:
        steps = jnp.floor(uniform * left)
    else:
        log_discount = math.log(discount)  # in double precision: in single, 1 - 1e-8 is 1
        steps = jnp.floor(jnp.log1p(uniform * jnp.expm1(left * log_discount)) / log_discount)
    return jnp.clip(1 + steps.astype(horizon.dtype), 1, horizon)


def absorbed_offset(
    uniform: Float[Array, "*batch"], horizon: Int[Array, "*batch"], discount: float
) -> Int[Array, "*batch"]:
    r"""How many steps ahead the goal lies where the last state is never left: $P(k) = (1 - \gamma)
    \gamma^{k - 1}$, and whatever lies beyond H falls on $k = H$.

    Arguments as in `future_offset`; under a discount of 1 it is always H.
    """
    if discount == 1:
        return horizon
    steps = jnp.floor(jnp.log1p(-uniform) / math.log(discount))
    # Compared as floats: far out of the range of integers where the uniform is next to 1.
    steps = jnp.minimum(1 + steps, horizon.astype(uniform.dtype))
    return steps.astype(horizon.dtype)


def future_index(
    lengths: Int[Array, "*batch"],
    time: Int[Array, "*batch"],
    *,
    discount: float,
    key: PRNGKey,
) -> Int[Array, "*batch"]:
    """For step `time` of an episode of `lengths` steps, the index of the state to relabel with.

    The last step has no future; it gets its own index, which must not be trained on.
    """
    horizon = lengths - 1 - time
    offset = future_offset(jax.random.uniform(key, time.shape), horizon, discount)
    return time + jnp.where(horizon > 0, offset, 0)


def relabel(
    trajectory: Shaped[Array, "time *features"], *, discount: float = 0.99, key: PRNGKey
) -> Shaped[Array, "steps *features"]:
    """A future state for every step of one episode but the last, `time - 1` in all; of several
    episodes by `jax.vmap`, as each has futures of its own.

    ```python
    goals = relabel(states, key=key)      # goals[t] = states[t + k], k >= 1
    ```

    **Raises:** `UserError` unless `discount` lies in (0, 1], or if there is more than one episode.
    """
    require_discount(discount, f"relabel(discount={discount!r})")
    require_key(key, "relabel(..., key=...)")
    trajectory = jnp.asarray(trajectory)
    if trajectory.ndim not in (1, 2):
        raise UserError(
            f"`relabel` was given an array of shape {trajectory.shape}: it takes one episode, "
            f"`[time, features]`; of several say `jax.vmap(relabel)`."
        )
    time = jnp.arange(trajectory.shape[0] - 1)
    lengths = jnp.full_like(time, trajectory.shape[0])
    return trajectory[future_index(lengths, time, discount=discount, key=key)]
