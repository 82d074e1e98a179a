"""Tasks of one's own in a run directory: naming a file there is asking for it to be run.

A run remembers what its task was: the file, the modules beside it, and the compiled model, with all
that its MJCF includes. Whoever looks at a run that came from elsewhere has to say `--trust` first.
"""

import contextlib
import dataclasses
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import platformdirs

from .. import envs
from .._errors import UserError
from ._arrays import replace_file
from ._config import Config


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


def task_file(name: str) -> Path | None:
    """The file of a task of one's own, `FILE.py:FUNCTION`; None for all others."""
    return Path(name.rpartition(":")[0]) if envs.is_own(name) else None


def with_whole_path(config: Config) -> Config:
    """Where a run names a file, its whole path, so that the run can be looked at from anywhere."""
    file = task_file(config.env)
    if file is None or not file.is_file():
        return config  # and who makes the task says that it is not there, in its user's words
    function = config.env.rpartition(":")[2]
    return dataclasses.replace(config, env=f"{file.resolve()}:{function}")


def fingerprint(name: str, env: Any) -> str | None:
    """SHA-256 of what makes a task of one's own: its file, the modules that it imported from its
    own folder, and the compiled model; None for all others."""
    file = task_file(name)
    if file is None:
        return None
    digest = hashlib.sha256(file.read_bytes())
    for path in sorted(_modules_beside(file)):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(envs.model_bytes(env.model))
    return digest.hexdigest()


def _modules_beside(file: Path) -> set[Path]:
    folder = file.resolve().parent
    files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    found = {Path(name).resolve() for name in files if name}
    return {path for path in found if folder in path.parents and path != file.resolve()}


def check_same_task(name: str, *, before: str | None, now: str | None) -> None:
    """**Raises:** `UserError` if a checkpoint was saved with another task under the same name, as
    its fingerprint tells."""
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


def _claim(config: Config) -> bytes:
    file = task_file(config.env)
    assert file is not None
    content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
    return f"{config.env}\n{content}\n".encode()


def remember(config: Config, run_dir: Path) -> None:
    """Notes that this user has begun the run here, if it names a file."""
    if task_file(config.env) is None or (mark := _mark(run_dir)) is None:
        return
    with contextlib.suppress(OSError):  # a home that cannot be written: one will have to say so
        mark.parent.mkdir(parents=True, exist_ok=True)
        replace_file(mark, _claim(config))


def require_trust(config: Config, run_dir: Path) -> None:
    """**Raises:** `UserError` if the run names a file, this user has not begun it here with just
    that file, and has not consented."""
    if task_file(config.env) is None or _trusting:
        return
    mark = _mark(run_dir)
    with contextlib.suppress(OSError):
        if mark is not None and mark.read_bytes() == _claim(config):
            return
    raise UserError(
        f"`{run_dir}` names a task in `{task_file(config.env)}`, whose code would be run, and was "
        f"not begun here with that file as it is: look at it, and if you trust it, add `--trust`."
    )
