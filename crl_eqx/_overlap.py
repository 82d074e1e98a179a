"""Collecting and learning at the same time."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ._checks import require_kind
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
        self._form, self._leaves = _parted(step)
        self._host_leaves = self._put(self._leaves, self._host)

    def _put(self, arrays: PyTree, device: Any) -> Any:
        return arrays if self._host == self._device else jax.device_put(arrays, device)

    @not_forked
    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        step, length = self._step, self._step.unroll_length
        due, debt = step.due(state.update_debt)
        keys = _keys(state.key, length)
        parts = _parts(step, state, int(due), keys.places)
        moment = state.episodes.env_state
        seen = [moment.state, moment.goal]
        collector_form, collector = _parted(_copy(state.agent))
        playing_form, playing = _parted(_copy(state.episodes))
        learning_form, learning = _parted(state)
        programs = _programs(self._form, collector_form, playing_form, learning_form)
        playing, resets = self._put((playing, keys.reset), self._host)
        played: list[tuple[Transition, RolloutCounts]] = []
        learnt: list[tuple[int, Metrics]] = []
        for now in range(length):
            action = programs.act(self._leaves, collector, seen, keys.action[now])
            if (places := parts[now]) is not None:
                key = keys.update[now]
                learning, metrics = programs.learn(learning, self._leaves, places, key)
                learnt.append((len(places.row), metrics))
            # From here on the host works: what follows waits for the action, and nothing else.
            action = self._put(action, self._host)
            playing, seen, one = programs.play(self._host_leaves, playing, action, resets[now])
            played.append(one)
            seen = self._put(seen, self._device)
        playing, played = self._put((playing, played), self._device)
        state, episodes = learning_form.tree(learning), playing_form.tree(playing)
        return _finish((step, played, learnt, episodes, keys.after, debt), state)


class _Keys(eqx.Module):
    """A call's keys, some of them one per control step."""

    after: PRNGKey
    places: PRNGKey
    action: list[PRNGKey]
    reset: list[PRNGKey]
    update: list[PRNGKey]


@eqx.filter_jit
def _keys(key: PRNGKey, length: int) -> _Keys:
    after, rollout, places, update = jax.random.split(key, 4)
    pairs = jax.vmap(jax.random.split)(jax.random.split(rollout, length))
    each = (pairs[:, 0], pairs[:, 1], jax.random.split(update, length))
    return _Keys(after, places, *map(list, each))


@eqx.filter_jit
def _parts(step: TrainStep, state: TrainState, due: int, key: PRNGKey) -> list[Place | None]:
    """Where the updates' samples lie, an equal share for every control step; None where there is
    none."""
    length = step.unroll_length
    if due == 0:
        return [None] * length
    places = step.buffer.places(state.buffer, (due, step.batch_size), key=key)
    ends = [due * (now + 1) // length for now in range(length)]
    pick = lambda low, high: jax.tree.map(lambda leaf: leaf[low:high], places)
    return [
        pick(low, high) if low < high else None
        for low, high in zip([0, *ends[:-1]], ends, strict=True)
    ]


_copy = eqx.filter_jit(copied)


class _Form(NamedTuple):
    """All of a tree but its arrays."""

    structure: Any
    others: tuple[Any, ...]
    """Leaves that are no arrays, and None in the place of one."""

    def tree(self, arrays: Sequence[Array]) -> Any:
        left = iter(arrays)
        leaves = [next(left) if other is None else other for other in self.others]
        return jax.tree.unflatten(self.structure, leaves)


def _parted(tree: Any) -> tuple[_Form, list[Array]]:
    leaves, structure = jax.tree.flatten(tree)
    others = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
    return _Form(structure, others), [leaf for leaf in leaves if eqx.is_array(leaf)]


class _Programs(NamedTuple):
    """What is called at every control step. Large trees come and go as lists of their arrays: a
    module of a hundred arrays takes the host ten times as long to hand over."""

    act: Callable[..., Action]
    learn: Callable[..., tuple[list[Array], Metrics]]
    play: Callable[..., tuple[list[Array], list[Array], tuple[Transition, RolloutCounts]]]


@functools.lru_cache(maxsize=64)
def _programs(train: _Form, collector: _Form, playing: _Form, learning: _Form) -> _Programs:
    @jax.jit
    def acts(train_leaves, collector_leaves, seen, key):
        step, agent = train.tree(train_leaves), collector.tree(collector_leaves)
        state, goal = seen
        return act(step.acting(agent), step.env, state, goal, key)

    @functools.partial(jax.jit, donate_argnums=0)
    def learns(leaves, train_leaves, places, key):
        step, state = train.tree(train_leaves), learning.tree(leaves)
        gather = lambda place: step.buffer.gather(state.buffer, place)
        state, metrics = step.learn(state, places, gather, key=key)
        return _parted(state)[1], metrics

    @jax.jit
    def plays(train_leaves, leaves, action, key):
        step, episodes = train.tree(train_leaves), playing.tree(leaves)
        episodes, *one = advance(
            step.env,
            episodes,
            action,
            key,
            episode_length=step.train_episode_length,
            next_states=step.objective.needs_next_state,
            applied=step.applied,
        )
        moment = episodes.env_state
        return _parted(episodes)[1], [moment.state, moment.goal], tuple(one)

    return _Programs(acts, learns, plays)


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
