"""The command line keeps what it compiled; the library leaves JAX as it is."""

import os
import subprocess
import sys

import pytest


PROGRAM = """
import sys
import jax, jax.numpy as jnp
from crl_eqx import cli
assert jax.config.jax_compilation_cache_dir is None or "elsewhere" in sys.argv, "on import"
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
cli.run(["envs", "point_u_maze"])
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))
"""


def files_after(tmp_path, **variables):
    """What a command leaves in the cache folder of a user whose home is new."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    left_out = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    words = ["elsewhere"] if variables else []
    command = [sys.executable, "-c", PROGRAM, *words]
    subprocess.run(command, env=kept | home | variables, check=True, capture_output=True)
    return list((tmp_path / "cache" / "crl-eqx").rglob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="the folder has another place there")
def test_a_command_keeps_what_it_compiled_in_the_user_s_cache(tmp_path):
    assert any("jit" in path.name for path in files_after(tmp_path))


def test_jax_s_own_variables_are_heeded(tmp_path):
    assert files_after(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == []
    elsewhere = tmp_path / "elsewhere"
    assert files_after(tmp_path, JAX_COMPILATION_CACHE_DIR=str(elsewhere)) == []
    assert list(elsewhere.iterdir())
