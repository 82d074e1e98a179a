import abc
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
from jaxtyping import Array, Bool, PyTree

from .._agent import Agent, CriticKind
from .._checks import as_number, fits_float32
from .._errors import UserError
from .._types import Count, PRNGKey, Scalar, State


Metrics: TypeAlias = dict[str, Scalar | Count]
ObjectiveState: TypeAlias = PyTree[Any]


class AbstractObjective(eqx.Module):
    """One scalar whose gradient trains everything in an agent, and what it remembers of the past.

    The scalar's terms are built so that each touches the parameters of its own network only; one
    backward pass then gives every gradient at the same, old, parameters.

    ```python
    state = objective.init(agent)
    for batch in batches:
        loss, metrics = objective(agent, state, batch, key=key)
        ...                                      # one gradient step of the groups in `trains`
        state = objective.after(agent, state)
    ```
    """

    trains: ClassVar[tuple[str, ...]] = ("actor", "critic", "alpha")
    """The groups of parameters that it moves: see [`crl_eqx.Agent.groups`][]."""
    critic: ClassVar[CriticKind] = "none"
    """Which critic its agents have: see [`crl_eqx.Agent.create`][]."""
    needs_next_state: ClassVar[bool] = False
    """Whether it reads `Batch.next_state` and `Batch.terminated`."""

    def passes(self, network: str) -> float:
        """What an update costs of that network, as [`crl_eqx.nn.audit`][] names it, in forward
        passes of the batch: a backward pass counts as two, one to the input alone as one. Three by
        default, for one loss."""
        del network
        return 3.0

    def init(self, agent: Agent) -> ObjectiveState:
        """What it remembers, such as target networks; nothing by default.

        **Raises:** `UserError` if it cannot train this agent.
        """
        del agent

    @abc.abstractmethod
    def __call__(
        self, agent: Any, state: ObjectiveState, batch: Any, *, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        """The scalar to differentiate with respect to `agent`, and what to report."""

    def moves(self, state: ObjectiveState) -> dict[str, Bool[Array, ""]]:
        """For groups that do not move at every gradient step, whether they do at this one."""
        del state
        return {}

    def after(self, agent: Any, state: ObjectiveState) -> ObjectiveState:
        """What it remembers after the gradient step that led to `agent`."""
        del agent
        return state


def require_critic(agent: Agent, kind: type, objective: AbstractObjective) -> None:
    """**Raises:** `UserError` unless the agent's critic is of the kind that `objective` trains."""
    if not isinstance(agent.critic, kind):
        has = "no critic" if agent.critic is None else f"a {type(agent.critic).__name__}"
        raise UserError(
            f"`{type(objective).__name__}` trains a {kind.__name__}, and this agent has {has}: "
            f"`Agent.create(env, critic={objective.critic!r})` makes its agents."
        )


def require_of_task(value: Any, call: str, example: str) -> None:
    """**Raises:** `UserError` unless `value`, which its user wrote in `call`, is a function."""
    if not callable(value):
        raise UserError(f"`{call}` must be a function of the task, such as `{example}`.")


def require_entropy(value: Any, owner: str) -> None:
    """**Raises:** `UserError` unless `target_entropy_per_action` of `owner` is a number."""
    if not isinstance(value, jax.Array) and not fits_float32(as_number(value)):
        raise UserError(
            f"`{owner}(target_entropy_per_action={value!r})` must be a finite number of float32."
        )


def require_next_state(batch: Any, owner: str) -> tuple[State, Bool[Array, " batch"]]:
    """`next_state` and `terminated`. **Raises:** `UserError` if the data do not have them."""
    if batch.next_state is None or batch.terminated is None:
        raise UserError(
            f"`{owner}` looks one step ahead: it needs data with `next_state` and `terminated`, "
            f"and these have none."
        )
    return batch.next_state, batch.terminated
