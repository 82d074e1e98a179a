"""The platform that traced code will run on."""

from typing import Any

import jax


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


def on_hopper() -> bool:
    """Whether it is an NVIDIA GPU of compute capability 9: H100, H200, H800, GH200."""
    device = _device()
    capability = getattr(device, "compute_capability", None)
    if capability is not None:
        return str(capability).startswith("9.")
    return any(name in device.device_kind for name in ("H100", "H200", "H800"))
