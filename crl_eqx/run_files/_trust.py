"""The user's own tasks in a run directory: naming a file there is asking to run it.

A run keeps the files of its task (`_task_files.py`), and its checkpoints remember what they and the
compiled model were. A run from elsewhere needs `--trust` first.
"""

import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import platformdirs

from .. import envs
from .._errors import UserError
from ..config import choice_of, Config, OTHER_RUNS, replaced
from ..store._files import read_regular, replace_file
from ._task_files import kept_list, task_file


_trusting = False


@contextlib.contextmanager
def trusting(consent: bool):
    """While open, `consent` is what the user said to running what a run directory names."""
    global _trusting
    before, _trusting = _trusting, consent
    try:
        yield
    finally:
        _trusting = before


def is_trusting() -> bool:
    """Whether the user has consented."""
    return _trusting


def with_absolute_path(config: Config) -> Config:
    """If a run names a file or another run, its absolute path, so that it can be viewed, and go on,
    from anywhere."""
    for name in OTHER_RUNS:
        if (run := choice_of(config, name)) is not None:
            config = replaced(config, **{name: str(Path(run).resolve())})
    file = task_file(config.env)
    if file is None or not file.is_file():
        return config  # and who makes the task says that it is not there, in its user's words
    function = config.env.rpartition(":")[2]
    return dataclasses.replace(config, env=f"{file.resolve()}:{function}")


def fingerprint(name: str, run_dir: Path, env: Any) -> str | None:
    """SHA-256 of what makes the user's own task: its file, the modules that it imported from its
    own folder, and the compiled model; None for all others."""
    file = task_file(name)
    if file is None:
        return None
    if (kept := kept_list(run_dir)) is not None:
        digest = hashlib.sha256(read_regular(kept))
    else:
        digest = hashlib.sha256(read_regular(file))
        for path in sorted(envs.modules_beside(file)):
            digest.update(path.name.encode() + read_regular(path))
    digest.update(envs.model_checksum(env.model).encode())
    return digest.hexdigest()


def check_same_task(name: str, *, before: str | None, now: str | None) -> None:
    """**Raises:** `UserError` if a checkpoint was saved with another task under the same name, as
    its fingerprint shows."""
    if before is not None and before != now:
        raise UserError(
            f"`{name}` is another task than the one that the run began with: its file, a module "
            f"beside it, or its model has changed. Undo that, or start a new run."
        )


def _mark(run_dir: Path) -> Path | None:
    """Where this user's machine remembers that a run was made here; None where there is no home."""
    try:
        folder = platformdirs.user_state_path("crl-eqx") / "runs"
    except RuntimeError:
        return None
    return folder / hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()


def _claim(config: Config, run_dir: Path) -> bytes:
    file = kept_list(run_dir) or task_file(config.env)
    assert file is not None
    content = hashlib.sha256(read_regular(file)).hexdigest() if file.is_file() else "missing"
    return f"{config.env}\n{content}\n".encode()


def remember(config: Config, run_dir: Path) -> None:
    """Notes that this user has begun the run here, if it names a file."""
    if task_file(config.env) is None or (mark := _mark(run_dir)) is None:
        return
    with contextlib.suppress(OSError):  # a home that cannot be written: one will have to say so
        mark.parent.mkdir(parents=True, exist_ok=True)
        replace_file(mark, _claim(config, run_dir))


def require_trust(config: Config, run_dir: Path) -> None:
    """**Raises:** `UserError` if the run names a file, this user did not begin it here with
    exactly that file, and has not consented."""
    if task_file(config.env) is None or _trusting:
        return
    mark = _mark(run_dir)
    with contextlib.suppress(OSError):
        if mark is not None and read_regular(mark) == _claim(config, run_dir):
            return
    kept = kept_list(run_dir)
    ours = "" if mark else " (without a home directory none is remembered as yours)"
    raise UserError(
        f"`{run_dir}` names a task in `{kept.parent if kept else task_file(config.env)}`, whose "
        f"code would be run, and was not begun here with that code as it is{ours}: look at it, "
        f"and if you trust it, add `--trust`."
    )
