"""Which goals a policy trains on."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import as_number
from .._errors import UserError
from .._types import Goal, PRNGKey
from ..replay import Batch


def check_shares(shares: Mapping[str, float], call: str) -> None:
    """**Raises:** `UserError`, which begins with `call`, unless they are shares of a whole."""
    for name, share in shares.items():
        if not 0 <= as_number(share) <= 1:
            raise UserError(f"{call}: {name} = {share} must lie in [0, 1].")
    total = math.fsum(shares.values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise UserError(f"{call}: these shares must add up to 1, and add up to {total:g}.")


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
        words = ", ".join(f"{name}={share}" for name, share in shares.items())
        check_shares(shares, f"`Goals({words})`")

    def draw(self, batch: Batch, *, key: PRNGKey) -> Goal:
        """A goal for every step of `batch`."""
        drawn = jax.random.uniform(key, (*batch.state.shape[:-1], 1))
        rolled = jnp.roll(batch.future_goal, 1, axis=0)
        goal = jnp.where(drawn < self.random, rolled, batch.future_goal)
        return jnp.where(drawn >= self.random + self.future, batch.goal, goal)
