"""Which code caused an error, in one sentence."""

import os
import sysconfig
import traceback
from importlib.util import find_spec
from pathlib import Path

from .._errors import first_line


_OURS = (
    "crl_eqx", "jax", "jaxlib", "equinox", "jaxtyping", "beartype", "optax", "numpy", "mujoco",
    "gymnasium", "msgspec", "rich", "tyro", "safetensors", "tensorboardX", "filelock", "matplotlib",
    "PIL", "imageio_ffmpeg",
)  # fmt: skip


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error).split()).rstrip('.')}."


def _no_backend() -> str | None:
    """Why JAX cannot compute on the requested platform, if it cannot."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        why = _one_line(error) if str(error) else "JAX finds no such device here."
        return f"`JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}`: {why}"
    return None


def _infrastructure() -> list[Path]:
    """Where the code is that no task's author wrote."""
    found = [find_spec(name) for name in _OURS]
    places = [place for spec in found if spec for place in spec.submodule_search_locations or ()]
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    here = Path(__file__).resolve().parents[1]
    linked = [(here / name).resolve() for name in ("envs", "kernels")]
    return [Path(place).resolve() for place in places] + [*map(Path, standard)] + [here, *linked]


def _is_within(file: Path, folders: list[Path]) -> bool:
    """Packages that are installed beside the standard library are not part of it."""
    if "site-packages" in file.parts or "dist-packages" in file.parts:
        folders = [f for f in folders if {"site-packages", "dist-packages"} & {*f.parts}]
    return any(file.is_relative_to(folder) for folder in folders)


def sentence_about(error: Exception) -> str | None:
    """What to say instead of a traceback; None if the error is this program's own.
    Names the innermost line that neither we nor our libraries wrote, or else the refused file.
    """
    folders = _infrastructure()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not _is_within(file.resolve(), folders):
            return (
                f"`{frame.filename}:{frame.lineno}`, in `{frame.name}`, raised "
                f"{type(error).__name__}: {first_line(error)} (`--debug` shows the traceback)"
            )
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"This needs the package `{error.name.partition('.')[0]}`, which is not installed: "
            f"install crl-eqx with what it needs (from a checkout: pip install -e .)."
        )
    if isinstance(error, RuntimeError) and "environment variable" in str(error):  # MUJOCO_GL
        return _one_line(error)
    if os.environ.get("JAX_PLATFORMS") and (why := _no_backend()):
        return why
    if isinstance(error, OSError) and error.strerror:
        where = f"`{error.filename}`: " if error.filename else ""
        return f"{where}{error.strerror}."
    return None
