"""Where what is being traced will run."""

import jax


def platform() -> str:
    """`"cpu"`, `"gpu"` or `"tpu"`: of the abstract mesh that is set, else of JAX's default device.

    An abstract mesh that names a device is how a program is compiled for a GPU that is not there.
    """
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    name = jax.default_backend() if device is None else device.platform
    return "gpu" if name in ("cuda", "rocm") else name
