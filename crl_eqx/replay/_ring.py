"""The replay buffer: a ring that knows its episodes and draws futures in O(batch)."""

import dataclasses
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._checks import require_count, require_discount, require_flag, require_key
from .._errors import UserError
from .._fork import not_forked
from .._types import Count, PRNGKey
from ..relabel import absorbed_offset, future_offset
from ._transition import AbstractData, AchievedGoal, Batch, Transition, whole_state


class Place(eqx.Module):
    """Where samples lie in the ring: row, environment, and the row that holds the future state."""

    row: Int[Array, "*batch"]
    env: Int[Array, "*batch"]
    future_row: Int[Array, "*batch"]


class BufferState(eqx.Module):
    """The ring's contents; donate it to the function that returns the next one."""

    steps: Transition
    """`[capacity, num_envs, ...]`; the step of time t lies in row t mod capacity."""
    last_time: Int[Array, "capacity num_envs"]
    """Time of the last stored step of episode e, in row e mod capacity. At most `capacity`
    episodes are stored at a time, so no two of them share a row."""
    inserted: Count
    """Steps ever inserted per environment: the time of the next one."""


Time: TypeAlias = Int[Array, "*batch"]


class TrajectoryBuffer(eqx.Module):
    """Holds the last `capacity` steps of each of `num_envs` environments.

    Storage is written in place when its state is donated; nothing is rolled, copied or scanned.

    ```python
    buffer = TrajectoryBuffer(capacity=10_000, num_envs=512, discount=0.99)
    state = buffer.init(step)                     # any one `Transition`, for its shapes
    state = buffer.insert(state, steps)           # a `Transition` with axes [time, num_envs, ...]
    batch = buffer.stored(state).sample((256,), key=key)
    ```

    **Arguments:**

    - `capacity`: steps per environment.
    - `num_envs`: how many environments write at once.
    - `absorbing`: whether a fallen robot stays down: where the environment ended an episode, its
        future stays in the last state for ever instead of being cut. So a policy that gets nearer
        by falling over is not taken for one that gets nearer and goes on.
    - `discount`: of the distribution of futures, in (0, 1].
    - `achieved_goal`: the part of a state that is a goal, default all of it.
    """

    capacity: int = eqx.field(static=True)
    num_envs: int = eqx.field(static=True)
    absorbing: bool = eqx.field(static=True, default=False)
    discount: float = eqx.field(static=True, default=0.99)
    achieved_goal: AchievedGoal = whole_state

    def __check_init__(self):
        require_count(self.capacity, f"TrajectoryBuffer(capacity={self.capacity!r})")
        require_count(self.num_envs, f"TrajectoryBuffer(num_envs={self.num_envs!r})")
        require_flag(self.absorbing, f"TrajectoryBuffer(absorbing={self.absorbing!r})")
        require_discount(self.discount, f"TrajectoryBuffer(discount={self.discount!r})")

    @not_forked
    def init(self, example: Transition) -> BufferState:
        """An empty buffer for steps shaped like `example`, which has no batch axes."""
        shape = self.capacity, self.num_envs
        empty = lambda leaf: jnp.zeros((*shape, *leaf.shape), leaf.dtype)
        return BufferState(
            jax.tree.map(empty, jax.eval_shape(lambda: example)),
            jnp.full(shape, -1, jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    @not_forked
    def insert(self, state: BufferState, steps: Transition) -> BufferState:
        """Appends `steps`, `[time, num_envs, ...]`, in place of the oldest ones."""
        length = self._num_steps(state, steps)
        if length > self.capacity:
            raise UserError(
                f"`TrajectoryBuffer(capacity={self.capacity}).insert` was given {length} steps at "
                f"once: at most `capacity` fit."
            )
        times = state.inserted + jnp.arange(length, dtype=jnp.int32)
        rows = times % self.capacity
        write = lambda ring, new: ring.at[rows].set(new)
        episode_rows = steps.episode % self.capacity
        envs = jnp.arange(self.num_envs)[None, :]
        episode_times = jnp.broadcast_to(times[:, None], steps.episode.shape)
        return BufferState(
            jax.tree.map(write, state.steps, steps),
            state.last_time.at[episode_rows, envs].max(episode_times),
            state.inserted + length,
        )

    def _num_steps(self, state: BufferState, steps: Transition) -> int:
        """How many `steps` of each environment there are. **Raises:** `UserError` unless they are
        such as the ring was made for."""
        call = f"`TrajectoryBuffer(num_envs={self.num_envs}).insert`"
        length = jnp.shape(steps.episode)[0] if jnp.ndim(steps.episode) else 1
        for field in dataclasses.fields(Transition):
            ring, new = getattr(state.steps, field.name), getattr(steps, field.name)
            if (ring is None) != (new is None):
                has = "has no" if ring is None else "needs a"
                raise UserError(f"{call}: this ring {has} `{field.name}`, as its `init` was told.")
            if ring is None:
                continue
            wanted = (length, self.num_envs, *ring.shape[2:])
            if jnp.shape(new) != wanted:
                raise UserError(
                    f"{call} was given `{field.name}` {list(jnp.shape(new))}: it must be "
                    f"{list(wanted)}, steps and environments first."
                )
            if not jnp.can_cast(new.dtype, ring.dtype, "same_kind"):
                raise UserError(
                    f"{call} was given `{field.name}` of {new.dtype}: this ring holds {ring.dtype}."
                )
        return length

    def size(self, state: BufferState) -> Count:
        """Steps stored per environment."""
        return jnp.minimum(state.inserted, self.capacity)

    def num_samples(self, state: BufferState) -> Count:
        """Stored steps that have a stored future: all but the last of every stored episode; or all
        steps, if next states are stored."""
        size = self.size(state)
        if state.steps.next_state is not None:
            return size * self.num_envs
        newest = (state.inserted - 1) % self.capacity
        oldest = (state.inserted - size) % self.capacity
        episodes = state.steps.episode[newest] - state.steps.episode[oldest] + 1
        return jnp.where(size > 0, jnp.sum(size - episodes), 0)

    def can_sample(self, state: BufferState) -> Bool[Array, ""]:
        """Whether any stored step has a stored future."""
        return self.num_samples(state) > 0

    def _horizon(self, state: BufferState, time: Time, env: Int[Array, "*batch"]) -> Time:
        """Stored states of the episode that lie after the one at `time`."""
        episode = state.steps.episode[time % self.capacity, env]
        return state.last_time[episode % self.capacity, env] - time + _ahead(state)

    def stored(self, state: BufferState) -> "StoredSteps":
        """What `state` holds, as data to draw from. Meaningless until `can_sample`."""
        return StoredSteps(self, state)

    def places(self, state: BufferState, shape: tuple[int, ...], *, key: PRNGKey) -> Place:
        """Draws where samples come from; `gather` reads them.

        Environment and time are uniform over the stored steps that have a future. Steps without
        one are drawn again, which takes a few rounds over single numbers: the loop runs only if
        there is a step to find, and so ends.
        """
        size, findable = self.size(state), self.can_sample(state)

        def draw(key):
            env_key, time_key = jax.random.split(key)
            env = jax.random.randint(env_key, shape, 0, self.num_envs)
            return state.inserted - 1 - jax.random.randint(time_key, shape, 0, size), env

        def again(carry):
            key, time, env = carry
            key, draw_key = jax.random.split(key)
            new_time, new_env = draw(draw_key)
            keep = self._horizon(state, time, env) > 0
            return key, jnp.where(keep, time, new_time), jnp.where(keep, env, new_env)

        def unfinished(carry):
            _, time, env = carry
            return findable & jnp.any(self._horizon(state, time, env) <= 0)

        first_key, loop_key, offset_key = jax.random.split(key, 3)
        _, time, env = jax.lax.while_loop(unfinished, again, (loop_key, *draw(first_key)))
        uniform = jax.random.uniform(offset_key, shape)
        horizon = self._horizon(state, time, env)
        offset = future_offset(uniform, horizon, self.discount)
        if self.absorbing:
            last = (time + horizon - _ahead(state)) % self.capacity
            if state.steps.terminated is None:
                raise UserError(
                    "`TrajectoryBuffer(absorbing=True)` needs steps that say which of them "
                    "`terminated` their episode."
                )
            stays = absorbed_offset(uniform, horizon, self.discount)
            offset = jnp.where(state.steps.terminated[last, env], stays, offset)
        future_time = time + offset - _ahead(state)
        return Place(time % self.capacity, env, future_time % self.capacity)

    def gather(self, state: BufferState, place: Place) -> Batch:
        """Reads the samples at `place`."""
        steps = jax.tree.map(lambda leaf: leaf[place.row, place.env], state.steps)
        ahead = state.steps.next_state
        futures = state.steps.state if ahead is None else ahead
        goal = self.achieved_goal(futures[place.future_row, place.env])
        terminated = None if ahead is None else steps.terminated
        return Batch(steps.state, steps.action, steps.goal, goal, steps.next_state, terminated)


class StoredSteps(AbstractData):
    """The steps in a ring, as data to draw from; made by [`crl_eqx.TrajectoryBuffer.stored`][]."""

    buffer: TrajectoryBuffer
    state: BufferState

    def require_samples(self, call: str) -> None:
        try:
            found = bool(self.buffer.can_sample(self.state))
        except jax.errors.TracerBoolConversionError:  # within a transformation nobody can tell
            return
        if not found:
            raise UserError(
                f"`{call}` was given a ring that holds no step with a later one in its episode: "
                f"collect first."
            )

    @not_forked
    def sample(self, shape: tuple[int, ...], *, key: PRNGKey) -> Batch:
        require_key(key, "StoredSteps.sample(..., key=...)")
        places = self.buffer.places(self.state, shape, key=key)
        return self.buffer.gather(self.state, places)


def _ahead(state: BufferState) -> int:
    """How far the last state of an episode lies after its last step: 1 if next states are stored,
    else 0."""
    return int(state.steps.next_state is not None)
