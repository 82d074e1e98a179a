"""Kernels that no run chooses by itself: examples, and those not yet proven faster."""

from .norm_swish import norm_swish as norm_swish
