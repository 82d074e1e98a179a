"""Tasks of one's own by name: `FILE.py:FUNCTION`."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._errors import UserError


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
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"`make({name!r})`: running `{file}` raised {error!r}.") from error
    builder = getattr(module, function, None)
    if not callable(builder):
        raise UserError(f"`make({name!r})`: `{file}` has no function `{function}`.")
    return builder
