"""Exactly what a run was made with."""

import importlib.metadata
import os
import platform
from typing import Any

import jax
import psutil


PACKAGES = ("crl-eqx", "jax", "jaxlib", "equinox", "optax", "mujoco", "mujoco-mjx", "numpy")


def _processor() -> str:
    """The CPU's own name where the system tells it (Linux), else its architecture."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def provenance() -> dict[str, Any]:
    """Versions of what computes, and the hardware it computes on; JSON-able, without host names."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "devices": [device.device_kind for device in jax.devices()],
        },
    }
