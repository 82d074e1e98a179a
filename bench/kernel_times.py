"""Where does the time of an update go on the GPU at hand? Kernel by kernel.

    python bench/kernel_times.py                                  # depths 4 and 64, triton, bf16
    python bench/kernel_times.py --depths 16 --kernel packed:auto

A hundred updates in one loop on the device, as training makes them (width 256, batch 512, sizes of
the ant), traced by JAX's profiler: of each kernel how often it runs in an update, and how long in
all. What is left of an update's time is when none runs. On a CPU XLA's operations take their place,
of three tiny updates, which tries this script.
"""

import argparse
import collections
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from _machine import write
from _measure import rounded
from gpu_day import loop_of_updates


def events(folder: str) -> Iterator[tuple[str, float]]:
    """Names and microseconds of what a trace says ran on the device."""
    from jax.profiler import ProfileData

    on_device = "/device:GPU" if jax.default_backend() == "gpu" else "/host:CPU"
    streams = re.compile(r"Stream|tf_XLA")
    for path in Path(folder).rglob("*.xplane.pb"):
        for plane in ProfileData.from_file(str(path)).planes:
            if plane.name.startswith(on_device):
                for line in plane.lines:
                    if streams.search(line.name):
                        yield from ((e.name, e.duration_ns / 1e3) for e in line.events)


def by_kernel(ran: list[tuple[str, float]], updates: int) -> list[dict[str, Any]]:
    """The dearest first. Instances of one fusion, which differ by a number, are one kernel."""
    found: dict[str, list[float]] = collections.defaultdict(list)
    for name, microseconds in ran:
        found[re.sub(r"[._]\d+$", "", name)].append(microseconds)
    rows = [
        dict(name=name, per_update=len(took) / updates, us_per_update=sum(took) / updates)
        for name, took in found.items()
    ]
    return sorted(rows, key=lambda row: -row["us_per_update"])


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 64])
    parser.add_argument("--kernel", default="triton:bf16", metavar="KERNEL:PRECISION")
    parser.add_argument("--shown", type=int, default=40, help="so many of each depth")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    options = parser.parse_args()
    rows = []
    for depth in options.depths:
        small = jax.default_backend() == "cpu"
        cell = dict(depth=depth, kernel="packed:auto" if small else options.kernel, small=small)
        advance, updates = loop_of_updates(cell)
        jax.block_until_ready(advance())
        start = time.perf_counter()
        jax.block_until_ready(advance())
        wall = 1e6 * (time.perf_counter() - start) / updates
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready(advance())
            found = by_kernel(list(events(folder)), updates)
        busy = sum(row["us_per_update"] for row in found)
        launches = sum(row["per_update"] for row in found)
        about = dict(depth=depth, wall_us=wall, busy_us=busy, kernels_per_update=launches)
        print(json.dumps(rounded(about)))
        for row in found[: options.shown]:
            print(f"{row['us_per_update']:10.2f} us  {row['per_update']:7.2f} x  {row['name']}")
        rows.append(rounded(about | {"kernels": found}))
    print(f"written to {write('kernel_times', rows, directory=options.out).name}")


if __name__ == "__main__":
    main()
