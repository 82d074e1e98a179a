"""A loop over blocks that is compiled once."""

from collections.abc import Callable
from typing import Any, get_args, Literal, TypeAlias

import jax

from .._checks import require_one_of
from ._precision import PRODUCT


Remat: TypeAlias = Literal["auto", "none", "dots", "block"]
"""What the backward pass recomputes. `"none"`: nothing; `"dots"`: all but the matrix products;
`"block"`: all but each block's input. `"auto"` is `"dots"`."""


def check_remat(remat: str) -> None:
    """**Raises:** `UserError` for an unknown one."""
    require_one_of(remat, get_args(Remat), f"remat={remat!r}")


def _checkpointed(body: Callable, remat: Remat) -> Callable:
    """Wraps a scan's body so that only what `remat` names is kept after the forward pass."""
    match "dots" if remat == "auto" else remat:
        case "none":
            return body
        case "dots":
            policies = jax.checkpoint_policies
            keep = policies.save_from_both_policies(
                policies.checkpoint_dots, policies.save_only_these_names(PRODUCT)
            )
            return jax.checkpoint(body, prevent_cse=False, policy=keep)
        case _:
            # A scan's body cannot be merged with its neighbours, so the costly barrier that
            # prevents common-subexpression elimination is not needed.
            return jax.checkpoint(body, prevent_cse=False)


def scan_blocks(
    block: Callable[[Any, Any], Any], x: Any, params: Any, *, remat: Remat, unroll: int
) -> Any:
    """Like this loop over the leading axis of `params`, but traced and compiled once:

    ```python
    for p in params:
        x = block(x, p)
    ```
    """
    body = lambda x, params: (block(x, params), None)
    return jax.lax.scan(_checkpointed(body, remat), x, params, unroll=unroll)[0]
