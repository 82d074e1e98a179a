"""Kernels that no run chooses by itself: examples, and what is not yet proven to be faster."""

from .norm_swish import norm_swish as norm_swish
