"""Keeps compiled programs for the next start."""

import os

import jax
import platformdirs


def use_compilation_cache() -> None:
    """Turns JAX's persistent compilation cache on, in the user's cache folder, unless JAX's own
    variables name another or turn it off. Programs that call back into Python, as native physics
    does, are not kept: JAX cannot."""
    if not {"JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"} & os.environ.keys():
        try:
            folder = platformdirs.user_cache_path("crl-eqx") / "compiled"
        except RuntimeError:  # neither HOME nor an entry in passwd, as in some containers
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
