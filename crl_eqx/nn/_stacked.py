from collections.abc import Callable, Sequence
from typing import Generic, get_args, Literal, TypeAlias, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._errors import UserError
from .._types import PRNGKey


M = TypeVar("M", bound=eqx.Module)

Remat: TypeAlias = Literal["auto", "none", "dots", "block"]


def check_remat(remat: str) -> None:
    if remat not in get_args(Remat):
        raise UserError(f"`Stacked(remat={remat!r})` must be one of {get_args(Remat)}.")


def _checkpointed(body, remat: Remat):
    """Wraps a scan's body so that only what `remat` names outlives the forward pass."""
    match "dots" if remat == "auto" else remat:
        case "none":
            return body
        case "dots":
            keep = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
            return jax.checkpoint(body, prevent_cse=False, policy=keep)
        case _:
            # A scan's body cannot be merged with its neighbours, so the costly barrier that
            # prevents common-subexpression elimination is not needed.
            return jax.checkpoint(body, prevent_cse=False)


class Stacked(eqx.Module, Generic[M]):
    """`num_blocks` copies of one module, held as a single module with a leading axis.

    Behaves as this loop, but is traced and compiled once whatever `num_blocks`:

    ```python
    for block in stacked.unstacked():
        x = block(x)
    ```

    **Arguments:**

    - `make_block`: builds one block from a key; every block has the same shapes.
    - `num_blocks`: how many, at least 1.

    **Other arguments:**

    - `remat`: what the backward pass recomputes. `"none"` keeps every intermediate; `"dots"`
        keeps the matrix products and recomputes what is elementwise; `"block"` keeps each block's
        input only. `"auto"` is `"dots"`, the fastest on CPU: a narrow block costs memory traffic
        more than arithmetic. `bench/README.md` has time and memory of each.
    - `unroll`: blocks per iteration of the scan. More than 1 compiles longer.
    """

    blocks: M
    num_blocks: int = eqx.field(static=True)
    remat: Remat = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        make_block: Callable[[PRNGKey], M],
        num_blocks: int,
        *,
        remat: Remat = "auto",
        unroll: int = 1,
        key: PRNGKey,
    ):
        check_remat(remat)
        self.blocks = eqx.filter_vmap(make_block)(jax.random.split(key, num_blocks))
        self.num_blocks = num_blocks
        self.remat = remat
        self.unroll = unroll

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        arrays, static = eqx.partition(self.blocks, eqx.is_array)

        def body(x, arrays):
            return eqx.combine(arrays, static)(x), None

        x, _ = jax.lax.scan(_checkpointed(body, self.remat), x, arrays, unroll=self.unroll)
        return x

    def unstacked(self) -> Sequence[M]:
        """The blocks one by one, in the order in which they act."""
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        return [
            eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), static)
            for i in range(self.num_blocks)
        ]
