"""The platform that traced code will run on."""

import re
from typing import Any

import jax


AMPERE = 8, 0
"""The compute capability from which on there is TF32, and Triton is supported."""


def _device() -> Any:
    """Of the abstract mesh that is set, else of JAX's default backend.

    An abstract mesh that names a device compiles a program for an absent GPU.
    """
    abstract = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    return jax.devices()[0] if abstract is None else abstract


def platform() -> str:
    """`"cpu"`, `"gpu"` or `"tpu"`."""
    name = _device().platform
    return "gpu" if name in ("cuda", "rocm") else name


def capability() -> tuple[int, int] | None:
    """NVIDIA's compute capability, (9, 0) of an H100; None where there is none to be known."""
    found = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(_device(), "compute_capability", "")))
    return (int(found[1]), int(found[2])) if found else None


def on_amd() -> bool:
    """Whether it is a GPU of AMD's."""
    return str(getattr(_device(), "compute_capability", "")).startswith("gfx")


def on_hopper() -> bool:
    """Whether it is an NVIDIA GPU of compute capability 9: H100, H200, H800, GH200."""
    device = _device()
    capability = getattr(device, "compute_capability", None)
    if capability is not None:
        return str(capability).startswith("9.")
    return any(name in device.device_kind for name in ("H100", "H200", "H800"))
