"""One gradient step of every network, pure."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from ._agent import Agent
from ._checks import require_kind, require_number
from ._errors import UserError
from ._flat import Elementwise, Layout
from ._fork import not_forked
from ._types import PRNGKey
from .kernels._platform import platform
from .objectives import AbstractObjective
from .objectives._base import Metrics, ObjectiveState


Optimizers: TypeAlias = Mapping[str, optax.GradientTransformation]
"""One for each group that the objective trains: `actor`, `critic` and `alpha`."""

OptState: TypeAlias = dict[str, PyTree]


def trainable(agent: Agent, objective: AbstractObjective) -> dict[str, PyTree]:
    """The groups of parameters that `objective` moves, each with its own optimiser."""
    groups = agent.groups()
    return eqx.filter({name: groups[name] for name in objective.trains}, eqx.is_inexact_array)


def with_trainable(agent: Agent, groups: dict[str, PyTree]) -> Agent:
    """`agent` with the parameters of `trainable` replaced."""
    old = agent.groups()
    return agent.with_groups({name: eqx.combine(new, old[name]) for name, new in groups.items()})


def adam(
    learning_rate: float | optax.Schedule = 3e-4,
    *,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """The paper's Adam, with decoupled weight decay and global-norm clipping as options."""
    if not callable(learning_rate):
        require_number(learning_rate, f"adam(learning_rate={learning_rate!r})")
    require_number(weight_decay, f"adam(weight_decay={weight_decay!r})")
    if max_grad_norm is not None:
        require_number(max_grad_norm, f"adam(max_grad_norm={max_grad_norm!r})", positive=True)
    clip = [] if max_grad_norm is None else [optax.clip_by_global_norm(max_grad_norm)]
    step = (
        optax.adamw(learning_rate, weight_decay=weight_decay)
        if weight_decay
        else optax.adam(learning_rate)
    )
    return Elementwise.of(optax.chain(*clip, step))


def adam_optimizers(learning_rate: float | optax.Schedule = 3e-4) -> Optimizers:
    """Plain Adam for every group."""
    return {name: adam(learning_rate) for name in ("actor", "critic", "alpha")}


def chosen_optimizers(optimizers: Optimizers | None, maker: str) -> Optimizers:
    """Those that were given to `maker`, or Adam.

    **Raises:** `UserError` naming `maker(optimizers=...)`.
    """
    if optimizers is None:
        return adam_optimizers()
    call = f"{maker}(optimizers={optimizers!r})"
    require_kind(optimizers, Mapping, call, "what `adam_optimizers()` gives")
    return optimizers


@not_forked
def init_optimizers(optimizers: Optimizers, agent: Agent, objective: AbstractObjective) -> OptState:
    """**Raises:** `UserError` if a group that `objective` moves has no optimiser."""
    for name in objective.trains:
        if name not in optimizers:
            raise UserError(
                f"`{type(objective).__name__}` trains {', '.join(objective.trains)}: an optimiser "
                f"for `{name}` is missing among {', '.join(optimizers) or 'none'}."
            )
        require_kind(
            optimizers[name],
            optax.GradientTransformation,
            f"init_optimizers({{{name!r}: {optimizers[name]!r}}}, ...)",
            "an optimiser of Optax, as `adam()`",
        )
    groups = trainable(agent, objective)
    return {name: optimizers[name].init(group) for name, group in groups.items()}


@not_forked
def update(
    agent: Agent,
    opt_state: OptState,
    objective_state: ObjectiveState,
    batch: Any,
    *,
    objective: AbstractObjective,
    optimizers: Optimizers,
    key: PRNGKey,
) -> tuple[Agent, OptState, ObjectiveState, Metrics]:
    """One gradient step of all networks, every gradient taken at the old parameters.

    ```python
    objective, optimizers = crl_eqx.objectives.CRL(), crl_eqx.adam_optimizers()
    opt_state = crl_eqx.init_optimizers(optimizers, agent, objective)
    objective_state = objective.init(agent)
    agent, opt_state, objective_state, metrics = crl_eqx.update(
        agent, opt_state, objective_state, batch,
        objective=objective, optimizers=optimizers, key=key,
    )
    ```
    """

    # One step alone would pay for rearranging twice.
    moving = Moving(objective, optimizers, agent, flat=False)
    state = moving.begin(agent, opt_state, objective_state)
    state, metrics = moving(state, batch, key=key)
    return *moving.end(state), metrics


