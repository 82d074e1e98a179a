"""How networks are computed, as one object."""

import dataclasses
from typing import Literal, TypeAlias

from ._precision import Precision
from ._scan import Remat


Kernel: TypeAlias = Literal["auto", "xla", "checkpoint", "packed", "triton", "mosaic"]
"""Which implementation computes a stack of residual blocks. All compute the same from the same
parameters; `docs/kernels.md` says what each needs and when it wins."""


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the networks are computed: the same networks, faster or in less memory. May change on
    resuming."""

    kernel: Kernel = "auto"
    """Implementation of the residual blocks; docs/kernels.md says what each needs and when it wins.
    auto is packed on GPUs, else checkpoint."""
    precision: Precision = "auto"
    """What matrix products in the residual blocks round their operands to; auto is the hardware's
    usual."""
    remat: Remat = "auto"
    """What the backward pass recomputes: less memory for more arithmetic."""
    unroll: int = 1
    """Blocks per iteration of the scan over them: more than 1 compiles longer."""


AUTO = Compute()
"""The default."""
