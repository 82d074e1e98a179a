"""Runs that differ in their seeds only, advanced together."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax

from .._step import AbstractTrainStep
from .._together import Together
from .._train_state import TrainState
from .._types import PRNGKey
from ..config import Config
from ._run import diagnosed, diagnosis_key, evaluation_key, Keys, numbers, Run


@eqx.filter_jit(donate="all-except-first")
def _collect(together: Together, states: TrainState) -> tuple[TrainState, Any]:
    return together.advance(AbstractTrainStep.collect, states)


@eqx.filter_jit
def _diagnose(together: Together, states: TrainState, keys) -> dict[str, jax.Array]:
    return together.map(diagnosed, states, keys)


@eqx.filter_jit
def _can_learn(together: Together, states: TrainState) -> jax.Array:
    return together.map(lambda step, state: step.can_learn(state), states)


class Group:
    """Several runs whose states are stacked, or one whose state is not: the loop treats them alike.

    What is computed for each comes back as a list, in the order of the runs.
    """

    def __init__(self, runs: Sequence[Run]):
        self.runs = list(runs)
        self._first = self.runs[0]
        self._together = Together(self._first.step) if len(self.runs) > 1 else None

    @property
    def config(self) -> Config:
        """What all have in common; its seed is the first one's."""
        return self._first.config

    def stack(self, states: Sequence[TrainState]) -> TrainState:
        """The state that the others take; it consumes the `states`."""
        return states[0] if self._together is None else self._together.stack(states)

    def one(self, state: TrainState, index: int) -> TrainState:
        """The state of one run, as a checkpoint holds it."""
        return state if self._together is None else self._together.one(state, index)

    def only(self, state: TrainState, indices: Sequence[int]) -> tuple["Group", TrainState]:
        """Those runs alone, and their state; it consumes `state`, for which there may be no room
        beside it."""
        group = Group([self.runs[index] for index in indices])
        if self._together is None:
            return group, state
        some = self._together.only(state, indices)
        return group, self._together.one(some, 0) if len(indices) == 1 else some

    def prefilling(self, state: TrainState) -> bool:
        return self._first.prefilling(state)

    def phase(self, name: str) -> str:
        return self._first.phase(name)

    def advance(self, state: TrainState) -> tuple[TrainState, list[dict[str, Any]]]:
        """One unroll, with updates once the prefill is over."""
        if self._together is None:
            state, metrics = self._first.advance(state)
            return state, [metrics]
        if self.prefilling(state):
            state, counts = _collect(self._together, state)
            return state, self._split(jax.device_get(dataclasses.asdict(counts)))
        if not self._first.has_futures:
            for run, can in zip(self.runs, _can_learn(self._together, state), strict=True):
                run.require_futures(state, bool(can))
        state, metrics = self._together.compiled()(state)
        return state, self._split(jax.device_get(metrics))

    def evaluations(
        self, state: TrainState, env_steps: int, *, may_go_on: Callable[[float], bool]
    ) -> list[dict[str, float]] | None:
        """Every split's metrics, with keys that depend only on seed and step count; None if
        `may_go_on`, called repeatedly with the share done, said no."""
        key = self._keys(evaluation_key, env_steps)
        found = self._first.evaluations(state.acting_agent, key, may_go_on=may_go_on)
        return None if found is None else self._split(found)

    def diagnoses(self, state: TrainState, env_steps: int) -> list[dict[str, Any]]:
        """The health rows that can be seen in the states alone."""
        key = self._keys(diagnosis_key, env_steps)
        if self._together is None:
            return [self._first.diagnose(state, key)]
        return self._split(numbers(_diagnose(self._together, state, key)))

    def _keys(self, make: Callable[[int, int], PRNGKey], env_steps: int) -> Keys:
        """One key, or as many as there are seeds."""
        keys = [make(run.seed, env_steps) for run in self.runs]
        return keys[0] if self._together is None else jax.numpy.stack(keys)

    def _split(self, found: dict[str, Any]) -> list[dict[str, Any]]:
        """What was found together, run by run."""
        if self._together is None:
            return [found]
        each = range(len(self.runs))
        return [{name: values[i] for name, values in found.items()} for i in each]
