"""Which goals a policy trains on."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import require_kind, require_share
from .._errors import UserError
from .._types import Goal, PRNGKey
from ..replay import Batch


def require_goals(goals: Any, owner: str) -> None:
    """**Raises:** `UserError` unless `goals`, an argument of `owner`, is a `Goals`."""
    require_kind(goals, Goals, f"{owner}(goals={goals!r})", "a `Goals`")


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
        if not self.commanded:  # data in memory have no such goals
            return goal
        return jnp.where(drawn >= self.random + self.future, self.commanded_of(batch), goal)

    def commanded_of(self, batch: Batch) -> Goal:
        """The goals that were commanded. **Raises:** `UserError` if the data have none."""
        if batch.goal.shape != batch.future_goal.shape:
            raise UserError(
                f"`Goals(commanded={self.commanded:g})` needs data with the goals that were "
                f"commanded, and these have none."
            )
        return batch.goal
