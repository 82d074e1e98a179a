"""`packed`: both passes as scans in plain JAX, with a hand-written derivative.

JAX's own derivative of a scan stacks and unstacks every intermediate of a block; here only two
arrays leave the forward loop and one leaves the backward loop.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from .._norm_swish import norm_swish, through_norm_swish
from .._precision import dot, einsum, Precision, rounded
from ._reference import layers, TowerParams
from ._vjp import Kept, parameter_gradient, Passes


def _block(x, params: TowerParams, precision: Precision):
    """The block's output and the four z."""
    h, products = x, []
    for layer in layers(params):
        products.append(dot(h, layer.weight, precision) + layer.bias)
        h = norm_swish(products[-1], layer.scale, layer.offset)
    return x + h, jnp.stack(products)


def _block_backward(dy, params: TowerParams, products, precision: Precision):
    """The cotangents of the block's input and of its four layers' outputs."""
    dh, cotangents = dy, []
    for layer, z in zip(reversed(layers(params)), products[::-1], strict=True):
        cotangents.append(dh)
        dz = through_norm_swish(z, dh, layer.scale, layer.offset).product
        dh = einsum("nbo,nio->nbi", dz, layer.weight, precision)
    return dy + dh, jnp.stack(cotangents[::-1])


def packed(precision: Precision, *, keep_products: bool = True, unroll: int = 1) -> Passes:
    """`keep_products=False` keeps the blocks' inputs only, and computes z and the gradients of the
    weights block by block: a quarter of the memory for four more products a block."""
    scan = functools.partial(jax.lax.scan, unroll=unroll)

    def forward(x, params):
        return scan(lambda x, p: (_block(x, p, precision)[0], None), x, params)[0]

    def forward_keeping(x, params):
        def body(x, p):
            y, products = _block(x, p, precision)
            kept = (x, products) if keep_products else (x, None)
            return y, jax.tree.map(lambda leaf: rounded(leaf, precision), kept)

        y, kept = scan(body, x, params)
        return y, Kept(*kept)

    def backward(dy, params, kept, wanted) -> tuple[Any, Any]:
        def body(dy, here) -> tuple[Any, Any]:
            p, inputs, products = here
            if products is None:
                products = _block(inputs.astype(dy.dtype), p, precision)[1]
            dx, dh = _block_backward(dy, p, products, precision)
            if not wanted:
                return dx, None
            if keep_products:
                return dx, rounded(dh, precision)
            return dx, parameter_gradient(p, inputs, products, dh, precision)

        dx, out = scan(body, dy, (params, *kept), reverse=True)
        if wanted and keep_products:
            out = parameter_gradient(params, kept.inputs, kept.products, out, precision)
        return dx, out

    return Passes(forward, forward_keeping, backward)
