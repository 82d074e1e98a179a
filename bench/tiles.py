"""Which cut of the Triton kernels is the fastest on the GPU at hand?

    python bench/tiles.py                                # width 256, bf16
    python bench/tiles.py --width 128 --precision tf32
    python bench/tiles.py --depth 16 --batch-size 2048

The passes of a tower, after a first layer where the kernel takes its norm and swish in, by every
way to cut it into programs: forward, forward keeping what the way back needs, back, and back with
the gradients of all parameters; of three networks together and of one alone, as an update has both.
All compile at once and are timed one after the other, medians of five. Each is first compared with
XLA's in float32. What the GPU cannot hold says so. On a CPU the kernels are interpreted, which
tries this script and says nothing of any GPU.
The library takes its cuts from `TILES` in `crl_eqx/kernels/residual_tower/_triton.py`.
"""

import argparse
import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _machine import write
from _measure import rounded
from gpu_suite import seconds_each

from crl_eqx.kernels import Compute, takes_first
from crl_eqx.kernels.residual_tower import reference
from crl_eqx.kernels.residual_tower._reference import after_first, WithFirst
from crl_eqx.kernels.residual_tower._triton import passes, Tiles
from crl_eqx.kernels.residual_tower._vjp import Passes
from crl_eqx.kernels.residual_tower.cases import Case, draw_with_first


LEAST = 0.01
"""Seconds that calls in a row take, of which the median of five is told."""
TOLERANCE = {"bf16": 3e-2, "tf32": 3e-3}
"""Of value and gradient, relative to their norms."""


def cuts(width: int, stages: list[int]) -> Iterator[Tiles]:
    columns = [columns for columns in (64, 128, 256) if columns <= width]
    yield from itertools.starmap(Tiles, itertools.product((16, 32), columns, (4, 8, 16), stages))


def steps(way: Passes, x: jax.Array, params: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, compiled; by name."""
    y, kept = jax.eval_shape(way.forward_keeping, x, params)
    build = lambda f, *args: jax.jit(f).lower(*args).compile()
    forward = build(way.forward, x, params)
    keeping = build(way.forward_keeping, x, params)
    back = lambda wanted: build(lambda *args: way.backward(*args, wanted), y, params, kept)
    to_input, to_all = back(False), back(True)
    _, held = keeping(x, params)
    return {
        "forward_us": lambda: forward(x, params),
        "forward_keeping_us": lambda: keeping(x, params),
        "backward_us": lambda: to_input(x, params, held),
        "backward_to_parameters_us": lambda: to_all(x, params, held),
    }


@jax.jit
def exact(x: jax.Array, params: Any) -> Any:
    """What `forward`, and `backward_to_parameters` with x as y's cotangent, give in float32."""

    def tower(x, params):
        return reference(after_first(x, params.first), params.tower, "f32")

    y, back = jax.vjp(tower, x, params)
    return y, back(x)


def distance(ours: Any, plain: Any) -> float:
    """The largest over all arrays."""
    apart = lambda a, b: jnp.linalg.norm((a - b).ravel()) / jnp.linalg.norm(b.ravel())
    return max(float(x) for x in jax.tree.leaves(jax.tree.map(apart, ours, plain)))


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", choices=list(TOLERANCE), default="bf16")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    options = parser.parse_args()
    first = takes_first(Compute("triton", options.precision), options.width)

    def drawn(nets: int) -> tuple[jax.Array, WithFirst]:
        case = Case(options.depth, options.width, options.batch_size, nets)
        return draw_with_first(case, key=jax.random.key(0), first=first)

    arrays = [drawn(nets) for nets in (3, 1)]
    results = lambda step: (step["forward_us"](), step["backward_to_parameters_us"]())
    expected = [exact(*of) for of in arrays]

    interpret = jax.default_backend() == "cpu"

    def compiled(cut: Tiles) -> list[dict[str, Callable]] | str:
        try:
            way = passes(options.precision, tiles=cut, interpret=interpret)
            return [steps(way, *of) for of in arrays]
        except Exception as error:  # too much memory on the chip, or what Triton cannot do
            return str(error).splitlines()[0][:200]

    def measured(cut: Tiles, found: list[dict[str, Callable]] | str) -> Iterator[dict[str, Any]]:
        if isinstance(found, str):
            yield {**cut._asdict(), "failed": found}
            return
        for (x, _), step, wanted in zip(arrays, found, expected, strict=True):
            error = distance(results(step), wanted)
            row = {**cut._asdict(), "nets": len(x), "error": error}
            if error < TOLERANCE[options.precision]:
                row |= {name: 1e6 * seconds_each(call, least=LEAST) for name, call in step.items()}
            yield row

    rows = []
    tried = list(cuts(options.width, options.stages))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        built = list(threads.map(compiled, tried))
    for cut, found in zip(tried, built, strict=True):
        for row in measured(cut, found):
            rows.append(rounded(row))
            print(json.dumps(rows[-1]), flush=True)
        path = write("tiles", rows, directory=options.out)  # the machine may be gone soon
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
