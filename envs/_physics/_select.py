import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import get_args, Literal, TypeAlias

import jax
import numpy as np

from ..._checks import require_count
from ..._errors import UserError
from .._mj import MjModel
from ._base import AbstractPhysics
from ._native import NativePhysics, num_cores


PhysicsName: TypeAlias = Literal["native", "mjx", "warp"]

PHYSICS: tuple[PhysicsName, ...] = get_args(PhysicsName)


# Measured with the ant on an H200 with 16 cores (docs/environments.md): the control steps per
# second that native physics makes on one core, and the seconds that MJX takes for one control step
# of all environments, for its launches and for each environment.
_NATIVE_RATE = 7_900.0
_MJX_LAUNCHES, _MJX_EACH = 0.014, 2e-6


def default_physics(num_envs: int = 512) -> Literal["native", "mjx"]:
    """`native` where JAX runs on a CPU, and where the cores beside an accelerator step `num_envs`
    environments faster than the accelerator does (512 environments: from 5 cores on); else `mjx`,
    if it is installed."""
    if jax.default_backend() == "cpu" or not has_mjx():
        return "native"
    native = num_envs / (_NATIVE_RATE * num_cores())
    return "native" if native < _MJX_LAUNCHES + _MJX_EACH * num_envs else "mjx"


def available_physics() -> tuple[PhysicsName, ...]:
    """Those that are installed and run where JAX computes."""

    def runs(require: Callable[[], None]) -> bool:
        try:
            require()
        except UserError:
            return False
        return True

    more: dict[PhysicsName, Callable[[], None]] = {"mjx": require_mjx, "warp": require_warp}
    return "native", *(name for name, require in more.items() if runs(require))


def select_physics(physics: str | None, model: MjModel, substeps: int | float) -> AbstractPhysics:
    """The engine of that name, or the default one.

    **Raises:** `UserError` if there is no such engine, it cannot run here, or `substeps` is not a
    whole number.
    """
    require_count(substeps, f"substeps={substeps!r}")
    assert isinstance(substeps, int | np.integer)
    physics = default_physics() if physics is None else physics
    if physics == "native":
        return NativePhysics(model, substeps)
    if physics == "mjx":
        require_mjx()
        from ._mjx import MjxPhysics  # takes seconds to import

        return MjxPhysics(model, substeps)
    if physics == "warp":
        require_warp()
        from ._warp import WarpPhysics

        return WarpPhysics(model, substeps)
    raise UserError(f"`physics={physics!r}`: no such physics; choose one of {', '.join(PHYSICS)}.")


def has_mjx() -> bool:
    """Whether MJX is installed."""
    return importlib.util.find_spec("mujoco.mjx") is not None


def require_mjx() -> None:
    """**Raises:** `UserError` if MJX is not installed, or is for another version of MuJoCo."""
    if not has_mjx():
        raise UserError(
            "`physics='mjx'` needs MJX, which comes with the extra `mjx` (from a checkout: pip "
            "install -e '.[mjx]'); native physics needs nothing more."
        )
    of = {name: importlib.metadata.version(name) for name in ("mujoco", "mujoco-mjx")}
    if of["mujoco"].split(".")[:2] != of["mujoco-mjx"].split(".")[:2]:
        raise UserError(
            f"`physics='mjx'`: MJX {of['mujoco-mjx']} is for that version of MuJoCo, and "
            f"{of['mujoco']} is installed: pip install 'mujoco~={of['mujoco-mjx']}', or choose "
            f"native."
        )


def require_warp() -> None:
    """**Raises:** `UserError` if Warp is not installed, or does not run where JAX computes."""
    require_mjx()
    if importlib.util.find_spec("warp") is None:
        raise UserError(
            "`physics='warp'` needs NVIDIA Warp, which comes with the extra `warp` (from a "
            "checkout: pip install -e '.[warp]')."
        )
    device = jax.devices()[0]
    cuda = "cuda" in device.client.platform_version.lower()
    if not (cuda or device.platform == "cpu"):
        raise UserError(
            f"`physics='warp'` runs on NVIDIA GPUs with CUDA, and JAX runs on {device}: choose "
            f"native or mjx, or pip install 'jax[cuda13]'."
        )
