"""`mosaic`: the forward pass as one warp-specialised kernel for Hopper; the backward pass is
`packed`'s.

One warpgroup only fetches: the tensor memory accelerator streams weights into a ring of slots in
shared memory, across the borders of layers. The other computes: its rows stay on chip. Rows are
columns here, [width, rows]: the tensor cores want at least 64 of what comes first, and a program
has 16 rows.
"""

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# Those are of JAX 0.11, for which this is written, and not of every JAX that can be installed.

import functools
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from .._norm_swish import EPSILON
from .._padding import padded_to
from ..residual_tower._packed import packed
from ..residual_tower._reference import BIAS, LAYERS_PER_BLOCK, OFFSET, SCALE, TowerParams
from ..residual_tower._vjp import Kept, Passes


ROWS = 16
"""Per program."""
COLUMNS = 64
"""Of the weights, per slot: 128 bytes of bfloat16, the widest swizzle."""
SLOTS = 5
VECTOR_SLOTS = 2
FETCHER_REGISTERS, COMPUTER_REGISTERS = 40, 208


def _tiled(columns: int) -> tuple[Any, ...]:
    """How matrices lie in shared memory, so that its banks do not conflict."""
    swizzle = min(128, 2 * columns)
    return plgpu.TilingTransform((8, swizzle // 2)), plgpu.SwizzleTransform(swizzle)


class _Where:
    """Which of the flattened arrays' leading entries belong to a block and a layer of a network."""

    def __init__(self, nets: int):
        self.nets = nets
        self.net = jax.lax.axis_index("net")

    def input(self, block):
        return block * self.nets + self.net

    def layer(self, index):
        """Of weights and vectors, `[blocks · nets · 4, …]`."""
        block, layer = jax.lax.div(index, LAYERS_PER_BLOCK), jax.lax.rem(index, LAYERS_PER_BLOCK)
        return self.input(block) * LAYERS_PER_BLOCK + layer

    def product(self, index):
        """Of z, `[blocks · 4 · nets, …]`."""
        return index * self.nets + self.net


def _fetch(w_g, v_g, s, where: _Where, depth: int, parts: int):
    """Keeps the ring full: slot after slot of the weights, and each layer's vectors beside."""

    def fetch(step, _):
        slot = jax.lax.rem(step, SLOTS)
        index, part = jax.lax.div(step, parts), jax.lax.rem(step, parts)

        @pl.when(step >= SLOTS)
        def _():
            plgpu.barrier_wait(s["w_empty"].at[slot])

        @pl.when(part == 0)
        def _():
            vector_slot = jax.lax.rem(index, VECTOR_SLOTS)

            @pl.when(index >= VECTOR_SLOTS)
            def _():
                plgpu.barrier_wait(s["v_empty"].at[vector_slot])

            plgpu.copy_gmem_to_smem(
                v_g.at[where.layer(index)],
                s["v"].at[vector_slot],
                s["v_full"].at[vector_slot],
            )

        columns = pl.ds(part * COLUMNS, COLUMNS)
        plgpu.copy_gmem_to_smem(
            w_g.at[where.layer(index), :, columns], s["w"].at[slot], s["w_full"].at[slot]
        )

    jax.lax.fori_loop(0, depth * parts, fetch, None)
    # What was given back last is waited for, too: no barrier is left half-way.
    for slot in range(min(SLOTS, depth * parts)):
        plgpu.barrier_wait(s["w_empty"].at[slot])
    for slot in range(min(VECTOR_SLOTS, depth)):
        plgpu.barrier_wait(s["v_empty"].at[slot])


def _compute(x_g, y_g, kept_g, s, where: _Where, depth: int, parts: int, width: int):
    """One layer after the other for the program's rows."""
    layout = plgpu.Layout.WGMMA
    rows = pl.ds(jax.lax.axis_index("rows") * ROWS, ROWS)
    turned = s["h"].transpose((1, 0))
    along_rows = lambda v: jax.lax.broadcast_in_dim(v, (width, ROWS), (1,))
    mean = lambda v: along_rows(jnp.sum(v, axis=0) * (1 / width))

    def store(value, scratch, to):
        """Through shared memory, asynchronously; what was stored before has left by then."""
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        scratch[...] = value.astype(scratch.dtype)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(scratch, to)

    def multiply(index, accumulator):
        for part in range(parts):
            slot = jax.lax.rem(index * parts + part, SLOTS)
            plgpu.barrier_wait(s["w_full"].at[slot])
            columns = pl.ds(part * COLUMNS, COLUMNS)
            h = s["h"].at[:, columns].transpose((1, 0))
            plgpu.wgmma(accumulator, s["w"].at[slot], h)
        plgpu.wgmma_wait(0)
        for part in range(parts):
            plgpu.barrier_arrive(s["w_empty"].at[jax.lax.rem(index * parts + part, SLOTS)])
        return accumulator[...]

    def one(index, x):
        if kept_g:

            @pl.when(jax.lax.rem(index, LAYERS_PER_BLOCK) == 0)
            def _():
                block = jax.lax.div(index, LAYERS_PER_BLOCK)
                store(x, s["out"], kept_g[0].at[where.input(block), :, rows])

        accumulator = plgpu.ACC((width, ROWS), jnp.float32)
        z = pl.run_scoped(functools.partial(multiply, index), accumulator)
        vector_slot = jax.lax.rem(index, VECTOR_SLOTS)
        plgpu.barrier_wait(s["v_full"].at[vector_slot])

        def vector(row):
            value = plgpu.load(s["v"].at[vector_slot, row], layout=layout.reduce(1))
            return jax.lax.broadcast_in_dim(value, (width, ROWS), (0,))

        z = z + vector(BIAS)
        if kept_g:
            store(z, s["out"], kept_g[1].at[where.product(index), :, rows])
        centred = z - mean(z)
        variance = jnp.sum(centred * centred, axis=0) * (1 / width)
        unit = centred * along_rows(jax.lax.rsqrt(variance + EPSILON))
        n = unit * vector(SCALE) + vector(OFFSET)
        h = n / (1.0 + jnp.exp(-n))
        # Numbers, as conditions between scalars and arrays are not taken here.
        last = (jax.lax.rem(index, LAYERS_PER_BLOCK) == LAYERS_PER_BLOCK - 1).astype(jnp.float32)
        h = h + x * last
        turned[...] = h.astype(s["h"].dtype)
        plgpu.commit_smem()
        plgpu.barrier_arrive(s["v_empty"].at[vector_slot])
        return x + (h - x) * last

    plgpu.copy_gmem_to_smem(x_g.at[where.net, :, rows], s["x"], s["x_full"])
    plgpu.barrier_wait(s["x_full"])
    x = plgpu.load(s["x"], layout=layout)
    turned[...] = x.astype(s["h"].dtype)
    plgpu.commit_smem()
    store(jax.lax.fori_loop(0, depth, one, x), s["x"], y_g.at[where.net, :, rows])
    plgpu.wait_smem_to_gmem(0)


def _forward(x, params: TowerParams, *, keep: bool, interpret: Any) -> tuple[Any, Any]:
    """y, and if `keep` also the blocks' inputs and z; arrays are turned on the way in and out."""
    blocks, nets, _, width, _ = params.weights.shape
    depth, parts, low = blocks * LAYERS_PER_BLOCK, width // COLUMNS, jnp.bfloat16
    padded = padded_to(x, ROWS)
    batch = padded.shape[1]
    turn = lambda leaf: jnp.swapaxes(leaf, -1, -2)
    weights = turn(params.weights).astype(low).reshape(-1, width, width)
    vectors = params.vectors.reshape(-1, 3, width)

    def tower_forward(x_g, w_g, v_g, y_g, *kept_g, **scratch):
        where = _Where(nets)

        @pl.when(jax.lax.axis_index("warpgroup") == 1)
        def _():
            plgpu.set_max_registers(FETCHER_REGISTERS, action="decrease")
            _fetch(w_g, v_g, scratch, where, depth, parts)

        @pl.when(jax.lax.axis_index("warpgroup") == 0)
        def _():
            plgpu.set_max_registers(COMPUTER_REGISTERS, action="increase")
            _compute(x_g, y_g, kept_g, scratch, where, depth, parts, width)

    shapes = [jax.ShapeDtypeStruct((nets, width, batch), jnp.float32)]
    if keep:
        shapes.append(jax.ShapeDtypeStruct((blocks * nets, width, batch), low))
        shapes.append(jax.ShapeDtypeStruct((depth * nets, width, batch), low))
    scratch = dict(
        w=plgpu.SMEM((SLOTS, width, COLUMNS), low, transforms=_tiled(COLUMNS)),
        v=plgpu.SMEM((VECTOR_SLOTS, 3, width), jnp.float32),
        h=plgpu.SMEM((ROWS, width), low, transforms=_tiled(COLUMNS)),
        x=plgpu.SMEM((width, ROWS), jnp.float32),
        out=plgpu.SMEM((width, ROWS), low),
        w_full=plgpu.Barrier(num_barriers=SLOTS),
        w_empty=plgpu.Barrier(num_barriers=SLOTS),
        v_full=plgpu.Barrier(num_barriers=VECTOR_SLOTS),
        v_empty=plgpu.Barrier(num_barriers=VECTOR_SLOTS),
        x_full=plgpu.Barrier(),
    )
    kernel = plgpu.kernel(
        tower_forward,
        out_type=shapes,
        grid=(batch // ROWS, nets),
        grid_names=("rows", "net"),
        num_threads=2,
        thread_name="warpgroup",
        interpret=interpret,
        compiler_params=plgpu.CompilerParams(
            approx_math=True,
            reduction_scratch_bytes=6144,
            lowering_semantics=plgpu.LoweringSemantics.Lane,
        ),
        scratch_types=scratch,
    )
    y, *kept = kernel(turn(padded), weights, vectors)
    y = turn(y)[:, : x.shape[1]]
    if not keep:
        return y, None
    back = lambda leaf, *lead: turn(leaf).reshape(*lead, nets, batch, width)[..., : x.shape[1], :]
    return y, Kept(back(kept[0], blocks), back(kept[1], blocks, LAYERS_PER_BLOCK))


def passes(*, interpret: Any = None) -> Passes:
    """Operands are bfloat16. `interpret`: `plgpu.InterpretGPUParams`, for platforms without the
    hardware, and to look for races."""
    forward = functools.partial(_forward, interpret=interpret)
    return Passes(
        lambda x, params: forward(x, params, keep=False)[0],
        lambda x, params: forward(x, params, keep=True),
        packed("bf16").backward,
    )
