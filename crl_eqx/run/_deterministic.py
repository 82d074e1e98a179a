"""Two runs of one seed on one GPU, bit for bit the same."""

import os

import jax

from .._errors import UserError
from ..config import Config


XLA_FLAG = "--xla_gpu_deterministic_ops=true"
"""No sums in whatever order threads arrive, and no kernels chosen by how fast they just were."""


def ask_for_determinism(config: Config) -> None:
    """Sets `XLA_FLAGS` for a run that is to be deterministic, unless JAX has begun to compute:
    after that XLA reads them no more."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    if not config.deterministic or XLA_FLAG in flags:
        return
    from jax._src import xla_bridge  # nothing public tells

    if not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = " ".join([*flags, XLA_FLAG])


def check_determinism(config: Config) -> None:
    """**Raises:** `UserError` if JAX was begun without what `ask_for_determinism` sets."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    if config.deterministic and jax.default_backend() == "gpu" and XLA_FLAG not in flags:
        raise UserError(
            f"`train(Config(deterministic=True))` on a GPU needs `XLA_FLAGS={XLA_FLAG}` in the "
            f"environment before JAX begins to compute."
        )
