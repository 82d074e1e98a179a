"""What a number was measured on, and where it is kept. Names no host, no user and no path."""

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy", "mujoco", "mujoco-mjx")


def _from_proc(file: str, field: str) -> str | None:
    """The value of the first line `field : value` of /proc/`file`, on Linux."""
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    return next((s.split(":", 1)[1].strip() for s in lines if s.startswith(field)), None)


def _memory_gib() -> float | None:
    total = _from_proc("meminfo", "MemTotal")
    return round(int(total.split()[0]) / 2**20, 1) if total else None


def _commit() -> str | None:
    ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    """Of those packages that are there: networks are measured without MuJoCo, too."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def machine() -> dict[str, Any]:
    """Processor, cores, memory, accelerator, versions, date. Found out in a process of its own:
    JAX, once started, takes most of a GPU's memory from whoever measures."""
    found = subprocess.check_output([sys.executable, __file__], text=True)
    return json.loads(found.splitlines()[-1])


def _find_out() -> dict[str, Any]:
    import jax

    devices = jax.devices()
    return {
        "processor": _from_proc("cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "backend": devices[0].platform,
        "devices": [device.device_kind for device in devices],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def slug(about: dict[str, Any]) -> str:
    """A file name's part: the accelerator if there is one, else processor and cores."""
    name = about["devices"][0]
    if about["backend"] == "cpu":
        name = f"{about['processor']} {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write(
    name: str, rows: list[dict[str, Any]], *, directory: Path | None = None, **about_run: Any
) -> Path:
    """Writes `rows`, with the machine and what else the run says of itself, as
    `<name>-<machine>-<date>.json`."""
    about = machine()
    path = (directory or RESULTS) / f"{name}-{slug(about)}-{about['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": about, **about_run, "rows": rows}, indent=1) + "\n")
    return path


if __name__ == "__main__":
    print(json.dumps(_find_out()))
