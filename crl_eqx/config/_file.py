"""A run's configuration as a file: written, and read back with care."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from .._errors import UserError
from ..store._files import read_regular, replace_file
from ._config import Config, SWEEP


def save_config(config: Config, path: Path) -> None:
    """Writes JSON that `load_config` reads back."""
    write_config(config, path)


def write_config(value: Any, path: Path) -> None:
    """As JSON, in place of what was there."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))


def load_config(path: Path) -> Config:
    """**Raises:** `UserError` when the file is missing or is not a configuration."""
    if (path.parent / SWEEP).is_file():
        raise UserError(
            f"`{path.parent}` holds several runs: name one of them, such as "
            f"{min(path.parent.glob('*/config.json'), default=path).parent}."
        )
    if not path.is_file():
        raise UserError(f"`{path.parent}` is not a run directory: it has no {path.name}.")
    written = read_config(path, dict[str, Any])
    return as_config(written, path)


def read_config(path: Path, kind: Any) -> Any:
    """JSON of that kind. **Raises:** `UserError` if it is none."""
    try:
        return msgspec.json.decode(read_regular(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"`{path}` is not a readable configuration: {error}.") from error


def as_config(written: dict[str, Any], path: Path) -> Config:
    """What `path` holds, as a configuration. **Raises:** `UserError` if it is none."""
    try:
        config = msgspec.convert(written, Config, dec_hook=lambda kind, value: kind(value))
    except (msgspec.ValidationError, RecursionError) as error:
        raise UserError(f"`{path}` is not a readable configuration: {error}.") from error
    if unknown := [*_unknown(written, config)]:
        raise UserError(
            f"`{path}` has what this version does not know: {', '.join(unknown)}. It was misspelt, "
            f"or another version wrote it."
        )
    return config


def _unknown(written: dict, config: Any) -> Iterator[str]:
    """Keys without a field, which reading would silently leave at their defaults."""
    known = {field.name for field in dataclasses.fields(config)}
    for name, value in written.items():
        if name not in known:
            yield name
        elif dataclasses.is_dataclass(group := getattr(config, name)):
            yield from (f"{name}.{key}" for key in _unknown(value, group))
