from typing import final, Unpack

import equinox as eqx
from jaxtyping import Array, Float

from .._checks import require_count
from .._types import PRNGKey, Repr
from ._residual_mlp import check_depth, NetworkOptions, ResidualMLP, Tower


@final
class Encoder(eqx.Module):
    """φ(s, a), φ(s) or ψ(g): a [`crl_eqx.nn.ResidualMLP`][] whose output is a representation.

    Called with its inputs one by one, `encoder(state, action)`; `in_size` is their sum.
    `**network` are the keywords of [`crl_eqx.nn.ResidualMLP`][].
    """

    network: ResidualMLP

    def __init__(
        self,
        in_size: int,
        *,
        repr_size: int = 64,
        depth: int = 16,
        key: PRNGKey,
        **network: Unpack[NetworkOptions],
    ):
        check_depth(depth, f"Encoder(depth={depth!r})")
        require_count(repr_size, f"Encoder(repr_size={repr_size!r})")
        self.network = ResidualMLP(in_size, repr_size, depth=depth, key=key, **network)

    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Repr:
        return self.network(*inputs)

    def as_tower(self) -> Tower:
        return Tower(self.network)
