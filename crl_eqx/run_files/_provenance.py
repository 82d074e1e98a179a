"""Exactly what a run was made with."""

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from .. import envs
from ..store._files import read_regular, replace_file


PACKAGES = ("crl-eqx", "jax", "jaxlib", "equinox", "optax", "mujoco", "mujoco-mjx", "numpy")
PACKAGES += ("gymnasium", "gymnasium-robotics")


def _processor() -> str:
    """The CPU's own name where the system tells it (Linux), else its architecture."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return (
            "not installed"  # a source tree on the path, or a package that this run can do without
        )


def provenance(task: str = "") -> dict[str, Any]:
    """Versions of what computes, and the hardware it computes on; JSON-able, without host names."""
    import psutil  # not before: `crl-eqx info` can do without

    names = dict.fromkeys((*PACKAGES, *envs.gymnasium_packages(task)))
    return {
        "versions": {name: _version(name) for name in names}
        | {"python": platform.python_version()},
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": envs.num_cores(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "devices": [device.device_kind for device in jax.devices()],
        },
    }


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a run was made with and what it goes on with, where they differ."""
    return [
        f"{name} {old[group].get(name)} -> {value}"
        for group in ("versions", "hardware")
        for name, value in new[group].items()
        if old[group].get(name) != value
    ]


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What `record_provenance` wrote; None if that is damaged."""
    try:
        facts = json.loads(read_regular(path))
        groups = [facts["versions"], facts["hardware"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    whole = all(isinstance(group, dict) for group in groups)
    return facts if whole and isinstance(facts.get("resumed", []), list) else None


def record_provenance(
    path: Path, *, task: str = "", about: dict[str, Any], report: Callable[[str], None]
) -> None:
    """Writes `provenance()` and what else is known `about` the run; for a resumed run beside
    what it began with.

    `report` gets one sentence if versions or hardware have changed since the beginning.
    """
    facts = provenance(task) | about
    if path.exists():
        first = read_provenance(path)
        if first is None:
            report(f"`{path}` is damaged, and begins anew: what the run began with is lost.")
            first = facts
        if changes := _changes(first, facts):
            report(
                f"Other than when the run began: {', '.join(changes)}; it will not end "
                f"bit-identical to an uninterrupted one."
            )
        facts = first | {"resumed": [*first.get("resumed", []), facts]}
    replace_file(path, (json.dumps(facts, indent=2) + "\n").encode())
