"""Which goals a policy trains on."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import require_share
from .._errors import UserError
from .._types import Goal, PRNGKey
from ..replay import Batch


class Goals(eqx.Module):
    """Which goals a policy trains on, as shares that add up to 1.

    ```python
    objective = crl_eqx.objectives.CRL(goals=Goals(future=0.5, random=0.5))
    ```

    **Arguments:**

    - `future`: of the step's own future (hindsight).
    - `random`: of another step's future: the batch's goals, rolled by one.
    - `commanded`: the one that was commanded in the rollout.

    **Raises:** `UserError` unless they are shares of a whole.
    """

    future: float = eqx.field(static=True, default=0.0)
    random: float = eqx.field(static=True, default=0.0)
    commanded: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        shares = dict(future=self.future, random=self.random, commanded=self.commanded)
        for name, share in shares.items():
            require_share(share, f"Goals({name}={share!r})")
        total = math.fsum(shares.values())
        if not math.isclose(total, 1, abs_tol=1e-6):
            words = ", ".join(f"{name}={share}" for name, share in shares.items())
            raise UserError(f"`Goals({words})` must add up to 1, and add up to {total:g}.")

    def draw(self, batch: Batch, *, key: PRNGKey) -> Goal:
        """A goal for every step of `batch`."""
        drawn = jax.random.uniform(key, (*batch.state.shape[:-1], 1))
        rolled = jnp.roll(batch.future_goal, 1, axis=0)
        goal = jnp.where(drawn < self.random, rolled, batch.future_goal)
        return jnp.where(drawn >= self.random + self.future, batch.goal, goal)
