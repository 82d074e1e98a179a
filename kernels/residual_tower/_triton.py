"""`triton`: both passes as one kernel each, in which a program keeps its rows on chip and walks all
layers; only weights stream by. On the way back it also sums what its rows add to the gradients of
the vectors, and leaves what the gradients of all weights are one batched product of. Norm and swish
of a layer before the blocks can be part of it: x is then that layer's product.

A program owns `rows` rows of one network. Its rows of a layer are held in pieces of `columns`
columns: Triton can neither join nor cut what is in registers, so products go piece by piece.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton
from jaxtyping import Array, Float

from .._norm_swish import EPSILON
from .._padding import padded_to
from .._precision import einsum, Precision
from ._reference import BIAS, LAYERS_PER_BLOCK, OFFSET, SCALE, TowerParams, WithFirst
from ._vjp import Passes


class Tiles(NamedTuple):
    """How a kernel is cut up, and the options of Triton's compiler."""

    rows: int
    columns: int
    num_warps: int
    num_stages: int
    """Of the software pipeline: more than 1 fetches the next layer's weights early."""


TILES: dict[tuple[int, bool], Tiles] = {
    (128, True): Tiles(16, 128, 4, 2),
    (256, True): Tiles(16, 128, 8, 2),
    (512, True): Tiles(16, 128, 8, 1),
    (128, False): Tiles(16, 64, 4, 2),
    (256, False): Tiles(16, 64, 8, 1),
}
"""By width, and whether operands are bfloat16. They compile for Hopper without spilled registers
and within its shared memory, as `make aot` checks; at width 512, TF32 does not."""


class _Kept(NamedTuple):
    """What is kept of every layer after the forward pass: its input, z with zero mean and unit
    variance over each row, and 1 / the divisor of that."""

    inputs: Float[Array, "blocks nets 4 batch width"]
    units: Float[Array, "blocks nets 4 batch width"]
    rstds: Float[Array, "blocks nets 4 batch"]
    product: Float[Array, "nets batch width"] | None = None
    """x itself, where it is the product of a first layer."""


def _by_layer(params: TowerParams, x: Float[Array, "nets batch width"]) -> tuple[int, ...]:
    """The shape of what has the rows of `x` for every layer."""
    blocks, nets, layers, *_ = params.weights.shape
    return blocks, nets, layers, *x.shape[1:]


Pieces = list[Any]
"""Of `[rows, width]`, side by side, each `[rows, columns]`."""


def _row_mean(pieces: Pieces, width: int) -> Any:
    # The warps share a row, and wait for each other in every sum over it: one, not one a piece.
    return jnp.sum(functools.reduce(jnp.add, pieces), axis=1, keepdims=True) * (1 / width)


def _unit(z: Pieces, width: int) -> tuple[Pieces, Any]:
    """As `norm_swish`'s `unit`, of pieces."""
    mean = _row_mean(z, width)
    centred = [p - mean for p in z]
    rstd = jax.lax.rsqrt(_row_mean([p * p for p in centred], width) + EPSILON)
    return [p * rstd for p in centred], rstd


class _Vectors(NamedTuple):
    """Of one layer."""

    bias: Pieces
    scale: Pieces
    offset: Pieces


def _norm_swish(product: Pieces, vectors: _Vectors, width: int) -> tuple[Pieces, Pieces, Any]:
    """The layer's output, and unit and rstd of its LayerNorm."""
    unit, rstd = _unit([p + b for p, b in zip(product, vectors.bias, strict=True)], width)
    n = [u * s + o for u, s, o in zip(unit, vectors.scale, vectors.offset, strict=True)]
    return [p * jax.nn.sigmoid(p) for p in n], unit, rstd


def _through_norm_swish(
    dh: Pieces, unit: Pieces, rstd: Any, vectors: _Vectors, width: int
) -> tuple[Pieces, Pieces]:
    """dn and dz, as `through_norm_swish`, of pieces."""
    dn = []
    for d, u, scale, offset in zip(dh, unit, vectors.scale, vectors.offset, strict=True):
        n = u * scale + offset
        gate = jax.nn.sigmoid(n)
        dn.append(d * gate * (1 + n * (1 - gate)))
    dunit = [d * scale for d, scale in zip(dn, vectors.scale, strict=True)]
    mean = _row_mean(dunit, width)
    along = _row_mean([d * u for d, u in zip(dunit, unit, strict=True)], width)
    return dn, [rstd * (d - mean - u * along) for d, u in zip(dunit, unit, strict=True)]


