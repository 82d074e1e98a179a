"""The modules beside a user's task: which these are, and that no task gets another's."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


_SHARED = {"site-packages", "dist-packages"}
_of: dict[Path, dict[str, ModuleType]] = {}
"""By the folder of a task's file, what has been imported from it."""


@contextlib.contextmanager
def own_modules(folder: Path) -> Iterator[None]:
    """While it is open, imports find what tasks in `folder` have imported from there, and nothing
    that others have imported from theirs under the same name."""
    hidden: dict[str, ModuleType] = {}
    for other, modules in _of.items():
        for name, module in modules.items() if other != folder else ():
            if sys.modules.get(name) is module:
                hidden[name] = sys.modules.pop(name)
    sys.modules.update(_of.get(folder, {}))
    try:
        yield
    finally:
        files = {name: _file(module) for name, module in [*sys.modules.items()]}
        _of[folder] = {
            name: sys.modules[name] for name, file in files.items() if file and beside(file, folder)
        }
        for name, module in hidden.items():
            sys.modules.setdefault(name, module)


def modules_beside(task: Path) -> set[Path]:
    """Files of the modules that a task's file has imported from its folder."""
    file = task.resolve()
    found = (_file(module) for module in _of.get(file.parent, {}).values())
    return {path for path in found if path is not None and path != file}


def beside(file: Path, folder: Path) -> bool:
    """Whether a file, both paths being absolute, is the task's own: below its folder, and not part
    of Python, of what is installed, or of this library, all of which may lie there, too."""
    if folder not in file.parents or _SHARED & {*file.relative_to(folder).parts}:
        return False
    below = file.parents[: file.parents.index(folder)]
    return not any(_is_foreign(parent) for parent in below)


@functools.cache
def _is_foreign(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").is_file() or folder in _python() or folder in _this_library()


@functools.cache
def _python() -> set[Path]:
    return {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}


@functools.cache
def _this_library() -> set[Path]:
    """Its rooms may be links to other places of a checkout."""
    package = Path(sys.modules[__name__.partition(".")[0]].__path__[0])
    return {each.resolve() for each in (package, *package.iterdir()) if each.is_dir()}


def _file(module: Any) -> Path | None:
    """Not everything that stands among the modules is one."""
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if isinstance(name, str) else None
