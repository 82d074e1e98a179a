"""What a checkpoint consists of, as its `manifest.json` says."""

import zlib
from pathlib import Path
from typing import Any

import msgspec

from .._errors import UserError
from ._files import BadFile, FileRecord, read_regular, unusable
from ._segments import Replay


FORMAT = "crl-eqx checkpoint"
VERSION = 2  # a version that lays out the replay otherwise must also call its directory otherwise
NAME = "manifest.json"


class Foreign(BadFile):
    """Not recognised, or of another format version: skipped, and not ours to delete."""


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint's files, with what they hold."""

    env_steps: int
    inserted: int
    """Steps per environment that the replay had seen."""
    agent: FileRecord
    state: FileRecord
    replay: Replay | None
    """None if it was left out."""
    metadata: dict[str, Any]
    format: str = FORMAT
    version: int = VERSION
    crc32: int = 0
    """Of the manifest with 0 in this place."""

    def checksum(self) -> int:
        return zlib.crc32(msgspec.json.encode(msgspec.structs.replace(self, crc32=0)))

    def encode(self) -> bytes:
        signed = msgspec.structs.replace(self, crc32=self.checksum())
        return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"

    def check_sizes(self, directory: Path, replay_directory: Path) -> None:
        """**Raises:** `BadFile` if a file is missing or cut; reads none of them."""
        for record in (self.agent, self.state):
            record.check_size(directory)
        for segment in self.replay.segments if self.replay else ():
            segment.file.check_size(replay_directory)


def check_metadata(metadata: dict[str, Any]) -> None:
    """**Raises:** `UserError` if it cannot be written as JSON."""
    try:
        msgspec.json.encode(metadata)
    except (TypeError, OverflowError) as error:
        raise UserError(
            f"`CheckpointStore.save(metadata=...)` must be writable as JSON: {error}."
        ) from error


def read_manifest(directory: Path) -> Manifest:
    """**Raises:** `BadFile` if it is damaged, `Foreign` if it is not one of ours."""
    try:
        text = read_regular(directory / NAME)
    except FileNotFoundError as error:
        raise Foreign(f"its `{NAME}` cannot be read ({error.strerror})") from error
    except OSError as error:
        raise unusable(f"its {NAME}", error) from error
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise Foreign("it was not written by crl-eqx")
        if head.version != VERSION:
            raise Foreign(
                f"its format version is {head.version}, and this crl-eqx reads version {VERSION}"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(f"its `{NAME}` is damaged ({error})") from error
    if manifest.checksum() != manifest.crc32:
        raise BadFile(f"its `{NAME}` is damaged (its checksum differs)")
    return manifest
