from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._checks import require_count, require_one_of
from ..._errors import UserError
from .._compute import AUTO, Compute, Kernel
from .._groups import apart, by_group
from .._platform import AMPERE, capability, on_amd, on_hopper, platform
from .._precision import check_precision
from .._scan import check_remat, Remat
from .._unsupported import import_pallas, UnsupportedError
from ._packed import packed
from ._reference import LAYERS_PER_BLOCK, TowerParams, WithFirst
from ._scan import scanned
from ._vjp import with_passes


class _Entry(NamedTuple):
    """One implementation, and what it can do."""

    run: Callable[..., Any]
    """Of x, parameters and compute, from `[batch, width]` to the same; with a leading axis of
    networks if `together`. At `first_widths` it may be given a first layer's vectors, too."""
    remats: tuple[Remat, ...]
    together: bool = False
    """Whether several towers at once cost less than one after the other."""
    widths: dict[str, tuple[int, ...]] | None = None
    """By precision. None: any width at any."""
    loops: bool = True
    """Whether there is a loop over blocks to unroll."""
    needs: str | None = None
    """A platform."""
    first_widths: tuple[int, ...] = ()
    """Widths at which norm and swish of a first layer can be part of it."""
    hopper: bool = False
    """Whether the platform must be a GPU of the Hopper generation, and JAX at least 0.11."""


def _xla(x, params, compute):
    return scanned(x, params, precision=compute.precision, remat="none", unroll=compute.unroll)


def _checkpoint(x, params, compute):
    precision, remat, unroll = compute.precision, compute.remat, compute.unroll
    return scanned(x, params, precision=precision, remat=remat, unroll=unroll)


def _packed(x, params, compute):
    keep = compute.remat != "block"
    passes = packed(compute.precision, keep_products=keep, unroll=compute.unroll)
    return with_passes((x, params), passes)


def _triton(x, params, compute, first=None):
    triton = import_pallas(f"{__package__}._triton", "`kernel='triton'`")
    return with_passes((x, WithFirst(params, first)), triton.passes(compute.precision))


def _mosaic(x, params, compute):
    mosaic = import_pallas("crl_eqx.kernels.experimental.tower_mosaic", "`kernel='mosaic'`")
    return with_passes((x, params), mosaic.passes())


_ENTRIES: dict[str, _Entry] = {
    "xla": _Entry(_xla, ("auto", "none")),
    "checkpoint": _Entry(_checkpoint, ("auto", "dots", "block")),
    "packed": _Entry(_packed, ("auto", "dots", "block"), together=True),
    "triton": _Entry(
        _triton,
        ("auto", "dots"),
        together=True,
        widths={"auto": (128, 256), "tf32": (128, 256), "bf16": (128, 256, 512)},
        loops=False,
        first_widths=(128, 256),  # at 512 the way back would spill registers
        needs="gpu",
    ),
    "mosaic": _Entry(
        _mosaic,
        ("auto", "dots"),
        together=True,
        widths={"bf16": (128, 256)},
        loops=False,
        needs="gpu",
        hopper=True,
    ),
}


def _one_of(choices: Sequence[Any]) -> str:
    return " or ".join(map(repr, choices))


SMALL = {(8, 6), (8, 9), (12, 0), (12, 1)}
"""Compute capabilities of GPUs whose programs share 99 KiB, as an L4's or an RTX 4090's."""


