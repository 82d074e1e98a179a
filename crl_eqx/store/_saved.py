"""A directory of checkpoints: which are there, which are good, which may go."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from ._files import BadFile, sync_directory, Unreadable
from ._manifest import Foreign, Manifest, NAME, read_manifest
from ._segments import is_segment, Replay


_SAVING, _DELETING = ".saving-", ".deleting-"
_LEFT = re.compile(r"\.(saving|deleting)-[0-9a-f]{32}")


class SavedCheckpoints:
    """Checkpoints by name: `step_N`, and `step_N.1`, … for one of the same step as a bad one."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.segments = directory / "replay"

    def entries(self, at: int | None = None) -> list[Path]:
        """Whatever is named as a checkpoint, `at` a step if given, oldest first.

        **Raises:** `OSError` if the directory is there and cannot be read.
        """
        try:
            paths = [self.directory / name for name in os.listdir(self.directory)]
        except FileNotFoundError:
            return []
        found = {path: re.fullmatch(r"step_(\d+)(?:\.(\d+))?", path.name) for path in paths}
        place = {p: (int(m[1]), int(m[2] or 0)) for p, m in found.items() if m}
        asked = [path for path, (step, _) in place.items() if at in (None, step)]
        return sorted(asked, key=place.__getitem__)

    def newest_first(self, at: int | None = None) -> Iterator[Path]:
        """Each of `entries` once. They are listed anew each time: a run that is under way may
        replace them while they are read."""
        tried: set[Path] = set()
        while untried := [path for path in self.entries(at) if path not in tried]:
            tried.add(untried[-1])
            yield untried[-1]

    def examine(self, path: Path) -> Manifest:
        """**Raises:** `BadFile` if the checkpoint is plainly not good; reads no arrays."""
        manifest = read_manifest(path)
        manifest.check_sizes(path, self.segments)
        return manifest

    def examined(self) -> dict[Path, Manifest | BadFile]:
        """What each is, or why it is not good, without reading its arrays; oldest first."""

        def look(path: Path) -> Manifest | BadFile:
            try:
                return self.examine(path)
            except BadFile as error:
                return error

        return {path: look(path) for path in self.entries()}

    def good(self) -> dict[Path, Manifest]:
        """Those that look good without reading their arrays, oldest first."""
        return {path: m for path, m in self.examined().items() if isinstance(m, Manifest)}

    def temporary(self) -> Path:
        """A new directory, in which a checkpoint is written."""
        path = self.directory / f"{_SAVING}{uuid.uuid4().hex}"
        path.mkdir()
        return path

    def publish(self, temporary: Path, env_steps: int) -> Path:
        """Gives a complete checkpoint its name."""
        sync_directory(temporary)
        path = self._unused(f"step_{env_steps:012d}")
        temporary.rename(path)
        sync_directory(self.directory)
        return path

    def _unused(self, name: str) -> Path:
        taken = [path.suffix for path in self.entries() if path.stem == name]
        number = 1 + max((int(suffix[1:] or 0) for suffix in taken), default=-1)
        return self.directory / (f"{name}.{number}" if number else name)

    def drop_old(self, newest: Path, keep: int) -> None:
        """Keeps the last `keep` good ones up to `newest`, and what is not ours.

        What comes after `newest` was abandoned when an earlier checkpoint was restored.
        """
        entries, good = self.entries(), self.good()
        past = entries[: entries.index(newest) + 1]
        by_step = {good[path].env_steps: path for path in past if path in good}
        kept = list(by_step.values())[-keep:]
        self._discard([path for path in entries if path not in kept and self._may_go(path)])

    def drop_after(self, env_steps: int) -> None:
        """Those of later steps, but not what is not ours."""
        self._discard([p for p, manifest in self.good().items() if manifest.env_steps > env_steps])

    def _discard(self, paths: Sequence[Path]) -> None:
        """From now on they are no checkpoints; `tidy` deletes them."""
        for path in paths:
            path.rename(self.directory / f"{_DELETING}{uuid.uuid4().hex}")
        if paths:
            sync_directory(self.directory)

    def _may_go(self, path: Path) -> bool:
        """Whether a checkpoint is ours, and was either proved bad or read in full."""
        try:
            self.examine(path)
        except BadFile as error:
            return not isinstance(error, Foreign | Unreadable)
        return True

    def tidy(self, using: Replay | None) -> None:
        """Deletes what a killed save left, and the segments that neither `using` nor a checkpoint
        needs; no segment while it is unknown which ones a checkpoint needs.

        **Raises:** `OSError` where `replay` is a link: what it points to is not ours.
        """
        for path in self.directory.iterdir():
            if _LEFT.fullmatch(path.name) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
        if self.segments.is_symlink():
            raise OSError(errno.ELOOP, "the directory of the replay is a link", str(self.segments))
        replays = [using]
        for path in self.entries():
            try:
                replays.append(read_manifest(path).replay)
            except BadFile as error:
                if not _needs_none(path, error):
                    return
        needed = {segment.file.name for replay in replays if replay for segment in replay.segments}
        for path in self.segments.glob("*.safetensors"):
            if path.name not in needed and is_segment(path.name):
                path.unlink(missing_ok=True)


def _needs_none(path: Path, error: BadFile) -> bool:
    """Whether a checkpoint whose manifest could not be read needs no segment: it may, if only it
    cannot be read now, or is of another version."""
    if isinstance(error, Foreign):
        return not (path / NAME).exists()
    return not isinstance(error, Unreadable)
