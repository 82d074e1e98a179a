"""A directory of checkpoints: which are there, which are good, which may go."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from ._arrays import BadFile, sync_directory
from ._manifest import Foreign, Manifest, read_manifest
from ._segments import Replay


_SAVING, _DELETING = ".saving-", ".deleting-"


class Shelf:
    """Checkpoints by name: `step_N`, and `step_N.1`, … for one of the same step as a bad one."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.segments = directory / "replay"

    def entries(self) -> list[Path]:
        """Whatever is named as a checkpoint, oldest first."""
        paths = self.directory.glob("step_*")
        found = {path: re.fullmatch(r"step_(\d+)(?:\.(\d+))?", path.name) for path in paths}
        place = {p: (int(m[1]), int(m[2] or 0)) for p, m in found.items() if m}
        return sorted(place, key=place.__getitem__)

    def examine(self, path: Path) -> Manifest:
        """**Raises:** `BadFile` if the checkpoint is evidently not good; reads no arrays."""
        manifest = read_manifest(path)
        manifest.check_sizes(path, self.segments)
        return manifest

    def good(self) -> dict[Path, Manifest]:
        """Those that look good without reading their arrays, oldest first."""

        def examined() -> Iterator[tuple[Path, Manifest]]:
            for path in self.entries():
                try:
                    yield path, self.examine(path)
                except BadFile:
                    continue

        return dict(examined())

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
        for path in entries:
            if path not in kept and not self._is_foreign(path):
                path.rename(self.directory / f"{_DELETING}{uuid.uuid4().hex}")
        sync_directory(self.directory)

    def _is_foreign(self, path: Path) -> bool:
        try:
            read_manifest(path)
        except BadFile as error:
            return isinstance(error, Foreign)
        return False

    def tidy(self, using: Replay | None) -> None:
        """Deletes what a killed save left, and the segments that neither `using` nor a checkpoint
        needs."""
        for prefix in (_SAVING, _DELETING):
            for path in self.directory.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)
        replays = (using, *(manifest.replay for manifest in self.good().values()))
        needed = {segment.file.name for replay in replays if replay for segment in replay.segments}
        for path in self.segments.glob("*.safetensors"):
            if path.name not in needed:
                path.unlink(missing_ok=True)
