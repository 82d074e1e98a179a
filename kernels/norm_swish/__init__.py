"""swish(LayerNorm(z)), what follows every Dense layer: the smallest operation of a tower."""

from ._api import norm_swish as norm_swish
from ._reference import (
    EPSILON as EPSILON,
    reference as reference,
    through_norm_swish as through_norm_swish,
    unit as unit,
)
