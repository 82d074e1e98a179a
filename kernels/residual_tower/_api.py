from collections.abc import Callable, Sequence
from typing import Any, get_args, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._errors import UserError
from .._platform import platform
from .._precision import check_precision, Precision
from .._scan import check_remat, Remat
from ._packed import packed
from ._reference import LAYERS_PER_BLOCK, TowerParams
from ._scan import scanned
from ._vjp import with_passes


Implementation: TypeAlias = Literal["xla", "checkpoint", "packed"]


class UnsupportedError(UserError, NotImplementedError):
    """An implementation was asked for what it cannot do."""


class Options(NamedTuple):
    """What every implementation is told besides its arrays."""

    precision: Precision = "auto"
    remat: Remat = "auto"
    unroll: int = 1


Run: TypeAlias = Callable[[Any, TowerParams, Options], Any]


class _Way(NamedTuple):
    """One implementation, and what it can do."""

    run: Run
    """From `[batch, width]` to the same; with a leading axis of networks, `nets`, if `together`."""
    remats: tuple[Remat, ...]
    together: bool
    """Whether several towers at once cost less than one after the other."""


def _xla(x, params, options):
    return scanned(x, params, **options._replace(remat="none")._asdict())


def _checkpoint(x, params, options):
    return scanned(x, params, **options._asdict())


def _packed(x, params, options):
    keep = options.remat != "block"
    passes = packed(options.precision, keep_products=keep, unroll=options.unroll)
    return with_passes((x, params), passes)


_WAYS: dict[str, _Way] = {
    "xla": _Way(_xla, ("auto", "none"), together=False),
    "checkpoint": _Way(_checkpoint, ("auto", "dots", "block"), together=False),
    "packed": _Way(_packed, ("auto", "dots", "block"), together=True),
}


def check_implementation(implementation: str | None, *, remat: str = "auto") -> None:
    """Raises `UserError` for an unknown name, and for one that contradicts `remat`."""
    check_remat(remat)
    if implementation is None:
        return
    if implementation not in _WAYS:
        raise UserError(
            f"`implementation={implementation!r}` must be None (choose) or one of "
            f"{get_args(Implementation)}."
        )
    remats = _WAYS[implementation].remats
    if remat not in remats:
        raise UnsupportedError(
            f"`implementation={implementation!r}` cannot be had with `remat={remat!r}`, but with "
            f"{' or '.join(map(repr, remats))}."
        )


def choose(remat: Remat = "auto", where: str | None = None) -> Implementation:
    """What `implementation=None` stands for on the platform `where`, default the one here."""
    if remat == "none":
        return "xla"
    return "packed" if (where or platform()) == "gpu" else "checkpoint"


def _check_arrays(x: Any, params: TowerParams) -> None:
    weights, vectors = (leaf.shape for leaf in params)
    width = weights[-1]
    if weights[-3:] != (LAYERS_PER_BLOCK, width, width) or vectors[-3:] != (
        LAYERS_PER_BLOCK,
        3,
        width,
    ):
        raise UserError(
            f"`residual_tower` takes weights [blocks, {LAYERS_PER_BLOCK}, width, width] and "
            f"vectors [blocks, {LAYERS_PER_BLOCK}, 3, width]; these are {weights} and {vectors}."
        )
    if x.shape[-1] != width:
        raise UserError(f"`residual_tower` of width {width} was given an x of shape {x.shape}.")


def residual_tower(
    x: Float[Array, "*batch width"],
    params: TowerParams,
    *,
    implementation: Implementation | None = None,
    precision: Precision = "auto",
    remat: Remat = "auto",
    unroll: int = 1,
) -> Float[Array, "*batch width"]:
    """`x` through all blocks of a tower, block(x) = x + f₄(f₃(f₂(f₁(x)))), f = swish ∘ LN ∘ Dense.

    **Arguments:**

    - `params`: weights `[blocks, 4, width, width]` and vectors `[blocks, 4, 3, width]`.
    - `implementation`: a name of `crl_eqx.kernels.Implementation`; None chooses by platform.
        All compute the same, from the same parameters; `docs/kernels.md` says when which wins.

    **Other arguments:**

    - `precision`: what matrix products round their operands to.
    - `remat`: what the backward pass recomputes.
    - `unroll`: blocks per iteration of a scan.

    **Raises:** `UserError` for unknown names, arrays that do not fit and empty batches; its
    subclass `UnsupportedError` where the named implementation cannot do what it is asked for.
    """
    return residual_towers(
        [x],
        [params],
        implementation=implementation,
        precision=precision,
        remat=remat,
        unroll=unroll,
    )[0]


def residual_towers(
    xs: Sequence[Float[Array, "..."]],
    params: Sequence[TowerParams],
    *,
    implementation: Implementation | None = None,
    precision: Precision = "auto",
    remat: Remat = "auto",
    unroll: int = 1,
) -> list[Float[Array, "..."]]:
    """As this loop; on a GPU, towers and batches of equal shapes go through one scan together:

    ```python
    [residual_tower(x, p) for x, p in zip(xs, params)]
    ```
    """
    check_implementation(implementation, remat=remat)
    check_precision(precision, platform())
    for x, p in zip(xs, params, strict=True):
        _check_arrays(x, p)
    empty = any(x.size == 0 for x in xs)
    name = implementation or ("xla" if empty else choose(remat))
    way = _WAYS[name]
    if empty and way.together:
        raise UnsupportedError(
            f"`residual_tower(implementation={name!r})` was given an empty batch, of shape "
            f"{next(x.shape for x in xs if x.size == 0)}; 'xla' can do that."
        )
    run = lambda x, p: way.run(x, p, Options(precision, remat, unroll))
    flat = [x.reshape(-1, x.shape[-1]) for x in xs]
    alike = {(x.shape, x.dtype, p.weights.shape) for x, p in zip(flat, params, strict=True)}
    if way.together and len(alike) == 1:
        ys = list(run(jnp.stack(flat), jax.tree.map(lambda *p: jnp.stack(p, axis=1), *params)))
    elif way.together:
        alone = lambda p: TowerParams(*(leaf[:, None] for leaf in p))
        ys = [run(x[None], alone(p))[0] for x, p in zip(flat, params, strict=True)]
    else:
        ys = [run(x, p) for x, p in zip(flat, params, strict=True)]
    return [y.reshape(x.shape) for x, y in zip(xs, ys, strict=True)]
