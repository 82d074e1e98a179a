"""Files that are whole or absent, and never reached through links."""

import errno
import os
import stat
import tempfile
import uuid
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .._errors import UserError


class BadFile(Exception):
    """A file that cannot be used; the message is a clause that says why."""


class Unreadable(BadFile):
    """The system refused to read it: it may be good, and readable later."""


def unusable(name: str, error: OSError) -> BadFile:
    """Missing is bad; any other system error is no proof of damage."""
    kind = BadFile if isinstance(error, FileNotFoundError) else Unreadable
    return kind(f"`{name}` cannot be read ({error.strerror})")


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading. **Raises:** `OSError` also if it is not a file: a pipe would
    block, and a device has no end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def read_regular(path: Path, at_most: int = 1 << 30) -> bytes:
    """A file's bytes. **Raises:** `OSError` also if it is not a regular file, or far too large."""
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
        """**Raises:** `ValueError`, as msgspec expects, if it is not a plain name."""
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
        """**Raises:** `BadFile` if the file is not byte for byte what was written, or is larger
        than possible: that is not even read."""
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
    """**Raises:** `OSError` if something other than a file is there: it would not be replaced."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "there is something that is no file", str(path))


def unlinked(path: Path) -> Path:
    """`path` to be written; a link of that name is removed.
    **Raises:** `OSError` if something other than a file is there: a pipe, a directory.
    """
    if path.is_symlink():
        path.unlink()
    refuse_other_than_file(path)
    return path


def write_synced(path: Path, blocks: Iterable[Any]) -> FileRecord:
    """Writes bytes-like `blocks` into a new file and waits until they are on the disk.

    **Raises:** `OSError` if something is there already, even a link to elsewhere.
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
    new bytes. **Raises:** `OSError` also if something other than a file is there: a device."""
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
