"""The warp-specialised forward kernel, in Mosaic's interpreter, which looks for races."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from crl_eqx.kernels import Compute, residual_tower, UnsupportedError
from crl_eqx.kernels.residual_tower._vjp import with_passes
from crl_eqx.kernels.residual_tower.cases import Case, CASES, draw

from .towers import distance, GPU, run_with, tower, value_and_gradient, weighed


pytestmark = pytest.mark.usefixtures("optimized")  # interpreted kernels take long


OLD = jax.__version_info__ < (0, 11)
interpreted_only = pytest.mark.skipif(
    OLD, reason="Mosaic's interpreter came with JAX 0.11, for Python 3.12 or newer: `make next`"
)
INTERPRETED = [
    CASES["one row"],
    CASES["not a multiple of the tile"],
    CASES["three networks"],
    Case(8, 256, 32),
]


def interpreted():
    import jax.experimental.pallas.mosaic_gpu as plgpu

    from crl_eqx.kernels.experimental.tower_mosaic import passes

    detect = plgpu.InterpretGPUParams(detect_races=True)
    return lambda x, params: with_passes((x, params), passes(interpret=detect))


@interpreted_only
@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_it_computes_the_tower_without_a_race(case, capfd):
    arrays = draw(case, key=jax.random.key(0))
    ours = value_and_gradient(interpreted(), *arrays)
    assert "RACE" not in capfd.readouterr().out
    plain = value_and_gradient(run_with(kernel="xla"), *arrays)
    packed = run_with(kernel="packed", precision="bf16")
    usual = distance(value_and_gradient(packed, *arrays), plain)
    assert 0 < distance(ours, plain) < 1.2 * usual


@interpreted_only
def test_the_value_alone_is_the_same():
    x, params = draw(CASES["not a multiple of the tile"], key=jax.random.key(0))
    packed = run_with(kernel="packed", precision="bf16")
    assert distance(interpreted()(x, params), packed(x, params)) < 2e-3


@interpreted_only
def test_under_vmap_over_seeds():
    draws = [draw(Case(4, 128, 5), key=jax.random.key(seed)) for seed in range(2)]
    x, params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    together = jax.jit(jax.vmap(interpreted()))(x, params)
    for y, (x, params) in zip(together, draws, strict=True):
        assert distance(y, run_with(kernel="packed", precision="bf16")(x, params)) < 2e-3


@interpreted_only
def test_a_race_would_be_seen(capfd, monkeypatch):
    """Without waiting for what still leaves shared memory, it is overwritten."""
    from crl_eqx.kernels.experimental import tower_mosaic as _mosaic

    wait = _mosaic.plgpu.wait_smem_to_gmem
    at_the_end = lambda n, wait_read_only=False: None if wait_read_only else wait(n)
    monkeypatch.setattr(_mosaic.plgpu, "wait_smem_to_gmem", at_the_end)
    value_and_gradient(interpreted(), *draw(CASES["one row"], key=jax.random.key(0)))
    assert "RACE DETECTED" in capfd.readouterr().out


@interpreted_only
@pytest.mark.parametrize("width", [128, 256])
def test_it_is_lowered_for_a_gpu(width):
    run = lambda x, p: residual_tower(x, p, Compute(kernel="mosaic", precision="bf16"))
    loss = lambda x, p: weighed(run(x, p))
    with jax.sharding.use_abstract_mesh(GPU):
        traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*tower(Case(8, width, 21)))
        assert "mosaic_gpu_v2" in traced.lower(lowering_platforms=("cuda",)).as_text()


def on(name):
    device = AbstractDevice(name, 108, "cuda")
    return AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=device)


@pytest.mark.parametrize(
    "mesh, width, precision, message",
    [
        (None, 128, "bf16", "a CPU: it needs a GPU"),
        (on("NVIDIA A100"), 128, "bf16", r"this GPU: it needs a Hopper GPU"),
        (GPU, 128, "auto", "precision='auto'`: it needs 'bf16'"),
        (GPU, 512, "bf16", "a width of 512 at `precision='bf16'`: it needs 128 or 256 at 'bf16'"),
    ],
)
def test_what_it_cannot_do(mesh, width, precision, message):
    run = lambda: residual_tower(
        *tower(Case(8, width, 21)), Compute(kernel="mosaic", precision=precision)
    )
    with pytest.raises(UnsupportedError, match=message):
        if mesh is None:
            run()
        else:
            with jax.sharding.use_abstract_mesh(mesh):
                run()


@pytest.mark.skipif(not OLD, reason="this JAX is new enough")
def test_it_needs_a_new_jax():
    with (
        jax.sharding.use_abstract_mesh(GPU),
        pytest.raises(UnsupportedError, match=r"JAX 0\.10.*: it needs 0.11 or newer"),
    ):
        residual_tower(*tower(Case(8, 128, 21)), Compute(kernel="mosaic", precision="bf16"))
