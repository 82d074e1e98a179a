"""Trees of arrays as safetensors files: leaves by name, sizes, checksums."""

import contextlib
import dataclasses
import errno
import json
import os
import stat
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from safetensors import safe_open, SafetensorError

from .._errors import UserError


T = TypeVar("T")

CODES = {f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)}
CODES |= {f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)}
CODES |= {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
CODES |= {"bool": "BOOL", "bfloat16": "BF16"}
"""What safetensors calls a dtype."""


class BadFile(Exception):
    """A file that cannot be used; the message is a clause that says why."""


class Unreadable(BadFile):
    """The system did not let it be read: it may be good, and readable tomorrow."""


def unusable(name: str, error: OSError) -> BadFile:
    """Missing is bad; anything else that the system says is no proof of damage."""
    kind = BadFile if isinstance(error, FileNotFoundError) else Unreadable
    return kind(f"`{name}` cannot be read ({error.strerror})")


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading. **Raises:** `OSError` also if it is none: a pipe would be waited
    for, and a device has no end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def read_regular(path: Path, at_most: int = 1 << 30) -> bytes:
    """A file's bytes. **Raises:** `OSError` also if it is no regular file, or far too large."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, far too many", str(path))
        return file.read()


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a file is recognised as whole."""

    name: str
    bytes: int
    crc32: int

    def __post_init__(self):
        """**Raises:** `ValueError`, as msgspec expects, for what is no plain name."""
        if self.name in ("", ".", "..") or any(c in self.name for c in "/\\\0"):
            raise ValueError(f"{self.name!r} is no name of a file")

    def check_size(self, directory: Path) -> None:
        """**Raises:** `BadFile` if the file is missing or has another size; reads nothing."""
        try:
            size = (directory / self.name).stat().st_size
        except OSError as error:
            raise unusable(self.name, error) from error
        if size != self.bytes:
            raise BadFile(f"`{self.name}` has {size:,} bytes instead of {self.bytes:,}")

    def check(self, directory: Path, at_most: int | None = None) -> None:
        """**Raises:** `BadFile` if the file is not byte for byte what was written, or larger than
        what it can hold: that is not even read."""
        self.check_size(directory)
        if at_most is not None and self.bytes > at_most:
            raise BadFile(f"`{self.name}` has {self.bytes:,} bytes, and can hold {at_most:,}")
        crc = 0
        try:
            with open_regular(directory / self.name) as file:
                while block := file.read(1 << 20):
                    crc = zlib.crc32(block, crc)
        except OSError as error:
            raise unusable(self.name, error) from error
        if crc != self.crc32:
            raise BadFile(f"`{self.name}` is damaged (its checksum differs)")


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


def sync_directory(directory: Path) -> None:
    """Makes renames in `directory` survive a power cut."""
    if os.name == "nt":  # Windows opens no directories
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_link(path: Path) -> None:
    """**Raises:** `UserError` if a directory that a run writes into is a link to elsewhere."""
    if path.is_symlink():
        raise UserError(f"`{path}` is a link: what it points to is not this run's to write into.")


def own_directory(path: Path) -> Path:
    """A directory that a run writes into. **Raises:** `UserError` if it is a link to elsewhere."""
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def make_writable(folder: Path) -> None:
    """Makes `folder` if need be. **Raises:** `OSError` if no file can be made in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def require_writable(folder: Path, advice: str) -> None:
    """`make_writable`. **Raises:** `UserError` with `advice` where that fails."""
    try:
        make_writable(folder)
    except OSError as error:
        raise UserError(f"`{folder}` cannot be written ({error.strerror}): {advice}.") from error


def refuse_other_than_file(path: Path) -> None:
    """**Raises:** `OSError` where there is something that is no file: it would not be replaced."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "there is something that is no file", str(path))


def unlinked(path: Path) -> Path:
    """`path` to be written, where a link that has its name makes way.

    **Raises:** `OSError` where there is something else than a file: a pipe, a directory.
    """
    if path.is_symlink():
        path.unlink()
    refuse_other_than_file(path)
    return path


def write_synced(path: Path, blocks: Iterable[Any]) -> FileRecord:
    """Writes bytes-like `blocks` into a new file and waits until they are on the disk.

    **Raises:** `OSError` if something is there already, be it a link to elsewhere.
    """
    size = crc = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)  # of Windows
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        for block in blocks:
            crc = zlib.crc32(block, crc)
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(path.name, size, crc)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file that, after a kill at any moment, holds either all of the old or all of the
    new bytes. **Raises:** `OSError` also where there is something else than a file: a device."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    if not path.is_symlink():
        refuse_other_than_file(path)
    try:
        write_synced(temporary, [data])
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename == str(temporary):  # a name that nobody has asked for
            error.filename = str(path)
        raise
    sync_directory(path.parent)


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
    """More than a file of the arrays of `tree`, which may be shapes only, can have."""
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
    """A safetensors file, read lazily. **Raises:** `BadFile` if it is none."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise BadFile(f"`{path.name}` cannot be read ({error})") from error


def match(name: str, dtype: str, shape: tuple[int, ...], like: Any, where: Path) -> None:
    """**Raises:** `UserError` if a saved array is not shaped as the one that is wanted."""
    found, wanted = (dtype, shape), (CODES[like.dtype.name], like.shape)
    if found != wanted:
        show = lambda kind: f"{kind[0]}{list(kind[1])}"
        raise UserError(
            f"`{name}` is {show(found)} in `{where}` but {show(wanted)} here: it was saved with "
            f"other sizes than the present ones."
        )


def match_names(saved: Iterable[str], wanted: Iterable[str], where: Path) -> None:
    """**Raises:** `UserError` if there are other arrays than the wanted ones."""
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
