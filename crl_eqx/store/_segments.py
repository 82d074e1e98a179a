"""The replay on disk: rows by absolute time, in files that never change once written."""

import functools
import re
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from .._types import Count
from ..replay import BufferState, TrajectoryBuffer, Transition
from ._arrays import (
    as_bytes,
    match,
    match_names,
    most_bytes,
    named,
    open_arrays,
    Streamed,
    write_arrays,
)
from ._files import BadFile, FileRecord, sync_directory


SEGMENT_BYTES = 64 << 20  # a file, and what restoring holds beside the ring
WINDOW_BYTES = 8 << 20  # what saving fetches at once


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The steps of times [start, stop) of every environment."""

    start: int
    stop: int
    file: FileRecord


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a checkpoint remembers of the ring: where to find the last `capacity` steps."""

    capacity: int
    inserted: int
    newest_crc32: int
    """Of the row of time `inserted - 1`: by it the next save recognises its own past."""
    segments: tuple[Segment, ...]


@functools.partial(jax.jit, static_argnums=2)
def _rows(ring: jax.Array, first: Count | int, length: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(ring, first, length)


def _pieces(ring: jax.Array, start: int, stop: int, window: int) -> Iterator[np.ndarray]:
    """The rows of times [start, stop), fetched through a window of fixed length: one
    compilation serves every save, and the ring's end needs no special case."""
    capacity, time = ring.shape[0], start
    while time < stop:
        row = time % capacity
        first = min(row, capacity - window)
        length = min(stop - time, first + window - row)
        yield np.asarray(_rows(ring, first, window))[row - first :][:length]
        time += length


def _row_bytes(steps: Transition) -> int:
    return sum(leaf.nbytes // leaf.shape[0] for leaf in jax.tree.leaves(steps))


def _crc(steps: Transition, time: int) -> int:
    """Of the row of `time`."""
    crc = 0
    for ring in jax.tree.leaves(steps):
        crc = zlib.crc32(as_bytes(_rows(ring, time % ring.shape[0], 1)), crc)
    return crc


def _write_segment(directory: Path, steps: Transition, start: int, stop: int) -> Segment:
    window = min(max(WINDOW_BYTES // _row_bytes(steps), 1), steps.episode.shape[0])
    arrays = {
        name: Streamed(
            ring.dtype, (stop - start, *ring.shape[1:]), _pieces(ring, start, stop, window)
        )
        for name, ring in named(steps).items()
    }
    # Never a name that was used before: an older checkpoint may need that file as it is.
    path = directory / f"{start:010d}-{stop:010d}-{uuid.uuid4().hex[:12]}.safetensors"
    return Segment(start, stop, write_arrays(path, arrays))


def is_segment(name: str) -> bool:
    """Whether a file is named as `_write_segment` names them."""
    return re.fullmatch(r"\d{10,}-\d{10,}-[0-9a-f]{12}\.safetensors", name) is not None


def _continues(directory: Path, previous: Replay, state: BufferState, oldest: int) -> bool:
    """Whether `previous` was saved earlier in the same run as `state`, and is whole."""
    if not previous.inserted <= int(state.inserted):
        return False
    try:
        for segment in previous.segments:
            segment.file.check_size(directory)
    except BadFile:
        return False
    if previous.inserted <= oldest:
        return True  # nothing of it is needed any more
    return _crc(state.steps, previous.inserted - 1) == previous.newest_crc32


def write_replay(
    directory: Path, state: BufferState, buffer: TrajectoryBuffer, previous: Replay | None
) -> Replay:
    """Writes the steps that are new since `previous`, and refers to its files for the others."""
    inserted = int(state.inserted)
    oldest = start = max(0, inserted - buffer.capacity)
    segments: list[Segment] = []
    if previous is not None and _continues(directory, previous, state, oldest):
        start = max(oldest, previous.inserted)
        segments = [segment for segment in previous.segments if segment.stop > oldest]
    length = max(SEGMENT_BYTES // _row_bytes(state.steps), 1)
    for first in range(start, inserted, length):
        last = min(first + length, inserted)
        segments.append(_write_segment(directory, state.steps, first, last))
    sync_directory(directory)
    newest = _crc(state.steps, inserted - 1) if inserted else 0
    return Replay(buffer.capacity, inserted, newest, tuple(segments))


def empty_buffer(like: BufferState, buffer: TrajectoryBuffer) -> BufferState:
    """A ring for steps shaped as those of `like`, which may be shapes only."""
    return buffer.init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[2:], leaf.dtype), like.steps))


def _read_segment(path: Path, skip: int, capacity: int, like: BufferState) -> Transition:
    """The rows of a file except the first `skip`."""
    wanted: dict[str, Any] = named(like.steps)
    leaves = []
    with open_arrays(path) as file:
        match_names(file.keys(), wanted, path)
        for name, ring in wanted.items():
            saved = file.get_slice(name)
            shape = capacity, *saved.get_shape()[1:]
            match(f"buffer.steps.{name}", saved.get_dtype(), shape, ring, path)
            leaves.append(saved[skip:])
    return jax.tree.unflatten(jax.tree.structure(like.steps), leaves)


@eqx.filter_jit(donate="all-except-first")
def _insert(new: tuple[TrajectoryBuffer, Transition], state: BufferState) -> BufferState:
    buffer, steps = new
    return buffer.insert(state, steps)


def _rows_of(steps: Transition, segment: Segment) -> Transition:
    """The shapes that a segment of the ring has."""
    length = max(segment.stop - segment.start, 0)
    shape = lambda ring: jax.ShapeDtypeStruct((length, *ring.shape[1:]), ring.dtype)
    return jax.tree.map(shape, steps)


def read_replay(
    directory: Path, replay: Replay, like: BufferState, buffer: TrajectoryBuffer
) -> BufferState:
    """Inserts the saved steps again, at their own times, into a ring that is donated: the memory
    needed is the ring and one segment.

    **Raises:** `BadFile` if a segment is not what was written, `UserError` if it does not fit.
    """
    oldest = max(0, replay.inserted - replay.capacity)
    state = empty_buffer(like, buffer)
    state = eqx.tree_at(lambda s: s.inserted, state, jnp.asarray(oldest, jnp.int32))
    for segment in replay.segments:
        segment.file.check(directory, most_bytes(_rows_of(like.steps, segment)))
        skip = max(oldest - segment.start, 0)
        path = directory / segment.file.name
        state = _insert((buffer, _read_segment(path, skip, replay.capacity, like)), state)
    return state
