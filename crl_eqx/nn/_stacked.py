from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._checks import require_count, require_key, require_kind
from .._types import PRNGKey
from ..kernels import (
    AUTO,
    check_compute,
    Compute,
    Remat,
    residual_tower,
    residual_towers,
    runs_together,
    scan_blocks,
    takes_first,
    TowerParams,
    UnsupportedError,
)


M = TypeVar("M", bound=eqx.Module)


class Stacked(eqx.Module, Generic[M]):
    """`num_blocks` copies of one module, held as a single module with a leading axis.

    Behaves like this loop, but is traced and compiled only once, whatever `num_blocks`:

    ```python
    for block in stacked.unstacked():
        x = block(x)
    ```

    **Arguments:**

    - `make_block`: builds one block from a key; every block has the same shapes.
    - `num_blocks`: how many, at least 1.

    **Other arguments:**

    - `compute`: who computes a stack of [`crl_eqx.nn.ResidualBlock`][]s, to which precision, and
        what is recomputed, a [`crl_eqx.nn.Compute`][]. Other blocks, ablations included, support
        the kernels `"xla"` and `"checkpoint"`, which work for any scan. `remat="auto"` is
        `"dots"`, the fastest on CPU: a narrow block costs more in memory traffic than in
        arithmetic. `bench/README.md` has time and memory of each.

    **Raises:** `UserError` if there is no block, or these contradict each other, the blocks or the
    device.
    """

    blocks: M
    num_blocks: int = eqx.field(static=True)
    compute: Compute = eqx.field(static=True)

    def __init__(
        self,
        make_block: Callable[[PRNGKey], M],
        num_blocks: int,
        *,
        compute: Compute = AUTO,
        key: PRNGKey,
    ):
        require_count(num_blocks, f"Stacked(num_blocks={num_blocks!r})")
        require_kind(compute, Compute, f"Stacked(compute={compute!r})", "a `crl_eqx.nn.Compute`")
        require_key(key, "Stacked(..., key=...)")
        self.blocks = eqx.filter_vmap(make_block)(jax.random.split(key, num_blocks))
        self.num_blocks = num_blocks
        self.compute = compute
        if self.tower_params is None:
            self._check_general()
        check_compute(compute, width=self._width)

    @property
    def tower_params(self) -> TowerParams | None:
        """All blocks' parameters, where a kernel could take them."""
        return getattr(self.blocks, "tower_params", None)

    @property
    def _width(self) -> int | None:
        tower = self.tower_params
        return None if tower is None else tower.weights.shape[-1]

    @property
    def recomputed(self) -> Remat:
        """What a scan's backward pass recomputes: with `"xla"` nothing."""
        return "none" if self.compute.kernel == "xla" else self.compute.remat

    def _check_general(self) -> None:
        if self.compute.kernel not in ("auto", "xla", "checkpoint"):
            raise UnsupportedError(
                f"`Compute(kernel={self.compute.kernel!r})` needs residual blocks with LayerNorm "
                f"and swish; here 'auto', 'xla' or 'checkpoint' will do."
            )
        if self.compute.precision != "auto":
            raise UnsupportedError(
                f"`Compute(precision={self.compute.precision!r})` needs residual blocks with "
                f"LayerNorm and swish; here only 'auto' will do."
            )

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        if self.tower_params is None:
            return self._scan(x)
        return residual_tower(x, self.tower_params, self.compute)

    def _scan(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        block = lambda x, arrays: eqx.combine(arrays, static)(x)
        return scan_blocks(block, x, arrays, remat=self.recomputed, unroll=self.compute.unroll)

    def unstacked(self) -> Sequence[M]:
        """The blocks one by one, in the order in which they act."""
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        return [
            eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), static)
            for i in range(self.num_blocks)
        ]


def shared(trunks: Sequence[Any]) -> bool:
    """Whether a kernel runs those of them at once that are equal in shape."""
    towers = _towers(trunks)
    return towers is not None and runs_together(trunks[0].compute)


def run_together(
    trunks: Sequence[Any],
    xs: Sequence[Float[Array, "..."]],
    firsts: Sequence[Float[Array, "3 _"]] | None = None,
) -> list[Array]:
    """As `[trunk(x) for trunk, x in zip(trunks, xs)]`, in one scan where a kernel can.

    `firsts` are vectors of layers before them, whose products xs are, if `takes_firsts(trunks)`.
    """
    towers = _towers(trunks)
    if towers is None:
        return [trunk(x) for trunk, x in zip(trunks, xs, strict=True)]
    return residual_towers(xs, towers, trunks[0].compute, firsts=firsts)


def takes_firsts(trunks: Sequence[Any]) -> bool:
    """Whether norm and swish of the layers before them cost less with a kernel that runs them."""
    towers = _towers(trunks)
    if towers is None:
        return False
    return all(takes_first(trunks[0].compute, tower.weights.shape[-1]) for tower in towers)


def _towers(trunks: Sequence[Any]) -> list[TowerParams] | None:
    """Their parameters, if all are of the kind that a kernel could take, and say so alike."""
    stacks = [trunk for trunk in trunks if type(trunk) is Stacked]
    towers = [tower for stacked in stacks if (tower := stacked.tower_params) is not None]
    if len(towers) < len(trunks) or any(stacked.compute != stacks[0].compute for stacked in stacks):
        return None
    return towers
