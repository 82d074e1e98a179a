"""Users' own tasks by name: `FILE.py:FUNCTION`."""

import contextlib
import contextvars
import functools
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .._check_env import check_env
from .._errors import first_line, UserError
from ._mj import MjModel, MjSpec, xml_dependencies
from ._mujoco import AbstractMujocoEnv
from ._own_modules import beside, own_modules


class _Building:
    """A user's task while its code runs, and the files it has used."""

    def __init__(self, file: Path):
        self.folder, self.files = file.resolve().parent, set[Path]()

    def uses_model(self, file: Path) -> None:
        self.files.update(each.resolve() for each in xml_dependencies(file) if is_file(each))


_building: contextvars.ContextVar[_Building | None] = contextvars.ContextVar(
    "building", default=None
)
_used: dict[str, set[Path]] = {}


def is_own(name: str) -> bool:
    """Whether a name is that of a function in a file."""
    return re.search(r"\.py:", name) is not None


def own_builder(name: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names.

    **Raises:** `UserError` if there is no such file or function, or the file cannot be run.
    """
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not is_file(path):
        raise UserError(f"`make({name!r})`: there is no file `{file}`.")
    builder = getattr(_module(name, path), function, None)
    if not callable(builder):
        raise UserError(f"`make({name!r})`: `{file}` has no function `{function}`.")
    takes = inspect.signature(builder).parameters.get("physics")
    if takes is None or takes.kind not in (takes.POSITIONAL_OR_KEYWORD, takes.KEYWORD_ONLY):
        raise UserError(
            f"`make({name!r})`: `{function}` must take `physics: str | None = None` and pass it on "
            f"to `MujocoGoalEnv`."
        )

    @functools.wraps(builder)  # keeps its signature: what it takes are the task's options
    def checked(**options: Any) -> AbstractMujocoEnv:
        with _running(name, path):
            env = builder(**options)
        if not isinstance(env, AbstractMujocoEnv):
            raise UserError(
                f"`make({name!r})` gives a {type(env).__name__}, and must give a `MujocoGoalEnv`."
            )
        asked = options.get("physics")
        if asked is not None and env.physics.name != asked:
            raise UserError(
                f"`make({name!r}, physics={asked!r})` gives {env.physics.name} physics: "
                f"`{function}` must pass `physics` on to `MujocoGoalEnv`."
            )
        check_env(env)
        return env

    return checked


def own_files(name: str) -> frozenset[Path]:
    """Absolute paths of what the task `FILE.py:FUNCTION` has read so far: its models with their
    includes and meshes, and the files that its code opened in its folder."""
    return frozenset(_used.get(name, ()))


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or contains a NUL
        return False


def model_file(path: str | Path) -> Path:
    """Where a model is. In a task's file, a path is relative to that file's folder, if the model
    is there."""
    task = _building.get()
    if task is None:
        return Path(path)
    file = task.folder / path
    file = file if is_file(file) else Path(path)
    task.uses_model(file)
    return file


def note_model(model: MjSpec | MjModel) -> None:
    """A specification does not say which file it was read from, only which folder, and a compiled
    model not even that: all models there, or in the task's folder, count as used."""
    task = _building.get()
    if task is None:
        return
    known = isinstance(model, MjSpec)
    folder = getattr(model, "modelfiledir", "") if known else task.folder
    for file in Path(folder).glob("*.xml") if folder else ():
        task.uses_model(file)


@contextlib.contextmanager
def _running(name: str, path: Path) -> Iterator[None]:
    """While it is open, notes the files used, and finds modules beside `path` from any folder."""
    _listen()
    task = _Building(path)
    before = _building.set(task)
    sys.path.insert(0, str(task.folder))
    # Only what a task is made of may lie beside it: a compiled file would be run in its place
    # without a check.
    here = Path.cwd()
    writing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with own_modules(task.folder):
            yield
    except SystemExit as error:
        raise UserError(f"`make({name!r})`: its code called `sys.exit({error.code!r})`.") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        raise UserError(f"`make({name!r})`: its code raised {type(error).__name__}.") from error
    finally:
        os.chdir(here)  # the user's paths are relative to it
        sys.dont_write_bytecode = writing
        with contextlib.suppress(ValueError):
            sys.path.remove(str(task.folder))
        _building.reset(before)
        _used.setdefault(name, set()).update(task.files)


@functools.cache
def _listen() -> None:
    """Done only once, because Python cannot remove such a hook."""

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or (task := _building.get()) is None:
            return
        path, mode, *_ = arguments
        if not isinstance(path, str) or set(mode or "r") & set("wax+") or path.endswith(".pyc"):
            return
        file = Path(path).resolve()
        if beside(file, task.folder) and file.is_file():
            task.files.add(file)

    sys.addaudithook(opened)


def _module(name: str, path: Path) -> ModuleType:
    module_name = f"crl_eqx_own_{path.stem}"  # shadows no other module
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with _running(name, path):
            sys.modules[module_name] = module  # dataclasses look their module up there
            spec.loader.exec_module(module)
    except UserError:
        sys.modules.pop(module_name, None)
        raise
    except Exception as error:
        sys.modules.pop(module_name, None)
        reason = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        raise UserError(
            f"`make({name!r})`: running `{_place(error, path)}` raised {reason} (`--debug` shows "
            f"the traceback)."
        ) from error
    return module


def _place(error: Exception, path: Path) -> str:
    """The file and line, in the task's own code or beside it, where the error occurred."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    folder = path.resolve().parent
    own = [frame for frame in frames if folder in Path(frame.filename).resolve().parents]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else str(path)
