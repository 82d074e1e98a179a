"""How wrong are value and gradient, by depth and precision?

    python bench/precision.py                   # depths 4 to 1024, a quarter of an hour on one core
    python bench/precision.py --depths 64 --ways xla,f32 packed,bf16

Of three residual towers of width 256 with weights as at the start of training, against the same in
float64: ‖ours - exact‖ / ‖exact‖. Runs on whatever device JAX finds.
"""

import argparse
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _machine import write
from _measure import rounded

from crl_eqx.kernels import Compute, TowerParams
from crl_eqx.kernels.residual_tower.cases import Case, draw, run_stacked


WIDTH = 256
WAYS = ["xla,f32", "packed,f32", "packed,bf16"]


def towers(way: Any, precision: Any) -> Callable:
    """`[nets, batch, width]` through as many towers."""

    return functools.partial(run_stacked, compute=Compute(way, precision))


def _value_and_gradient(run: Callable, x: jax.Array, params: TowerParams) -> Any:
    def loss(x, params):
        y = run(x, params)
        # A fixed cotangent: that of a curved loss would carry the error of y into the gradient.
        cotangent = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        return jnp.sum(y * cotangent), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, params)
    return y, gradient


def errors(way: str, precision: str, depth: int, *, width: int = WIDTH) -> dict[str, float]:
    """`value_error` and `gradient_error`."""
    x, params = draw(Case(depth, width, batch=37, nets=3), key=jax.random.key(depth))
    ours = _value_and_gradient(towers(way, precision), x, params)
    found = {}
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tree)
        exact = _value_and_gradient(towers("xla", "f32"), *wide((x, params)))
        square = lambda tree: sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(tree))
        apart = jax.tree.map(jnp.subtract, wide(ours), exact)
        for name, difference, whole in zip(("value", "gradient"), apart, exact, strict=True):
            found[f"{name}_error"] = (square(difference) / square(whole)) ** 0.5
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 16, 64, 256, 1024])
    parser.add_argument("--ways", nargs="+", default=WAYS, help="kernel,precision")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--out", type=Path, help="default: bench/results")
    args = parser.parse_args()
    rows = []
    print("| depth | kernel | precision | value | gradient |\n|---|---|---|---|---|")
    for depth, words in itertools.product(args.depths, args.ways):
        way, precision = words.split(",")
        row = errors(way, precision, depth, width=args.width)
        rows.append({"depth": depth, "kernel": way, "precision": precision} | row)
        values = " | ".join(f"{value:.1e}" for value in row.values())
        print(f"| {depth} | {way} | {precision} | {values} |", flush=True)
    print(f"written to {write('precision', rounded(rows), directory=args.out).name}")


if __name__ == "__main__":
    main()
