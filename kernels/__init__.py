"""Fused kernels, one folder each; they know nothing of reinforcement learning.

None has been written yet: every network runs on what XLA makes of plain JAX.
"""

if not __name__.startswith("crl_eqx."):
    raise ImportError("Write `import crl_eqx.kernels`: a second copy would not know the first.")
