"""Simulators that live outside JAX, and the callbacks that reach them.

An `EnvState` cannot hold a foreign simulator. It holds a token instead: which bank of simulators,
which slot in it, and how many calls the slot has answered. All this works only on NumPy arrays: a
JAX operation inside a callback would wait for the very threads that wait for the callback.
"""

import itertools
import secrets
import threading
from typing import Any, Protocol, runtime_checkable, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from ..._errors import UserError


KEPT = 8
"""How many banks are kept, besides those whose episodes are over."""

Tokens: TypeAlias = Int[np.ndarray, "*batch 3"]
Moments: TypeAlias = Float[np.ndarray, "*batch moment"]
"""What was observed, then whether the episode is over, then whether it failed."""


@runtime_checkable
class Simulators(Protocol):
    """A number of environments; `at` picks some of them by their positions."""

    def reset(self, at: Int[np.ndarray, " n"], seeds: Int[np.ndarray, " n"]) -> np.ndarray:
        """Rows of observed numbers."""
        ...

    def step(
        self, at: Int[np.ndarray, " n"], actions: Float[np.ndarray, "n action"]
    ) -> tuple[np.ndarray, Bool[np.ndarray, " n"]]:
        """Rows, and whether their episodes are over."""
        ...


@runtime_checkable
class Store(Protocol):
    """Where simulators come from and go back to."""

    def take(self, count: int) -> Simulators: ...

    def give_back(self, simulators: Simulators) -> None: ...

    def close(self) -> None: ...


class Host:
    """Banks of simulators. Compared and hashed by identity.

    **Arguments:**

    - `store`: the store of simulators.
    - `size`: how many numbers are observed.
    - `episode_length`: steps after which the rollout renews an episode or drops it.
    - `call`: what the user wrote.
    - `twins`: places in the observation that stand for others in the same row.
    """

    def __init__(
        self,
        store: Store,
        size: int,
        episode_length: int,
        call: str,
        twins: tuple[np.ndarray, np.ndarray] | None,
    ):
        self._store, self._size, self._episode_length = store, size, episode_length
        self._call, self._twins = call, twins
        self._banks: dict[int, _Bank] = {}
        self._lock = threading.RLock()
        # Not from 0: the tokens of another process must be unknown here.
        self._serials = itertools.count(secrets.randbits(30))
        self._clock, self._last_begun = itertools.count(1), 0

    @property
    def moment_size(self) -> int:
        return self._size + 2

    def begin(self, seeds: Any) -> tuple[Tokens, Moments]:
        """Fresh episodes, in a new bank, from `[*batch]` seeds."""
        seeds = np.asarray(seeds)
        slots = np.arange(seeds.size)
        with self._lock:
            self._let_go()
            serial, now = next(self._serials), next(self._clock)
            bank = _Bank(self._store.take(seeds.size), seeds.size, self._size)
            self._banks[serial] = bank
            bank.used = self._last_begun = now
            moments = bank.renew(slots, np.zeros_like(slots), seeds.reshape(-1))
        self._check_twins(moments)
        tokens = np.stack([np.full_like(slots, serial), slots, np.ones_like(slots)], axis=-1)
        return tokens.astype(np.int32).reshape(*seeds.shape, 3), _like(moments, seeds.shape)

    def advance(self, tokens: Any, actions: Any) -> Moments:
        """One step of every slot; a step that was already made is not repeated."""
        return self._each(np.asarray(tokens), np.asarray(actions), _Bank.advance)

    def renew(self, tokens: Any, done: Any, seeds: Any) -> Moments:
        """Fresh episodes where `done`; zeros elsewhere."""
        tokens, done, seeds = np.asarray(tokens), np.asarray(done), np.asarray(seeds)
        moments = np.zeros((*done.shape, self.moment_size), np.float32)
        if done.any():
            moments[done] = self._each(tokens[done], seeds[done], _Bank.renew)
        return moments

    def close(self) -> None:
        """Closes all simulators; their episodes cannot continue."""
        with self._lock:
            for serial in list(self._banks):
                self._store.give_back(self._banks.pop(serial).simulators)
            self._store.close()

    def _each(self, tokens: Tokens, given: np.ndarray, call: Any) -> Moments:
        """`call(bank, slots, counts, given)` for every bank among the tokens."""
        lead, flat = tokens.shape[:-1], tokens.reshape(-1, 3)
        given = given.reshape(len(flat), *given.shape[len(lead) :])
        moments = np.empty((len(flat), self.moment_size), np.float32)
        with self._lock:
            for serial in np.unique(flat[:, 0]):
                here = flat[:, 0] == serial
                bank = self._bank(int(serial))
                bank.used = next(self._clock)
                moments[here] = call(bank, flat[here, 1], flat[here, 2], given[here])
        self._check_twins(moments)
        return _like(moments, lead)

    def _check_twins(self, moments: np.ndarray) -> None:
        """**Raises:** `UserError` if the achieved goal differs from what stood for it so far."""
        if self._twins is None:
            return
        stand_in, achieved = self._twins
        if not np.array_equal(moments[:, stand_in], moments[:, achieved]):
            raise UserError(
                f"`{self._call}`: the numbers {[*map(int, stand_in)]} of the observation were "
                f"taken for the achieved goal, which they equalled in the first episodes, but now "
                f"they differ: leave them out (`state=[...]`, `--env-option state=[...]`), and the "
                f"achieved goal is added to the others."
            )

    def _bank(self, serial: int) -> "_Bank":
        if serial not in self._banks:
            raise RuntimeError(
                f"The simulators of this EnvState are gone: Gymnasium's episodes continue only in "
                f"the process that began them, and only until {KEPT} more batches have begun."
            )
        return self._banks[serial]

    def _let_go(self) -> None:
        """Gives back the simulators that will not be needed.

        Episodes that reached their time limit and were not renewed belonged to an evaluation. They
        are given back only when a later batch begins, not at once: a rollout may be between the
        step and the renewal.
        """
        for serial, bank in list(self._banks.items()):
            if bank.used < self._last_begun and bank.is_over(self._episode_length):
                self._store.give_back(self._banks.pop(serial).simulators)
        while len(self._banks) >= KEPT:
            oldest = min(self._banks, key=lambda serial: self._banks[serial].used)
            self._store.give_back(self._banks.pop(oldest).simulators)


