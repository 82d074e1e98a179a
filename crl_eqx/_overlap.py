"""Collecting and learning at the same time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._agent import Agent
from ._checks import require_kind
from ._env import AbstractGoalEnv
from ._fork import not_forked
from ._rollout import act, advance, Episodes, RolloutCounts
from ._step import copied
from ._train import TrainStep
from ._train_state import TrainState
from ._types import Action, PRNGKey
from .objectives._base import Metrics
from .replay import Transition
from .replay._ring import Place


class Overlap:
    """A train step whose updates are made while the next unroll is played: for environments that
    are stepped on the host, beside a device that learns.

    Between two control steps an equal share of the unroll's updates is sent to the device, which
    makes them while the host's cores step the environments. So an update sees all steps but those
    of the unroll under way; everything else is as in [`crl_eqx.TrainStep`][], whose updates see
    these, too. After a call nothing is under way: its state is all there is.

    ```python
    train = crl_eqx.Overlap(step)
    state, metrics = train(state)       # it consumes its input state
    ```

    Under `TrainStep(metrics_of="last")` the last update of each share is measured.

    It is no pure function that could be compiled as a whole, but drives compiled ones.

    **Arguments:**

    - `step`: what a call makes in turn.

    **Raises:** `UserError` if it is none that keeps a replay.
    """

    def __init__(self, step: TrainStep):
        require_kind(step, TrainStep, f"Overlap({type(step).__name__})", "a `TrainStep`")
        self._step = step
        # Where the environments live. Their programs call back into Python, which must not stop
        # the stream of a device that learns.
        self._host = jax.devices("cpu")[0]
        self._device = jax.devices()[0]
        self._env = self._put(step.env, self._host)

    def _put(self, tree: Any, device: Any) -> Any:
        if self._host == self._device:
            return tree
        arrays, static = eqx.partition(tree, eqx.is_array)
        return eqx.combine(jax.device_put(arrays, device), static)

    @not_forked
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        step, length = self._step, self._step.unroll_length
        due, debt = step.due(state.update_debt)
        keys = _keys(state.key, length)
        parts = _parts(step, state, int(due), keys)
        collector, moments = _copy(state.agent), state.episodes.env_state
        episodes = self._put(_copy(state.episodes), self._host)
        played: list[tuple[Transition, RolloutCounts]] = []
        learnt: list[tuple[int, Metrics]] = []
        seen = moments.state, moments.goal
        for now in range(length):
            action = _act(step, collector, seen[0], seen[1], keys.action[now])
            if (places := parts[now]) is not None:
                state, metrics = _learn((step, places, keys.update[now]), state)
                learnt.append((len(places.row), metrics))
            # From here on the host works: what follows waits for the action, and nothing else.
            action, reset_key = self._put((action, keys.reset[now]), self._host)
            episodes, one, counts = _play(self._env, step, episodes, action, reset_key)
            played.append((one, counts))
            ahead = episodes.env_state
            seen = self._put((ahead.state, ahead.goal), self._device)
        episodes, played = self._put((episodes, played), self._device)
        return _finish((step, played, learnt, episodes, keys.after, debt), state)


class _Keys(eqx.Module):
    """A call's keys, some `[length]`."""

    after: PRNGKey
    places: PRNGKey
    action: Array
    reset: Array
    update: Array


@eqx.filter_jit
def _keys(key: PRNGKey, length: int) -> _Keys:
    after, rollout, places, update = jax.random.split(key, 4)
    pairs = jax.vmap(jax.random.split)(jax.random.split(rollout, length))
    return _Keys(after, places, pairs[:, 0], pairs[:, 1], jax.random.split(update, length))


def _parts(step: TrainStep, state: TrainState, due: int, keys: _Keys) -> list[Place | None]:
    """Where the updates' samples lie, an equal share for every control step; None where there is
    none."""
    length = step.unroll_length
    if due == 0:
        return [None] * length
    places = _places(step, state, due, keys.places)
    ends = [due * (now + 1) // length for now in range(length)]
    pick = lambda low, high: jax.tree.map(lambda leaf: leaf[low:high], places)
    return [
        pick(low, high) if low < high else None
        for low, high in zip([0, *ends[:-1]], ends, strict=True)
    ]


@eqx.filter_jit
def _places(step: TrainStep, state: TrainState, due: int, key: PRNGKey) -> Place:
    return step.buffer.places(state.buffer, (due, step.batch_size), key=key)


_copy = eqx.filter_jit(copied)


@eqx.filter_jit
def _act(step: TrainStep, agent: Agent, state: Array, goal: Array, key: PRNGKey) -> Action:
    return act(step.acting(agent), step.env, state, goal, key)


@eqx.filter_jit(donate="all-except-first")
def _learn(fixed: tuple[TrainStep, Place, PRNGKey], state: TrainState):
    step, places, key = fixed
    buffer = state.buffer
    return step.learn(state, places, lambda place: step.buffer.gather(buffer, place), key=key)


@eqx.filter_jit
def _play(
    env: AbstractGoalEnv, step: TrainStep, episodes: Episodes, action: Action, key: PRNGKey
) -> tuple[Episodes, Transition, RolloutCounts]:
    next_states = step.objective.needs_next_state
    return advance(env, episodes, action, key, next_states=next_states, applied=step.applied)


@eqx.filter_jit(donate="all-except-first")
def _finish(
    fixed: tuple[
        TrainStep,
        Sequence[tuple[Transition, RolloutCounts]],
        Sequence[tuple[int, Metrics]],
        Episodes,
        PRNGKey,
        Array,
    ],
    state: TrainState,
) -> tuple[TrainState, Metrics]:
    """The unroll into the replay, and what all parts have measured."""
    step, played, learnt, episodes, key, debt = fixed
    steps, counts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *played)
    counts = jax.tree.map(jnp.sum, counts)
    due = sum(number for number, _ in learnt)
    state = step.averaged(state, jnp.asarray(due, jnp.int32))
    state = eqx.tree_at(
        lambda s: (s.agent, s.buffer, s.episodes, s.key, s.env_steps, s.update_debt),
        state,
        (
            state.agent.observe(steps.state, step.env.achieved_goal(steps.state)),
            step.buffer.insert(state.buffer, steps),
            episodes,
            key,
            state.env_steps + step.env_steps_per_unroll,
            debt,
        ),
    )
    return state, _joined(learnt) | dataclasses.asdict(counts)


def _joined(learnt: Sequence[tuple[int, Metrics]]) -> Metrics:
    """Means of what the parts measured, and the first update seen that was not finite."""
    if not learnt:
        return {}
    numbers = [number for number, _ in learnt]
    weights = jnp.array(numbers, jnp.float32) / sum(numbers)
    mean = lambda name: jnp.sum(weights * jnp.stack([part[name] for _, part in learnt]))
    found = {name: mean(name) for name in learnt[0][1] if name != "nonfinite_from"}
    bad = jnp.stack([part["nonfinite_from"] for _, part in learnt])
    first = bad[jnp.argmax(bad >= 0)]  # -1 if there is none
    return found | {"nonfinite_from": first}
