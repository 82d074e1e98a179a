"""swish(LayerNorm(z)), what follows every Dense layer: the smallest operation of a tower."""

from ._reference import (
    EPSILON as EPSILON,
    norm_swish as norm_swish,
    through_norm_swish as through_norm_swish,
)
