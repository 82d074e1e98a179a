"""Trees of arrays as safetensors files: leaves by name, sizes, checksums."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open, SafetensorError

from .._errors import UserError
from ._files import BadFile, FileRecord, write_synced


T = TypeVar("T")

CODES = {f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)}
CODES |= {f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)}
CODES |= {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
CODES |= {"bool": "BOOL", "bfloat16": "BF16"}
"""What safetensors calls a dtype."""


@dataclasses.dataclass(frozen=True)
class Streamed:
    """An array that is written piece by piece, in C order."""

    dtype: np.dtype
    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def as_bytes(array: Any) -> memoryview:
    """The array's memory, in C order."""
    return np.ascontiguousarray(array).ravel().view(np.uint8).data


def _header(arrays: Mapping[str, Streamed], about: Mapping[str, str]) -> bytes:
    """What precedes the data: a length in 8 bytes, and JSON padded to whole 8 bytes."""
    entries, offset = {}, 0
    for name, array in arrays.items():
        span = [offset, offset + array.nbytes]
        code = CODES[array.dtype.name]
        entries[name] = {"dtype": code, "shape": array.shape, "data_offsets": span}
        offset = span[1]
    text = json.dumps({"__metadata__": dict(about)} | entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_arrays(
    path: Path, arrays: Mapping[str, Streamed], about: Mapping[str, str] | None = None
) -> FileRecord:
    """Writes a safetensors file.

    Its own writer wants every array in host memory at once and the file read again for its
    checksum; this one holds a piece at a time.
    """
    # Wide types first, so that every array begins at a multiple of its item size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize))

    def blocks() -> Iterator[Any]:
        yield _header(arrays, about or {})
        for array in arrays.values():
            for piece in array.pieces:
                yield as_bytes(piece)

    return write_synced(path, blocks())


def is_array(leaf: Any) -> bool:
    """Arrays, concrete or only their shapes."""
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The arrays of `tree` by readable paths: `agent.actor.network.embed.linear.weight`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(tree, is_array))
    name = lambda path: (prefix + jax.tree_util.keystr(path)).removeprefix(".")
    return {name(path): leaf for path, leaf in leaves}


def most_bytes(tree: Any) -> int:
    """An upper bound on the size of a file of the arrays of `tree`, which may be shapes only."""
    leaves = named(tree).values()
    data = (jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x for x in leaves)
    return sum(x.size * x.dtype.itemsize for x in data) + (1 << 20) * (1 + len(leaves) // 100)


def write_tree(path: Path, tree: Any, prefix: str = "") -> FileRecord:
    """Writes the arrays of `tree`, one in host memory at a time; keys as their data."""
    leaves = named(tree, prefix)
    kinds = {name: str(jax.random.key_impl(x)) for name, x in leaves.items() if _is_key(x)}
    plain = {name: jax.random.key_data(x) if name in kinds else x for name, x in leaves.items()}
    one = lambda leaf: Streamed(leaf.dtype, leaf.shape, map(np.asarray, [leaf]))
    return write_arrays(path, {name: one(leaf) for name, leaf in plain.items()}, kinds)


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator[Any]:
    """A safetensors file, read lazily. **Raises:** `BadFile` if it is not one."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise BadFile(f"`{path.name}` cannot be read ({error})") from error


def match(name: str, dtype: str, shape: tuple[int, ...], like: Any, where: Path) -> None:
    """**Raises:** `UserError` if a saved array has the wrong shape."""
    found, wanted = (dtype, shape), (CODES[like.dtype.name], like.shape)
    if found != wanted:
        show = lambda kind: f"{kind[0]}{list(kind[1])}"
        raise UserError(
            f"`{name}` is {show(found)} in `{where}` but {show(wanted)} here: it was saved with "
            f"other sizes than the present ones."
        )


def match_names(saved: Iterable[str], wanted: Iterable[str], where: Path) -> None:
    """**Raises:** `UserError` if the arrays are not exactly those wanted."""
    saved, wanted = set(saved), set(wanted)
    for names, verb in (
        (wanted - saved, "lacks"),
        (saved - wanted, "holds, beyond what fits here,"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"`{where}` {verb} `{min(names)}`{more}: it was saved by another kind of "
                f"network, optimiser or task."
            )


def _read_leaf(file: Any, name: str, like: Any, where: Path) -> jax.Array:
    saved = file.get_slice(name)
    plain = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    match(name, saved.get_dtype(), tuple(saved.get_shape()), plain, where)
    # A copy, for a donated array must not share its memory with the file.
    array = jnp.array(file.get_tensor(name))
    if not _is_key(like):
        return array
    return jax.random.wrap_key_data(array, impl=(file.metadata() or {}).get(name))


def read_tree(path: Path, like: T, prefix: str = "") -> T:
    """`like` with its arrays, which may be shapes only, replaced by those in the file.

    **Raises:** `BadFile` if the file cannot be read, `UserError` if it does not fit `like`.
    """
    wanted = named(like, prefix)
    with open_arrays(path) as file:
        match_names(file.keys(), wanted, path)
        leaves = [_read_leaf(file, name, leaf, path) for name, leaf in wanted.items()]
    arrays, rest = eqx.partition(like, is_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), rest)
