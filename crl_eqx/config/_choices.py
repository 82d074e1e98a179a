"""Configurations seen as their choices: named, replaced, compared."""

import dataclasses
import difflib
import re
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from .._errors import UserError
from ._config import Config


CHANGEABLE = frozenset({"total_env_steps", "max_hours", "evaluation", "logging", "compute"})
"""What a resumed run may change: its budget, what is measured and written, and how it is computed.
The rest defines the experiment."""

OTHER_RUNS = ("collect_with", "init_from")
"""The choices that name another run."""


def flat(config: Config) -> Iterator[tuple[str, str, object]]:
    """Every choice as (group, name, value); a top-level choice is its own group."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                yield field.name, inner.name, getattr(value, inner.name)
        else:
            yield field.name, field.name, value


def replaced(config: Config, **choices: Any) -> Config:
    """`config` with other choices, named without their groups.

    **Raises:** `UserError` if there is no such choice.
    """
    groups = {name: group for group, name, _ in flat(config)}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in choices.items():
        if name not in groups:
            near = difflib.get_close_matches(name, groups, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise UserError(f"A configuration has no choice `{name}`{hint}")
        inner.setdefault(groups[name], {})[name] = value
    new = {
        group: dataclasses.replace(getattr(config, group), **values)
        if dataclasses.is_dataclass(getattr(config, group))
        else values[group]
        for group, values in inner.items()
    }
    return dataclasses.replace(config, **new)


def flag(name: str) -> str:
    """A field's name as the command line spells it."""
    return "--" + name.replace("_", "-")


def file_name(env: str) -> str:
    """A task's name as part of a path."""
    return re.sub(r"[^\w.-]", "_", env)


def differences(old: Config, new: Config, also: Collection[str] = ()) -> list[str]:
    """What makes `new` a different experiment from `old`, as `--depth 4 -> 8`; `also` names choices
    that are told although they may change on resuming."""
    pairs = zip(flat(old), flat(new), strict=True)
    return [
        f"{flag(name)} {before} -> {after}"
        for (group, name, before), (_, _, after) in pairs
        if before != after and (group not in CHANGEABLE or name in also)
    ]


def experiment_checksum(config: Config) -> int:
    """Of what a run may not change: all that `differences` compares, but for `run_dir`, as a run
    may move."""
    # What stands at its default is left out, so that a new choice does not change old runs.
    fixed = [
        (group, name, value)
        for (group, name, value), (_, _, default) in zip(flat(config), flat(Config()), strict=True)
        if group not in CHANGEABLE and name != "run_dir" and value != default  # run_dir may move
    ]
    return zlib.crc32(msgspec.json.encode(fixed, enc_hook=str, order="deterministic"))


def choice_of(config: Config, name: str) -> Any:
    """A choice by its name, whatever its group. **Raises:** `UserError` if there is none."""
    for _, known, value in flat(config):
        if known == name:
            return value
    raise UserError(f"A configuration has no choice `{name}`.")


def experiment_flags(config: Config, base: Config | None = None) -> list[str]:
    """The flags that make this configuration out of `base`, by default the defaults; without
    `--preset` and `--run-dir`."""
    words: list[str] = []
    pairs = zip(flat(config), flat(Config() if base is None else base), strict=True)
    for (_, name, value), (_, _, default) in pairs:
        if value == default or name in ("preset", "run_dir"):
            continue
        if name.endswith("env_option"):
            for option in value if isinstance(value, tuple) else ():
                words += [flag(name), option]
        elif isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{name.replace('_', '-')}")
        elif isinstance(value, tuple):
            words += [flag(name), *map(str, value)]
        else:
            words += [flag(name), str(value)]
    return words
