"""Several trainings as one program."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from ._checks import require_kind, require_whole
from ._errors import UserError
from ._fork import not_forked
from ._step import AbstractTrainStep
from ._train_state import TrainState


EachMetrics: TypeAlias = dict[str, Shaped[Array, " seeds"]]
"""Metrics by name, with a number for each seed."""


def _counters(state: TrainState) -> tuple[Any, ...]:
    """What is the same in all states: kept once, so that what depends on it stays a branch or a
    slice, and does not become a selection or a scatter."""
    return state.env_steps, state.gradient_steps, state.update_debt, state.buffer.inserted


def _axes(state: TrainState) -> TrainState:
    """The axis of each leaf along which the states lie."""
    every = jax.tree.map(lambda _: eqx.if_array(0), state)
    return eqx.tree_at(_counters, every, (None,) * 4)


class Together(eqx.Module):
    """Trains several states with one step: seeds that a single program advances.

    Every array of the states gets a leading axis, and every network with them. A device that waits
    for its next launch more than it computes trains several seeds in little more than the time of
    one; on a CPU nothing is gained. What becomes of each state is what would become of it alone, to
    rounding.

    ```python
    seeds = crl_eqx.Together(step)
    states = seeds.stack([step.start(agent, key=key) for agent, key in zip(agents, keys)])
    train = seeds.compiled()
    states, metrics = train(states)          # of each metric an array [seeds]
    first, *others = seeds.unstack(states)
    ```

    **Arguments:**

    - `step`: the step of each.
    """

    step: AbstractTrainStep

    def __check_init__(self):
        example = "a `TrainStep` or an `OnPolicyStep`"
        require_kind(self.step, AbstractTrainStep, f"Together({type(self.step).__name__})", example)

    @not_forked
    def stack(self, states: Sequence[TrainState]) -> TrainState:
        """The states as one, `[seeds, ...]` leaf by leaf. It consumes them, so that there is never
        memory for more than one of their arrays twice.

        **Raises:** `UserError` if they differ in more than their numbers, or have not come equally
        far.
        """
        if not states:
            raise UserError("`Together.stack(states)` needs at least one state.")
        _check_alike(states)
        arrays, static = zip(*(eqx.partition(state, eqx.is_array) for state in states), strict=True)
        shared = tuple(counter.copy() for counter in _counters(states[0]))

        def stacked(*leaves: Array) -> Array:
            whole = jax.block_until_ready(jnp.stack(leaves))
            for leaf in leaves:
                leaf.delete()
            return whole

        return eqx.combine(
            eqx.tree_at(_counters, jax.tree.map(stacked, *arrays), shared), static[0]
        )

    @not_forked
    def unstack(self, states: TrainState) -> list[TrainState]:
        """The reverse of `stack`."""
        return [self.one(states, index) for index in range(size(states))]

    def one(self, states: TrainState, index: int) -> TrainState:
        """One of those that were stacked."""
        _require_index(index, size(states), f"one(states, {index!r})")
        picked = self._picked(states, lambda leaf: leaf[index])
        return eqx.tree_at(
            _counters, picked, tuple(counter.copy() for counter in _counters(states))
        )

    def only(self, states: TrainState, indices: Sequence[int]) -> TrainState:
        """Some of them, still stacked. It consumes `states`, as `stack` does."""
        for index in indices:
            _require_index(index, size(states), f"only(states, {[*indices]!r})")
        chosen = jnp.asarray(indices, jnp.int32)

        def pick(leaf: Array) -> Array:
            some = jax.block_until_ready(leaf[chosen])
            leaf.delete()
            return some

        return self._picked(states, pick)

    @staticmethod
    def _picked(states: TrainState, pick: Callable[[Array], Array]) -> TrainState:
        arrays, static = eqx.partition(states, eqx.is_array)
        shared = _counters(arrays)
        own = jax.tree.map(pick, eqx.tree_at(_counters, arrays, (None,) * 4))
        whole = eqx.tree_at(_counters, own, shared, is_leaf=lambda leaf: leaf is None)
        return eqx.combine(whole, static)

    def map(self, function: Callable[..., Any], states: TrainState, *others: Any) -> Any:
        """`function(step, state, *others)` for every state, `others` having the same leading axis.
        What it returns has that axis, too."""
        mapped = eqx.filter_vmap(function, in_axes=(None, _axes(states), *(0 for _ in others)))
        return mapped(self.step, states, *others)

    def advance(
        self,
        function: Callable[[AbstractTrainStep, TrainState], tuple[TrainState, Any]],
        states: TrainState,
    ) -> tuple[TrainState, Any]:
        """As `map`, for what returns the next state and something more: the state stays one that
        `unstack` takes apart."""
        axes = _axes(states)
        mapped = eqx.filter_vmap(function, in_axes=(None, axes), out_axes=(axes, eqx.if_array(0)))
        return mapped(self.step, states)

    @not_forked
    def __call__(self, states: TrainState) -> tuple[TrainState, EachMetrics]:
        return self.advance(lambda step, state: step(state), states)

    @not_forked
    def compiled(self) -> Callable[[TrainState], tuple[TrainState, EachMetrics]]:
        """All steps as one program, which consumes its input states."""
        return functools.partial(_advance, self)


def size(states: TrainState) -> int:
    """How many were stacked."""
    return states.episodes.age.shape[0]


def _require_index(index: int, count: int, call: str) -> None:
    """**Raises:** `UserError`; an array would take the nearest that it has."""
    require_whole(index, f"Together.{call}")
    if not -count <= index < count:
        raise UserError(f"`Together.{call}`: there are {count} states, counted from 0.")


def _check_alike(states: Sequence[TrainState]) -> None:
    """**Raises:** `UserError` if states cannot be stacked."""
    shapes = lambda state: eqx.filter_eval_shape(lambda: state)
    first = shapes(states[0])
    for number, state in enumerate(states[1:], 1):
        if not eqx.tree_equal(shapes(state), first):
            raise UserError(
                f"`Together.stack(states)`: state {number} is not made as state 0 is: all must "
                f"come from one `TrainStep`, with agents of one shape."
            )
        reached, begun = (jax.device_get(_counters(s)) for s in (state, states[0]))
        if any(a != b for a, b in zip(reached, begun, strict=True)):
            raise UserError(
                f"`Together.stack(states)`: state {number} has come to {reached[0]:,} environment "
                f"steps, with {reached[3]:,} inserted into the replay, and state 0 to "
                f"{begun[0]:,}, with {begun[3]:,}; all must have come equally far."
            )


@eqx.filter_jit(donate="all-except-first")
def _advance(together: Together, states: TrainState) -> tuple[TrainState, EachMetrics]:
    return together(states)