def _on_this_gpu(widths: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """Without those whose tiles, which are cut for a Hopper GPU, this one could not hold: compiled
    ahead of time for an L4, bf16 at a width of 256 asks for 132 KiB."""
    if capability() not in SMALL:
        return widths
    return {name: fit[:1] if name == "bf16" else fit for name, fit in widths.items()}


def _misfit(entry: _Entry, compute: Compute, width: int | None) -> tuple[str, str] | None:
    """What an implementation does not support, and what it needs."""
    if entry.needs not in (None, platform()):
        return f"a {platform().upper()}", f"a {entry.needs.upper()}"
    if entry.needs == "gpu" and (on_amd() or (capability() or AMPERE) < AMPERE):
        return "this GPU", "one of NVIDIA's, of compute capability 8.0 or newer"
    if entry.hopper and not on_hopper():
        return "this GPU", "a Hopper GPU (H100 or H200)"
    if compute.remat not in entry.remats:
        return f"`remat={compute.remat!r}`", _one_of(entry.remats)
    if entry.widths and compute.precision not in entry.widths:
        return f"`precision={compute.precision!r}`", _one_of(list(entry.widths))
    if compute.unroll != 1 and not entry.loops:
        return f"`unroll={compute.unroll}`", "1, as it has no loop that XLA sees"
    widths = _on_this_gpu(entry.widths or {})
    if widths and width is not None and width not in widths[compute.precision]:
        fitting = "; ".join(f"{_one_of(w)} at {p!r}" for p, w in widths.items())
        return f"a width of {width} at `precision={compute.precision!r}`", fitting
    if entry.hopper and jax.__version_info__ < (0, 11):
        return f"JAX {jax.__version__}", "0.11 or newer (Python 3.12 or newer)"
    return None


def check_compute(compute: Compute, *, width: int | None = None) -> None:
    """**Raises:** `UserError` for unknown words; its subclass `UnsupportedError` for a kernel that
    contradicts the other choices, the width or the platform."""
    check_remat(compute.remat)
    check_precision(compute.precision, platform())
    require_count(compute.unroll, f"Compute(unroll={compute.unroll!r})")
    require_one_of(compute.kernel, get_args(Kernel), f"kernel={compute.kernel!r}")
    if compute.kernel == "auto":
        return
    misfit = _misfit(_ENTRIES[compute.kernel], compute, width)
    if misfit:
        raise UnsupportedError(
            f"`kernel={compute.kernel!r}` does not support {misfit[0]}: it needs {misfit[1]}; "
            f"`kernel='auto'` chooses one that fits."
        )


def choose(remat: Remat = "auto") -> Kernel:
    """What `kernel="auto"` stands for here.

    On an H200 `packed` is faster than what XLA makes of the plain or the unrolled blocks at every
    depth from 4 on, `checkpoint` is the fastest on CPUs (docs/kernels.md).
    """
    if remat == "none":
        return "xla"
    return "packed" if platform() == "gpu" else "checkpoint"


def runs_together(compute: Compute) -> bool:
    """Whether `residual_towers` takes towers of equal shapes at once here."""
    return _chosen(compute).together


def takes_first(compute: Compute, width: int) -> bool:
    """Whether `residual_towers(firsts=...)` is for towers of this width here."""
    return width in _chosen(compute).first_widths


def chosen(compute: Compute) -> Kernel:
    """The kernel that computes here: never "auto"."""
    return choose(compute.remat) if compute.kernel == "auto" else compute.kernel


def _chosen(compute: Compute) -> _Entry:
    return _ENTRIES[chosen(compute)]


def _check_arrays(x: Any, params: TowerParams) -> None:
    weights, vectors = (leaf.shape for leaf in params)
    blocks, width = weights[0], weights[-1]
    matrices = (blocks, LAYERS_PER_BLOCK, width, width)
    if weights != matrices or vectors != (blocks, LAYERS_PER_BLOCK, 3, width):
        raise UserError(
            f"`residual_tower` takes weights [blocks, {LAYERS_PER_BLOCK}, width, width] and "
            f"vectors [blocks, {LAYERS_PER_BLOCK}, 3, width]; these are {weights} and {vectors}."
        )
    kinds = {leaf.dtype for leaf in params}
    if kinds not in ({jnp.dtype("float32")}, {jnp.dtype("float64")}):
        names = " and ".join(sorted(map(str, kinds)))
        raise UserError(
            f"`residual_tower` takes parameters all in float32 or all in float64, not {names}; "
            f"`precision` says what products round them to."
        )
    if x.shape[-1] != width:
        raise UserError(f"`residual_tower` of width {width} was given an x of shape {x.shape}.")


def _check_firsts(firsts: Sequence[Any], params: Sequence[TowerParams], compute: Compute) -> None:
    for first, tower in zip(firsts, params, strict=True):
        width, kind = tower.weights.shape[-1], tower.weights.dtype
        if not takes_first(compute, width):
            raise UnsupportedError(
                f"`residual_towers(firsts=...)` is not for `kernel={compute.kernel!r}` at width "
                f"{width} here: call it with what the first layers give."
            )
        if (first.shape, first.dtype) != ((3, width), kind):
            raise UserError(
                f"`residual_towers(firsts=...)` takes vectors [3, {width}] of {kind} here; one is "
                f"{first.shape} of {first.dtype}."
            )


def residual_tower(
    x: Float[Array, "*batch width"],
    params: TowerParams,
    compute: Compute = AUTO,
) -> Float[Array, "*batch width"]:
    """`x` through all blocks of a tower, block(x) = x + f₄(f₃(f₂(f₁(x)))), f = swish ∘ LN ∘ Dense.

    **Arguments:**

    - `x`: of any floating type; the parameters' is computed in and returned.
    - `params`: weights `[blocks, 4, width, width]` and vectors `[blocks, 4, 3, width]`.
    - `compute`: who computes it, to which precision, and what the backward pass recomputes.

    Only `"xla"` and `"checkpoint"` support forward-mode differentiation (`jax.jvp`), not at
    `"bf16"`.

    **Raises:** `UserError` for unknown names, arrays that do not fit and empty batches; its
    subclass `UnsupportedError` if the named kernel cannot do what is asked.
    """
    return residual_towers([x], [params], compute)[0]


def residual_towers(
    xs: Sequence[Float[Array, "..."]],
    params: Sequence[TowerParams],
    compute: Compute = AUTO,
    *,
    firsts: Sequence[Float[Array, "..."]] | None = None,
) -> list[Float[Array, "..."]]:
    """Like this loop, but on a GPU towers and batches of equal shapes share one scan:

    ```python
    [residual_tower(x, p) for x, p in zip(xs, params)]
    ```

    Where `takes_first` says so, `firsts` may be bias, scale and offset, `[3, width]`, of a layer
    before each tower, whose products xs then are; x stands for norm_swish(x + bias, scale, offset).
    """
    for x, p in zip(xs, params, strict=True):
        _check_arrays(x, p)
        check_compute(compute, width=x.shape[-1])
    if firsts is not None:
        _check_firsts(firsts, params, compute)
    empty = any(x.size == 0 for x in xs)
    name = compute.kernel
    if name == "auto":
        name = "xla" if empty else choose(compute.remat)
    entry = _ENTRIES[name]
    if empty and entry.together:
        raise UnsupportedError(
            f"`residual_tower(..., Compute(kernel={name!r}))` was given an empty batch, of shape "
            f"{next(x.shape for x in xs if x.size == 0)}; 'xla' can do that."
        )
    if entry.widths and any(p.weights.dtype != jnp.float32 for p in params):
        raise UnsupportedError(f"`kernel={name!r}` takes parameters in float32 only.")
    flat = [
        x.reshape(-1, x.shape[-1]).astype(p.weights.dtype) for x, p in zip(xs, params, strict=True)
    ]
    if not entry.together:
        ys = [entry.run(x, p, compute) for x, p in zip(flat, params, strict=True)]
    else:

        def run(of: list[int]) -> Any:
            stacked = jax.tree.map(lambda *each: jnp.stack(each, 1), *(params[i] for i in of))
            first = [] if firsts is None else [jnp.stack([firsts[i] for i in of])]
            return apart(entry.run(jnp.stack([flat[i] for i in of]), stacked, compute, *first))

        shapes = [(x.shape, x.dtype, p.weights.shape) for x, p in zip(flat, params, strict=True)]
        ys = by_group(shapes, run)
    return [y.reshape(x.shape) for x, y in zip(xs, ys, strict=True)]