class _Place(NamedTuple):
    """Where one program works."""

    program: Any
    net: Any
    rows: Any
    columns: list[Any]
    width: int

    @classmethod
    def here(cls, tiles: Tiles, width: int) -> "_Place":
        columns = [pl.ds(i * tiles.columns, tiles.columns) for i in range(width // tiles.columns)]
        program = pl.program_id(0)
        rows = pl.ds(program * tiles.rows, tiles.rows)
        return cls(program, pl.program_id(1), rows, columns, width)

    def _layer(self, block=None, layer=None) -> tuple[Any, ...]:
        """Its network's part of what has one for each layer, or for each network alone."""
        return (self.net,) if block is None else (block, self.net, layer)

    def rows_of(self, *where) -> tuple[Any, ...]:
        """Where its rows lie in `[nets, batch, width]`, or in what has a row of each layer."""
        return *self._layer(*where), self.rows

    def read(self, ref, *where) -> Pieces:
        return [ref[(*self.rows_of(*where), c)].astype(jnp.float32) for c in self.columns]

    def write(self, ref, pieces: Pieces, *where) -> None:
        for c, piece in zip(self.columns, pieces, strict=True):
            ref[(*self.rows_of(*where), c)] = piece.astype(ref.dtype)

    def read_of_rows(self, ref, *where) -> Any:
        """A number of each row, to be broadcast over the columns."""
        return ref[self.rows_of(*where)][:, None]

    def write_of_rows(self, ref, value, *where) -> None:
        ref[self.rows_of(*where)] = value[:, 0]

    def write_sums(self, ref, dn: Pieces, unit: Pieces, dz: Pieces, *where) -> None:
        """The sums of its rows, where the gradients of a layer's vectors are gathered."""
        along_unit = [d * u for d, u in zip(dn, unit, strict=True)]
        for row, pieces in ((BIAS, dz), (SCALE, along_unit), (OFFSET, dn)):
            for c, piece in zip(self.columns, pieces, strict=True):
                ref[(*self._layer(*where), row, self.program, c)] = jnp.sum(piece, axis=0)

    def vectors(self, ref, *where) -> _Vectors:
        of = lambda row: [ref[(*self._layer(*where), row, c)][None, :] for c in self.columns]
        return _Vectors(of(BIAS), of(SCALE), of(OFFSET))

    def products(self, h: Pieces, ref, block, layer, *, dot, transposed: bool = False) -> Pieces:
        """h W, or h Wᵀ."""
        at = lambda i, j: ref[block, self.net, layer, self.columns[i], self.columns[j]]
        each = range(len(self.columns))
        weights = lambda i, j: at(j, i) if transposed else at(i, j)
        # One piece of h after the other: every warp needs all of a piece, so that many at once
        # would fill its registers.
        total: Pieces = []
        for i in each:
            parts = [dot(h[i], weights(i, j), trans_b=transposed) for j in each]
            total = [t + p for t, p in zip(total, parts, strict=True)] if total else parts
        return total


def _block_and_layer(index):
    # Not // and %, whose rules for negative numbers Triton's lowering does not take.
    return jax.lax.div(index, LAYERS_PER_BLOCK), jax.lax.rem(index, LAYERS_PER_BLOCK)


def _forward_kernel(x_ref, w_ref, v_ref, *refs, depth: int, tiles: Tiles, dot, with_first: bool):
    count = 1 if with_first else 0
    first, (y_ref, *kept) = refs[:count], refs[count:]
    width = w_ref.shape[-1]
    place, operand = _Place.here(tiles, width), w_ref.dtype
    start = place.read(x_ref)
    for ref in first:
        start, *_ = _norm_swish(start, place.vectors(ref), width)

    def one(index, carry):
        h, x = carry
        block, layer = _block_and_layer(index)
        if kept:
            place.write(kept[0], h, block, layer)
        products = place.products(h, w_ref, block, layer, dot=dot)
        h, unit, rstd = _norm_swish(products, place.vectors(v_ref, block, layer), width)
        if kept:
            place.write(kept[1], unit, block, layer)
            place.write_of_rows(kept[2], rstd, block, layer)
        last = layer == LAYERS_PER_BLOCK - 1
        h = [jnp.where(last, p + q, p) for p, q in zip(h, x, strict=True)]
        x = [jnp.where(last, p, q) for p, q in zip(h, x, strict=True)]
        return [p.astype(operand) for p in h], x

    carry = [p.astype(operand) for p in start], start
    place.write(y_ref, jax.lax.fori_loop(0, depth, one, carry)[1])


def _backward_kernel(dy_ref, w_ref, v_ref, *refs, depth: int, tiles: Tiles, dot, with_first: bool):
    count = 2 if with_first else 0
    first, (unit_ref, rstd_ref, dx_ref, *kept) = refs[:count], refs[count:]
    width = w_ref.shape[-1]
    place, operand = _Place.here(tiles, width), w_ref.dtype
    start = place.read(dy_ref)

    def one(step, carry):
        dh, dy = carry
        block, layer = _block_and_layer(depth - 1 - step)
        vectors = place.vectors(v_ref, block, layer)
        unit = place.read(unit_ref, block, layer)
        rstd = place.read_of_rows(rstd_ref, block, layer)
        dn, dz = _through_norm_swish(dh, unit, rstd, vectors, width)
        if kept:
            place.write_sums(kept[1], dn, unit, dz, block, layer)
        dz = [p.astype(operand) for p in dz]
        if kept:
            place.write(kept[0], dz, block, layer)
        dh = place.products(dz, w_ref, block, layer, dot=dot, transposed=True)
        at_start = layer == 0
        dh = [jnp.where(at_start, p + q, p) for p, q in zip(dh, dy, strict=True)]
        return dh, [jnp.where(at_start, p, q) for p, q in zip(dh, dy, strict=True)]

    dx, _ = jax.lax.fori_loop(0, depth, one, (start, start))
    if first:
        vectors, product = place.vectors(first[0]), place.read(first[1])
        _, unit, rstd = _norm_swish(product, vectors, width)
        dn, dx = _through_norm_swish(dx, unit, rstd, vectors, width)
        if kept:
            place.write_sums(kept[2], dn, unit, dx)
    place.write(dx_ref, dx)


def passes(
    precision: Precision,
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Passes:
    """Of `WithFirst`. `interpret` runs the kernels on any platform, slowly, in float32 where
    `precision` is not "bf16"."""
    low = precision == "bf16"
    tf32 = None if low or interpret else "TF32_TF32_F32"
    dot = functools.partial(pltriton.dot, precision=tf32)
    operand = jnp.bfloat16 if low else jnp.float32

    def run(kernel, name: str, arrays, params: WithFirst, outputs):
        tower, first = params
        firsts = [] if first is None else [first]
        blocks, nets, _, width, _ = tower.weights.shape
        depth = blocks * LAYERS_PER_BLOCK
        cut = tiles or TILES[width, low]
        call = pl.pallas_call(
            functools.partial(kernel, depth=depth, tiles=cut, dot=dot, with_first=bool(firsts)),
            grid=(arrays[0].shape[1] // cut.rows, nets),
            out_shape=outputs,
            # Named, as without these some versions of JAX would choose another compiler.
            compiler_params=pltriton.CompilerParams(
                num_warps=cut.num_warps, num_stages=cut.num_stages
            ),
            interpret=interpret,
            name=name,
        )
        x, *others = arrays
        return call(x, tower.weights.astype(operand), tower.vectors, *firsts, *others)

    def padded(x, params):
        width = params.tower.weights.shape[-1]
        return padded_to(x, (tiles or TILES[width, low]).rows)

    def forward(x, params):
        rows = padded(x, params)
        like = jax.ShapeDtypeStruct(rows.shape, x.dtype)
        return run(_forward_kernel, "tower_forward", [rows], params, [like])[0][:, : x.shape[1]]

    def forward_keeping(x, params):
        rows = padded(x, params)
        *lead, width = _by_layer(params.tower, rows)
        kind = jax.ShapeDtypeStruct
        of_layers, of_rows = kind((*lead, width), operand), kind(tuple(lead), jnp.float32)
        outputs = [kind(rows.shape, x.dtype), of_layers, of_layers, of_rows]
        y, *kept = run(_forward_kernel, "tower_forward", [rows], params, outputs)
        return y[:, : x.shape[1]], _Kept(*kept, product=None if params.first is None else rows)

    def backward(dy, params, kept, wanted) -> tuple[Any, WithFirst | None]:
        rows = padded(dy, params)
        *lead, batch, width = kept.units.shape
        _, nets, _ = lead
        kind = jax.ShapeDtypeStruct
        outputs = [kind(rows.shape, dy.dtype)]
        if wanted:
            programs = batch // (tiles or TILES[width, low]).rows
            sums = lambda *lead: kind((*lead, 3, programs, width), jnp.float32)
            outputs += [kind(kept.units.shape, operand), sums(*lead)]
            outputs += [] if kept.product is None else [sums(nets)]
        product = [] if kept.product is None else [kept.product]
        arrays = [rows, *product, kept.units, kept.rstds]
        dx, *found = run(_backward_kernel, "tower_backward", arrays, params, outputs)
        dx = dx[:, : dy.shape[1]]
        if not wanted:
            return dx, None
        dz, *sums = found
        dweights = einsum("...bd,...be->...de", kept.inputs, dz, precision)
        dtower = TowerParams(dweights, jnp.sum(sums[0], axis=-2))
        dfirst = None if kept.product is None else jnp.sum(sums[1], axis=-2)
        return dx, WithFirst(dtower, dfirst)

    return Passes(forward, forward_keeping, backward)
