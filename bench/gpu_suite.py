"""What do depth, batch, kernel and precision cost on this GPU? One command, ten minutes.

    python bench/gpu_suite.py                       # any NVIDIA GPU; neither MuJoCo nor network
    python bench/gpu_suite.py --minutes 30          # more of the cells
    python bench/gpu_suite.py --depths 4 --batch-sizes 32 --minutes 2   # a try, on CPUs too

First the ceilings of the card: copying, products, launching. Then, for every implementation and
precision: its error against float64, and the time of one update of all three networks (width 256,
sizes of the ant), beside that of the published update and beside the roofline: the time that
the arithmetic and the memory traffic of an update take at the card's own ceilings. Forward and
backward passes of three towers where `--passes` names the depth. Last, XLA's flags.

Cells are measured by importance and until the time is up; what was left out is written down as
such. Each implementation has a process of its own, so that one that fails takes none along. Writes
JSON, a Markdown table and a plot.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _machine import machine, write
from _measure import rounded


WIDTH = 256
BLOCK = 4
WAYS = [  # by importance
    ("packed", "auto"),
    ("triton", "bf16"),
    ("published", "auto"),
    ("packed", "bf16"),
    ("mosaic", "bf16"),
    ("checkpoint", "auto"),
    ("xla", "auto"),
    ("triton", "tf32"),
    ("packed", "f32"),
]
ERRORS = {"f32": 1e-5, "auto": 5e-3, "tf32": 5e-3, "bf16": 3e-2}
"""Largest allowed, relative to the norm, in value and gradient."""
DEEPEST_PUBLISHED = 64
"""The published update is unrolled: deeper, compiling it would take all the time."""
FLAGS = {
    "as it is": "",
    "loops in graphs": "--xla_gpu_enable_command_buffer=+WHILE",
    "loops in graphs, unrolled": "--xla_gpu_enable_command_buffer=+WHILE "
    "--xla_gpu_command_buffer_unroll_loops=true",
    "double buffering": "--xla_gpu_enable_while_loop_double_buffering=true",
    "no graphs": "--xla_gpu_enable_command_buffer=",
    "no dependent launch": "--xla_gpu_enable_pdl=false",
}


# Timing. Device work is asynchronous: several calls in a row, and one wait.


def seconds_each(call: Callable[[], Any], *, least: float = 0.2, repeats: int = 5) -> float:
    """Median over `repeats` of the mean over as many calls as take `least` seconds."""
    import jax

    def batch(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        jax.block_until_ready(result)
        return time.perf_counter() - start

    batch(2)  # warms up
    count = max(1, int(least / max(batch(1), 1e-6)))
    return statistics.median(batch(count) / count for _ in range(repeats))


def ceilings() -> dict[str, float]:
    """Bytes and operations per second, and seconds per launch."""
    import jax
    import jax.numpy as jnp

    on_gpu = jax.default_backend() == "gpu"
    size = 2**28 if on_gpu else 2**22
    x = jnp.arange(size, dtype=jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    found = {"bytes_per_second": 2 * 4 * size / seconds_each(lambda: copy(x))}
    side = 8192 if on_gpu else 512
    a, b = jax.random.normal(jax.random.key(0), (2, side, side))
    for name, dtype, precision in (
        ("f32", jnp.float32, "highest"),
        ("auto", jnp.float32, "default"),
        ("bf16", jnp.bfloat16, "default"),
    ):
        left, right = a.astype(dtype), b.astype(dtype)
        product = jax.jit(
            lambda a, b, precision=precision: jnp.matmul(
                a, b, precision=precision, preferred_element_type=jnp.float32
            )
        )
        seconds = seconds_each(lambda left=left, right=right, f=product: f(left, right))
        found[f"{name}_operations_per_second"] = 2 * side**3 / seconds

    def chain(x, launches):
        for _ in range(launches):
            x = jax.lax.optimization_barrier(x * 1.0001)
        return x

    small = jnp.ones(256)

    def seconds_of(launches):
        run = jax.jit(lambda x: chain(x, launches))
        return seconds_each(lambda: run(small))

    found["seconds_per_launch"] = max(seconds_of(220) - seconds_of(20), 0.0) / 200
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, lambda _, x: x * 1.0001, x))
    found["seconds_per_turn_of_a_loop"] = seconds_each(lambda: loop(small)) / 1000
    return found


def roofline(depth: int, batch_size: int, precision: str, ceiling: dict[str, float]) -> dict:
    """Milliseconds that one update takes at the card's ceilings, by what limits it.

    Eleven passes of one network: four forward (policy, φ, ψ, and φ at the policy's action), four
    back to the input, three to the weights. Each reads or writes its weights once. z is written
    once and read twice, the cotangents written once and read once; of φ at the policy's action z
    is read once, and no cotangent is kept. Adam moves 28 bytes a weight.
    """
    one_pass = 2 * batch_size * WIDTH**2 * depth
    size = 2 if precision == "bf16" else 4
    weights, activations = WIDTH**2 * depth, batch_size * WIDTH * depth
    moved = (8 * size + 3 * 4 + 3 * 28) * weights + (3 * 5 + 2) * activations * size
    kind = "auto" if precision == "tf32" else precision
    arithmetic = 11 * one_pass / ceiling[f"{kind}_operations_per_second"]
    memory = moved / ceiling["bytes_per_second"]
    return {"arithmetic_ms": 1e3 * arithmetic, "memory_ms": 1e3 * memory}


# What runs in processes of their own.


def _update(way: str, precision: str, depth: int, batch_size: int) -> tuple[Callable, Any, tuple]:
    """A donating step, its carry and its other arguments."""
    import _published
    import jax
    from _agents import (
        ANT,
        as_batch,
        donated,
        first_carry,
        make_update,
        new_agent,
        random_transitions,
    )

    transitions = random_transitions(ANT, batch_size, jax.random.key(1))
    if way == "published":
        state = _published.init(jax.random.key(0), ANT, depth=depth, width=WIDTH)
        return _published.update, state, (transitions,)
    network = dict(kernel=way, precision=precision)
    agent = new_agent(ANT, depth=depth, width=WIDTH, key=jax.random.key(0), **network)
    carry = first_carry(agent)
    step, arrays = donated(make_update(), carry)
    return step, arrays, (as_batch(transitions), jax.random.key(2))


def _timed_update(way: str, precision: str, depth: int, batch_size: int) -> dict[str, float]:
    from _measure import compiled

    step, carry, rest = _update(way, precision, depth, batch_size)
    step, cost = compiled(step, carry, *rest)
    held = {"carry": carry}
    del carry  # what is donated may be held nowhere else

    def call():
        held["carry"], metrics = step(held["carry"], *rest)
        return metrics

    memory = step.memory_analysis()
    planned = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    planned += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {"update_ms": 1e3 * seconds_each(call), "planned_mib": planned / 2**20} | cost


def _timed_passes(way: str, precision: str, depth: int, batch_size: int) -> dict[str, float]:
    """Of three towers together."""
    import jax
    import jax.numpy as jnp
    from precision import towers

    from crl_eqx.kernels.residual_tower.cases import Case, draw

    x, params = draw(Case(depth, WIDTH, batch_size, nets=3), key=jax.random.key(0))
    run = towers(way, precision)
    forward = jax.jit(run)
    backward = jax.jit(jax.grad(lambda x, p: jnp.sum(jnp.square(run(x, p))), (0, 1)))
    return {
        "forward_ms": 1e3 * seconds_each(lambda: forward(x, params)),
        "forward_and_backward_ms": 1e3 * seconds_each(lambda: backward(x, params)),
    }


def work(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The child's side: one row per cell, printed as soon as it is there."""
    from precision import errors

    way, precision = job["way"], job["precision"]
    slowest = 5.0
    for depth in job["checked"] if way != "published" else ():
        row = {"what": "error", "depth": depth}
        yield row | errors(way, precision, depth, width=WIDTH)
    for depth, batch_size in job["cells"]:
        cell = {"depth": depth, "batch_size": batch_size}
        if time.time() + slowest > job["until"]:
            yield {"what": "left_out"} | cell
            continue
        start = time.time()
        try:
            yield {"what": "update"} | cell | _timed_update(way, precision, depth, batch_size)
            if way != "published" and depth in job["passes"]:
                yield {"what": "passes"} | cell | _timed_passes(way, precision, depth, batch_size)
        except Exception as error:  # out of memory, most likely: the next cell may fit
            yield {"what": "failed"} | cell | {"error": f"{type(error).__name__}: {error}"[:300]}
        slowest = max(slowest, 1.5 * (time.time() - start))


def run_child(job: dict[str, Any], flags: str = "") -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--job", json.dumps(job)]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    if flags:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        rows.append({"what": "failed", "error": f"exit code {done.returncode}"})
    about = {name: job[name] for name in ("way", "precision") if name in job}
    return [about | row for row in rows]


def _unsupported() -> dict[str, str]:
    """Which ways this machine cannot go, and why. In a child: the parent must not hold the card."""
    [misfits, *_] = run_child({"ask": WAYS})
    return {way: misfit for way, misfit in misfits.items() if misfit}


def _ask(way: str, precision: str) -> str | None:
    from crl_eqx import UserError
    from crl_eqx.kernels import check_compute, Compute

    if way != "published":
        try:
            check_compute(Compute(way, precision), width=WIDTH)
        except UserError as error:
            return str(error)
    return None


# The parent: what is measured, in which order, and how it is shown.


def measure(args: argparse.Namespace) -> dict[str, Any]:
    until = time.time() + 60 * args.minutes
    [ceiling, *_] = run_child({"ceilings": True})
    if "bytes_per_second" not in ceiling:
        raise SystemExit(f"the ceilings could not be measured: {ceiling}")
    print("ceilings:", json.dumps(rounded(ceiling)), flush=True)
    first, *other = args.batch_sizes
    rounds = [
        [(depth, first) for depth in args.depths],
        [(depth, batch) for batch, depth in itertools.product(other, reversed(args.depths))],
    ]
    rows: list[dict[str, Any]] = []
    skipped = _unsupported()
    for turn, cells in enumerate(rounds):
        for place, (way, precision) in enumerate(WAYS):
            if f"{way}, {precision}" in skipped or not cells:
                continue
            if way == "published":
                cells_ = [cell for cell in cells if cell[0] <= DEEPEST_PUBLISHED]
            else:
                cells_ = cells
            # An equal share of what is left, and in the first round two for what comes after it.
            share = (until - time.time()) / (len(WAYS) - place + 2 * (turn == 0))
            job = {"way": way, "precision": precision, "cells": cells_, "passes": args.passes}
            job |= {"checked": args.checked if turn == 0 else [], "until": time.time() + share}
            new = run_child(job)
            rows += new
            print(f"{way}, {precision}: {sum('update_ms' in row for row in new)} cells", flush=True)
        if turn == 0:
            rows += list(_flags(args, time.time() + (until - time.time()) / 2))
    for row in rows:
        if "update_ms" in row:
            row |= roofline(row["depth"], row["batch_size"], row["precision"], ceiling)
    return {"ceilings": ceiling, "cannot_be_done_here": skipped, "rows": rows}


def _flags(args: argparse.Namespace, until: float) -> Iterator[dict[str, Any]]:
    """The update of the middle depth under each of XLA's settings, in turn until `until`."""
    depth = sorted(args.depths)[len(args.depths) // 2]
    for name, flags in FLAGS.items() if not args.no_flags else ():
        job = {"way": "packed", "precision": "auto", "cells": [(depth, args.batch_sizes[0])]}
        job |= {"checked": [], "passes": [], "until": until}
        yield from ({"flags": name} | row for row in run_child(job, flags))


def too_wrong(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['way']}, {row['precision']}, depth {row['depth']}: {name} {row[name]:.1e} is above "
        f"{ERRORS[row['precision']]:.0e}"
        for row in rows
        if row["what"] == "error"
        for name in ("value_error", "gradient_error")
        if not row[name] <= ERRORS[row["precision"]]
    ]


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "| batch | depth | kernel | precision | update (ms) | floor: arithmetic, memory (ms) "
        "| memory, as planned (MiB) | compile (s) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cells = [row for row in result["rows"] if "update_ms" in row and "flags" not in row]
    cells.sort(key=lambda row: (row["batch_size"], row["depth"], row["update_ms"]))
    for row in cells:
        lines.append(
            f"| {row['batch_size']} | {row['depth']} | {row['way']} | {row['precision']} | "
            f"{row['update_ms']:.3g} | {row['arithmetic_ms']:.2g}, {row['memory_ms']:.2g} | "
            f"{row['planned_mib']:,.0f} | {row['compile_seconds']:.3g} |"
        )
    flags = [row for row in result["rows"] if "flags" in row and "update_ms" in row]
    if flags:
        lines += ["", f"XLA's flags, packed, depth {flags[0]['depth']}:", ""]
        lines += ["| flags | update (ms) |", "|---|---|"]
        lines += [f"| {row['flags']} | {row['update_ms']:.3g} |" for row in flags]
    for what, title in (("left_out", "For want of time"), ("failed", "Failed")):
        left = [row for row in result["rows"] if row["what"] == what]
        lines += ["", f"{title}:", ""] if left else []
        for row in left:
            cell = " ".join(str(row[name]) for name in ("way", "precision") if name in row)
            cell += "".join(f", {n} {row[n]}" for n in ("depth", "batch_size") if n in row)
            lines.append(f"- {cell}: {row['error']}" if "error" in row else f"- {cell}")
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = [row for row in result["rows"] if "update_ms" in row and "flags" not in row]
    if not cells:
        return
    batches = sorted({row["batch_size"] for row in cells})
    figure, axes = plt.subplots(
        1, len(batches), figsize=(5 * len(batches), 4), sharey=True, squeeze=False
    )
    for axis, batch in zip(axes[0], batches, strict=True):
        for way, precision in WAYS:
            line = sorted(
                (row["depth"], row["update_ms"])
                for row in cells
                if (row["batch_size"], row["way"], row["precision"]) == (batch, way, precision)
            )
            if line:
                axis.plot(*zip(*line, strict=True), marker="o", label=f"{way}, {precision}")
        axis.set(xscale="log", yscale="log", xlabel="depth", title=f"batch {batch}")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("one update of all networks [ms]")
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = dict(type=int, nargs="+")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--depths", default=[64, 1024, 256, 16, 4], **numbers)
    parser.add_argument("--batch-sizes", default=[512, 256, 2048], **numbers)
    parser.add_argument("--passes", default=[64, 1024], **numbers, help="depths")
    parser.add_argument("--checked", default=[8, 64], **numbers, help="depths of the error check")
    parser.add_argument("--no-flags", action="store_true", help="do not try XLA's flags")
    parser.add_argument("--out", type=Path, help="default: bench/results")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        if "ask" in args.job:
            rows = [{", ".join(way): _ask(*way) for way in args.job["ask"]}]
        elif "ceilings" in args.job:
            rows = [ceilings()]
        else:
            rows = work(args.job)
        for row in rows:
            print(json.dumps(row), flush=True)
        return
    result = measure(args)
    table = markdown(result)
    print(table)
    for name, misfit in result["cannot_be_done_here"].items():
        print(f"{name}: {misfit}")
    if machine()["backend"] != "gpu":
        print("This is no GPU: of one, these numbers say nothing.")
    path = write("gpu_suite", directory=args.out, **rounded(result))
    path.with_suffix(".md").write_text(table)
    plot(result, path.with_suffix(".png"))
    print(f"written to {path.name}")
    failures = too_wrong(result["rows"])
    failures += [f"failed: {row}" for row in result["rows"] if row["what"] == "failed"]
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
