"""What a run keeps of the user's own task: the files that make it, under `task/`.

A run of `FILE.py:FUNCTION` copies that file, the modules that it imports from its own folder, what
it reads there, and its models with their includes and meshes, so that the run means the same when
the originals have changed or are gone.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import envs
from .._env import AbstractGoalEnv
from .._errors import first_line, UserError
from ..config import SWEEP
from ..store._files import read_regular, replace_file


TASK_FILES = "task"
LIST = "files.json"


class _Files(msgspec.Struct, forbid_unknown_fields=True):
    """`task/files.json`."""

    entry: str
    """The file that has the function, below `task/`."""
    sha256: dict[str, str | None]
    """Of every file."""


def task_file(name: str) -> Path | None:
    """The file of the user's own task, `FILE.py:FUNCTION`; None for all others."""
    return Path(name.rpartition(":")[0]) if envs.is_own(name) else None


def kept_list(run_dir: Path) -> Path | None:
    """The list of what the run, or the sweep that it belongs to, has kept."""
    several = [run_dir.parent] if (run_dir.parent / SWEEP).is_file() else []
    lists = [directory / TASK_FILES / LIST for directory in (run_dir, *several)]
    return next((path for path in lists if path.is_file()), None)


def kept_task(name: str, run_dir: Path) -> str:
    """`name`, or the run's own copy of it, if it has one.

    **Raises:** `UserError` if a file of the copy is not what was kept.
    """
    if task_file(name) is None or (path := kept_list(run_dir)) is None:
        return name
    files, folder = _read(path), path.parent
    known = {LIST, *files.sha256}
    for found in sorted(folder.rglob("*")):
        place = found.relative_to(folder)
        if not found.is_dir() and str(place) not in known:
            raise UserError(
                f"`{found}` is no file that the run has kept, and might be run with its task: take "
                f"it away."
            )
    for place, digest in files.sha256.items():
        if _sha256(folder / place) != digest:
            raise UserError(
                f"`{folder / place}` is not as the run kept it: its checksum differs, or it is "
                f"gone. Put it back, or start a new run."
            )
    return f"{folder / files.entry}:{name.rpartition(':')[2]}"


def has_changed(name: str, run_dir: Path) -> bool:
    """Whether one of the files that a task was copied from exists and has changed."""
    file, path = task_file(name), kept_list(run_dir)
    if file is None or path is None or not file.is_file():
        return False
    files = _read(path)
    root = file.resolve().parents[len(Path(files.entry).parts) - 1]
    now = {place: _sha256(root / place) for place in files.sha256}
    return any(digest not in (None, files.sha256[place]) for place, digest in now.items())


def keep_task(name: str, run_dir: Path, build: Callable[[str], AbstractGoalEnv]) -> str | None:
    """Copies the files of the user's own task into the run, if `build(name)` makes the same model
    from the copies alone. **Returns** what prevents that, if anything.
    """
    file = task_file(name)
    if file is None or (run_dir / TASK_FILES / LIST).is_file():
        return None
    # What was left when a copy was cut off would be taken for a file that nobody has kept.
    shutil.rmtree(run_dir / TASK_FILES, ignore_errors=True)
    if (others := kept_list(run_dir)) is not None:  # what the seeds have in common
        for place in (*_read(others).sha256, LIST):
            _copy(others.parent / place, run_dir / TASK_FILES / place)
        return None
    model = _model(build(name))
    used = {file.resolve(), *envs.modules_beside(file), *envs.own_files(name)}
    root = Path(os.path.commonpath([path.parent for path in used]))
    folder = run_dir / TASK_FILES
    places = {path: path.relative_to(root).as_posix() for path in sorted(used)}
    entry = places[file.resolve()]
    copy = f"{folder / entry}:{name.rpartition(':')[2]}"
    why_not = None
    try:
        for path, place in places.items():
            _copy(path, folder / place)
        if _model(build(copy)) != model:
            why_not = "a copy of its files gives another model"
        elif outside := envs.own_files(copy) - {folder.resolve() / p for p in places.values()}:
            why_not = f"it reads `{min(outside)}` wherever its file is"
    except Exception as error:  # the task's own code runs here, from another place
        why_not = first_line(error).rstrip(".")
    if why_not is not None:
        shutil.rmtree(folder, ignore_errors=True)
        return why_not
    files = _Files(entry, {place: _sha256(folder / place) for place in places.values()})
    replace_file(folder / LIST, msgspec.json.format(msgspec.json.encode(files), indent=2))
    return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, read_regular(source))


def _model(env: AbstractGoalEnv) -> str:
    assert isinstance(env, envs.AbstractMujocoEnv)  # as all tasks of one's own
    return envs.model_checksum(env.model)


def _read(path: Path) -> _Files:
    try:
        files = msgspec.json.decode(read_regular(path), type=_Files)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise UserError(f"`{path}` is damaged or cannot be read: {error}.") from error
    for place in (files.entry, *files.sha256):
        if ".." in Path(place).parts or Path(place).is_absolute() or "\0" in place:
            raise UserError(f"`{path}` names a file outside of the run: {place!r}.")
    if files.entry not in files.sha256:
        raise UserError(f"`{path}` is damaged: it has no checksum of {files.entry!r}.")
    return files


def _sha256(path: Path) -> str | None:
    """None if there is no such file."""
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except OSError:
        return None
