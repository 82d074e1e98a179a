"""What deep networks spend their time on, in interchangeable implementations, one folder each.

They know nothing of reinforcement learning.
"""

if not __name__.startswith("crl_eqx."):
    raise ImportError("Write `import crl_eqx.kernels`: a second copy would not know the first.")

from ._compute import AUTO as AUTO, Compute as Compute, Kernel as Kernel
from ._platform import platform as platform
from ._precision import check_precision as check_precision, Precision as Precision
from ._scan import check_remat as check_remat, Remat as Remat, scan_blocks as scan_blocks
from ._unsupported import UnsupportedError as UnsupportedError
from .residual_tower import (
    check_compute as check_compute,
    choose as choose,
    chosen as chosen,
    residual_tower as residual_tower,
    residual_towers as residual_towers,
    runs_together as runs_together,
    takes_first as takes_first,
    TowerParams as TowerParams,
)
