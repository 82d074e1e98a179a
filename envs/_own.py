"""Tasks of one's own by name: `FILE.py:FUNCTION`."""

import functools
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .._errors import UserError
from ._mujoco import AbstractMujocoEnv


def is_own(name: str) -> bool:
    """Whether a name is one of a function in a file."""
    return re.search(r"\.py:", name) is not None


def own_builder(name: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names.

    **Raises** `UserError` if there is no such file or function, or the file cannot be run.
    """
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"`make({name!r})`: there is no file `{file}`.")
    builder = getattr(_module(name, path), function, None)
    if not callable(builder):
        raise UserError(f"`make({name!r})`: `{file}` has no function `{function}`.")
    if "physics" not in inspect.signature(builder).parameters:
        raise UserError(
            f"`make({name!r})`: `{function}` must take `physics: str | None = None` and hand it on "
            f"to `MujocoGoalEnv`."
        )

    @functools.wraps(builder)  # with its signature: what it takes are the task's options
    def checked(**options: Any) -> AbstractMujocoEnv:
        env = builder(**options)
        if not isinstance(env, AbstractMujocoEnv):
            raise UserError(
                f"`make({name!r})` gives a {type(env).__name__}, and must give a `MujocoGoalEnv`."
            )
        return env

    return checked


def _module(name: str, path: Path) -> ModuleType:
    module_name = f"crl_eqx_own_{path.stem}"  # shadows nobody's
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # modules beside the file are found, wherever one stands
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(f"`make({name!r})`: running `{path}` raised {error!r}.") from error
    finally:
        sys.path.remove(folder)
    return module