class _Bank:
    """Simulators in use, and the last answer of each."""

    def __init__(self, simulators: Simulators, count: int, size: int):
        self.simulators = simulators
        self.used = 0
        self._last = np.zeros((count, size + 2), np.float32)
        self._answered = np.zeros(count, int)  # calls, of both kinds
        self._renewed = np.zeros(count, bool)  # the kind of the last call
        self._age = np.zeros(count, int)

    def is_over(self, episode_length: int) -> bool:
        """Whether all episodes have reached the time limit, or ended before it."""
        return bool(np.all((self._age >= episode_length) | (self._last[:, -2] > 0)))

    def renew(self, slots: np.ndarray, counts: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        new = self._accept(slots, counts, renewing=True)
        at, seeds = slots[new], seeds[new]
        if len(at):
            self._age[at] = 0
            self._last[at] = 0  # if a start is not finite, there is nothing earlier to keep
            self._remember(at, self.simulators.reset(at, seeds), np.zeros(len(at), bool))
        return self._last[slots]

    def advance(self, slots: np.ndarray, counts: np.ndarray, actions: np.ndarray) -> np.ndarray:
        new = self._accept(slots, counts, renewing=False)
        over = self._last[slots, -2] > 0  # such an episode stands still
        at, actions = slots[new & ~over], actions[new & ~over]
        if len(at):
            self._age[at] += 1
            self._remember(at, *self.simulators.step(at, actions))
        return self._last[slots]

    def _accept(self, slots: np.ndarray, counts: np.ndarray, *, renewing: bool) -> np.ndarray:
        """Which calls are new. JAX may make a call twice: the answer to the last one is kept. A
        step whose result was thrown away may be followed by a renewal from before that step.

        **Raises:** `RuntimeError` if a call is older than that.
        """
        behind = self._answered[slots] - counts
        same = self._renewed[slots] == renewing
        new = (behind == 0) | ((behind == 1) & ~same & renewing)
        if not (new | ((behind == 1) & same)).all():
            raise RuntimeError(
                "This EnvState is not the latest of its episode: Gymnasium's environments cannot "
                "go back to an earlier moment."
            )
        self._answered[slots[new]] = counts[new] + 1
        self._renewed[slots[new]] = renewing
        return new

    def _remember(self, at: np.ndarray, rows: np.ndarray, over: np.ndarray) -> None:
        if rows.shape[1] != self._last.shape[1] - 2:
            raise UserError(
                f"A Gymnasium environment gives observations of {rows.shape[1]} numbers, but its "
                f"space says {self._last.shape[1] - 2}."
            )
        with np.errstate(over="ignore"):  # numbers that are too large become infinite: a failure
            rows = rows.astype(np.float32)
        failed = ~np.all(np.isfinite(rows), axis=1, keepdims=True)
        self._last[at, :-2] = np.where(failed, self._last[at, :-2], rows)
        failed = failed[:, 0]
        self._last[at, -2] = over | failed
        self._last[at, -1] = failed


def _like(moments: np.ndarray, lead: tuple[int, ...]) -> Moments:
    return moments.reshape(*lead, moments.shape[-1])
