"""Networks: residual blocks scanned over depth, and the encoders and policies made of them."""

from ..kernels import Compute as Compute, Kernel as Kernel, Precision as Precision, Remat as Remat
from ._activations import Activation as Activation, ACTIVATIONS as ACTIVATIONS
from ._actor import Actor as Actor, TanhNormal as TanhNormal
from ._audit import Audit as Audit, audit as audit, crl_passes as crl_passes
from ._encoder import Encoder as Encoder
from ._layers import Layer as Layer, LayerNorm as LayerNorm, Linear as Linear
from ._normalizer import Normalizer as Normalizer
from ._residual import ResidualBlock as ResidualBlock
from ._residual_mlp import (
    call_together as call_together,
    check_depth as check_depth,
    NetworkOptions as NetworkOptions,
    ResidualMLP as ResidualMLP,
    Tower as Tower,
)
from ._stacked import Stacked as Stacked