class MovingState(NamedTuple):
    """What changes from one gradient step to the next, in the form in which it is moved."""

    groups: dict[str, PyTree]
    opt_state: OptState
    objective_state: ObjectiveState


class Moving:
    """Many gradient steps of one agent: `update`, between whose steps nothing is rearranged.

    On a GPU, where each launch counts, a group's small arrays are moved as one, if its optimiser
    allows. On a CPU that gains nothing, and rounds otherwise.

    ```python
    moving = Moving(objective, optimizers, agent)
    state = moving.begin(agent, opt_state, objective_state)
    for batch in batches:
        state, metrics = moving(state, batch, key=key)
    agent, opt_state, objective_state = moving.end(state)
    ```
    """

    def __init__(
        self,
        objective: AbstractObjective,
        optimizers: Optimizers,
        agent: Agent,
        *,
        flat: bool | None = None,
    ):
        self._objective, self._optimizers, self._agent = objective, optimizers, agent
        flat = platform() == "gpu" if flat is None else flat
        layouts = {name: Layout(group) for name, group in trainable(agent, objective).items()}
        self._layouts = {
            name: layout
            for name, layout in layouts.items()
            if flat and layout.gains and isinstance(optimizers[name], Elementwise)
        }

    def _each(self, groups: dict[str, PyTree], form: Callable[[Layout, PyTree], PyTree]) -> Any:
        """`form` of each group that has a layout, and the others."""
        known = self._layouts
        return {
            name: form(known[name], group) if name in known else group
            for name, group in groups.items()
        }

    def begin(
        self, agent: Agent, opt_state: OptState, objective_state: ObjectiveState
    ) -> MovingState:
        return MovingState(
            self._each(trainable(agent, self._objective), Layout.flat),
            self._each(opt_state, Layout.flat_within),
            objective_state,
        )

    def end(self, state: MovingState) -> tuple[Agent, OptState, ObjectiveState]:
        opt_state = self._each(state.opt_state, Layout.trees_within)
        return self._agent_of(state.groups), opt_state, state.objective_state

    def _agent_of(self, groups: dict[str, PyTree]) -> Agent:
        return with_trainable(self._agent, self._each(groups, Layout.tree))

    def __call__(
        self, state: MovingState, batch: Any, *, key: PRNGKey
    ) -> tuple[MovingState, Metrics]:
        objective = self._objective
        groups, opt_state, objective_state = state

        def loss(trees):
            agent = with_trainable(self._agent, trees)
            return objective(agent, objective_state, batch, key=key)

        grads, metrics = jax.grad(loss, has_aux=True)(self._each(groups, Layout.tree))
        grads, moves = self._each(grads, Layout.flat), objective.moves(objective_state)
        new_groups, new_opt_state = {}, {}
        for name, group in groups.items():
            with jax.numpy_dtype_promotion("standard"):  # optax mixes its int counters with floats
                updates, new_opt_state[name] = self._optimizers[name].update(
                    grads[name], opt_state[name], group
                )
            if name == "alpha":  # a temperature of 0, log α = -∞, stays: no optimiser can move it
                hold = lambda step, log_alpha: jnp.where(jnp.isneginf(log_alpha), 0.0, step)
                updates = jax.tree.map(hold, updates, group)
            if name in moves:
                pick = lambda new, old, now=moves[name]: jnp.where(now, new, old)
                new_opt_state[name] = jax.tree.map(pick, new_opt_state[name], opt_state[name])
                move = lambda step, now=moves[name]: jnp.where(now, step, 0.0)
                updates = jax.tree.map(move, updates)
            new_groups[name] = optax.apply_updates(group, updates)
            metrics[f"{name}_grad_norm"] = jnp.asarray(optax.tree.norm(grads[name]))
            metrics[f"{name}_update_norm"] = jnp.asarray(optax.tree.norm(updates))
        remembered = objective.after(self._agent_of(new_groups), objective_state)
        return MovingState(new_groups, new_opt_state, remembered), metrics
