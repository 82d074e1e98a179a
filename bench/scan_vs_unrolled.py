"""What does scanning over layers buy? Compile time, step time and memory by depth.

    python bench/scan_vs_unrolled.py                          # depths 4 to 1024
    python bench/scan_vs_unrolled.py --depths 4 16 --processes 1
    python bench/scan_vs_unrolled.py --remat none dots block  # every choice of rematerialisation
    python bench/scan_vs_unrolled.py --max-unrolled-depth 256 # unrolling that takes minutes
    python bench/scan_vs_unrolled.py --cores 1
    python bench/scan_vs_unrolled.py --kernels xla packed triton:bf16 --at-once --processes 1

One whole update of the three networks (the library's own `update`), once with the blocks scanned
over and once with the same blocks written out in a Python loop. Every measurement is a process of
its own, on whatever device JAX finds; medians over `--processes` of them; `--at-once` compiles in
all of them together, for machines with many cores, and times one after the other. `--kernels` are
what computes the blocks, `KERNEL` or `KERNEL:PRECISION`; `auto` is what training takes.

Before it is timed, a scanned network is compared with the plain loop over its blocks, and each
update's losses and gradient norms must be the same, scanned and unrolled.
"""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
from _agents import (
    ANT,
    as_batch,
    donated,
    first_carry,
    make_update,
    new_agent,
    random_transitions,
)
from _machine import machine, write
from _measure import (
    alternating,
    answer,
    compiled,
    in_fresh_process,
    in_fresh_processes,
    medians,
    peak_memory_mib,
    rounded,
    timed,
    turn,
    wide_console,
)
from rich import box
from rich.console import Console
from rich.table import Table

import crl_eqx


COMPARED = ("critic_loss", "actor_loss", "actor_grad_norm", "critic_grad_norm")
CPU_TOLERANCE = 2e-3
ACCELERATOR_TOLERANCE = 2e-2  # their default products are rounded to fewer bits, as TF32
LOOK_AT_THE_CLOCK = 0.1  # seconds between two looks, at least
UNROLLED = "unrolled"
SCANNED = "scan, "  # and then the rematerialisation
PANELS = (
    ("compile_seconds", "compile time [s]"),
    ("wall_seconds", "one update [s]"),
    ("temp_mib", "temporaries [MiB]"),
)


class Loop(eqx.Module):
    """The blocks one by one: the program grows with their number."""

    blocks: tuple[crl_eqx.nn.ResidualBlock, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


def unrolled(agent: crl_eqx.Agent) -> crl_eqx.Agent:
    parts = lambda a: (a.actor, a.critic.sa_encoder, a.critic.g_encoder)
    trunks = lambda a: [part.network.trunk for part in parts(a)]
    return eqx.tree_at(trunks, agent, [Loop(tuple(t.unstacked())) for t in trunks(agent)])


def tolerance() -> float:
    return CPU_TOLERANCE if jax.default_backend() == "cpu" else ACCELERATOR_TOLERANCE


def check_scan(agent: crl_eqx.Agent, x: jax.Array) -> None:
    """Raises unless the scanned trunk equals the loop over its blocks."""
    trunk = agent.actor.network.trunk
    one = eqx.filter_jit(lambda block, x: block(x))
    with jax.default_matmul_precision("highest"):
        scanned, looped = eqx.filter_jit(lambda trunk, x: trunk(x))(trunk, x), x
        for block in trunk.unstacked():
            looped = one(block, looped)
    off = float(jnp.max(jnp.abs(scanned - looped)) / jnp.max(jnp.abs(looped)))
    if not off < tolerance():
        raise SystemExit(f"scanned and looped outputs differ by {off}")


def network_of(variant: str) -> dict[str, str]:
    """The networks' keywords: of `scan, REMAT`, `KERNEL` or `KERNEL:PRECISION`."""
    if variant == UNROLLED:
        return {"remat": "none"}
    if variant.startswith(SCANNED):
        return {"remat": variant.removeprefix(SCANNED)}
    kernel, _, precision = variant.partition(":")
    return {"kernel": kernel, "precision": precision or "auto"}


def job(
    variant: str,
    depth: int,
    width: int,
    batch_size: int,
    seconds: float,
    meeting: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What runs in a process of its own."""
    key = jax.random.key(0)
    agent = new_agent(ANT, depth=depth, width=width, key=key, **network_of(variant))
    if variant == UNROLLED:
        agent = unrolled(agent)
    else:
        check_scan(agent, jax.random.normal(key, (8, width)))
    batch = as_batch(random_transitions(ANT, batch_size, key))
    carry = first_carry(agent)
    step, arrays = donated(make_update(), carry)
    del agent, carry
    executable, cost = compiled(in_a_row(step), arrays, batch, key, 1)
    cost["rss_after_compile_mib"] = peak_memory_mib()["peak_rss_mib"]

    with turn(meeting):
        arrays, metrics = executable(arrays, batch, key, 1)
        losses = {name: float(metrics[name]) for name in COMPARED}
        state = {"arrays": arrays}
        del arrays

        def updates(n: int):
            state["arrays"], _ = executable(state["arrays"], batch, key, n)
            return state["arrays"]

        _, trial, _ = timed(lambda: updates(1))
        n = math.ceil(LOOK_AT_THE_CLOCK / trial)
        rounds = max(2, min(100, math.ceil(seconds / (n * trial))))
        times = alternating({variant: lambda: updates(n)}, rounds)[variant]
        times = jax.tree.map(lambda seconds: seconds / n, times)
    about = {"depth": depth, "variant": variant, "width": width, "batch_size": batch_size}
    return about | cost | times | peak_memory_mib() | losses


def in_a_row(update: Any) -> Any:
    """`(arrays, batch, key, n) -> arrays, metrics` after n updates in one loop on the device, as
    training makes them: there nobody launches, or waits for, a single one."""

    def updates(arrays, batch, key, n):
        empty = jax.tree.map(jnp.zeros_like, jax.eval_shape(update, arrays, batch, key)[1])
        body = lambda _, carry: update(carry[0], batch, key)
        return jax.lax.fori_loop(0, n, body, (arrays, empty))

    return jax.jit(updates, donate_argnums=0)


def check_losses(rows: list[dict[str, Any]], tolerance: float) -> None:
    """Raises unless all variants of a depth computed the same losses and gradient norms."""
    reference = {row["depth"]: row for row in rows}
    for row in rows:
        for name in COMPARED:
            want = reference[row["depth"]][name]
            if not math.isclose(row[name], want, rel_tol=tolerance):
                where = f"at depth {row['depth']}, {row['variant']}"
                raise SystemExit(f"{where}: {name} is {row[name]}, elsewhere {want}")


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="one update of all three networks", box=box.SIMPLE)
    heads = ["depth", "variant", "compile\nwall s", "compile\nCPU s", "program\nlines"]
    heads += ["update\nwall s", "update\nCPU s", "temp.\nMiB", "RSS\nMiB"]
    for head in heads:
        left = head == "variant"
        table.add_column(head, justify="left" if left else "right", no_wrap=left)
    number = lambda x: "–" if x is None else f"{x:.3g}" if x < 100 else f"{x:,.0f}"
    for row in rows:
        names = ["compile_seconds", "compile_cpu_seconds", "program_lines", "wall_seconds"]
        names += ["cpu_seconds", "temp_mib", "peak_rss_mib"]
        cells = [number(row[name]) for name in names]
        table.add_row(str(row["depth"]), row["variant"], *cells)
    console.print(table)


def plot(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.8), layout="constrained")
    for axis, (name, label) in zip(axes, PANELS, strict=True):
        for variant in dict.fromkeys(row["variant"] for row in rows):
            points = [(r["depth"], r[name]) for r in rows if r["variant"] == variant and r[name]]
            style = "s--" if variant == UNROLLED else "o-"
            axis.plot(*zip(*points, strict=True), style, label=variant)
        axis.set(xscale="log", yscale="log", xlabel="depth", title=label)
        axis.set_xticks(depths := sorted({row["depth"] for row in rows}), map(str, depths))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 16, 64, 256, 1024])
    parser.add_argument("--max-unrolled-depth", type=int, default=64)
    parser.add_argument(
        "--remat", nargs="+", default=["auto"], choices=["auto", "none", "dots", "block"]
    )
    parser.add_argument("--kernels", nargs="+", default=["auto"], metavar="KERNEL[:PRECISION]")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--cores", type=int, default=None, help="default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="timed updates of each process")
    parser.add_argument("--processes", type=int, default=3, help="fresh ones; medians over them")
    parser.add_argument("--at-once", action="store_true", help="compile in all processes together")
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.job:
        return answer(job, **args.job)
    if args.at_once and args.cores:
        raise SystemExit("--at-once uses all cores; leave out --cores or --at-once")
    console, sizes = wide_console(), {"width": args.width, "batch_size": args.batch_size}
    scanned = [SCANNED + remat for remat in args.remat if "auto" in args.kernels]
    scanned += [kernel for kernel in args.kernels if kernel != "auto"]
    jobs = [
        sizes | dict(depth=depth, variant=variant, seconds=args.seconds)
        for depth in args.depths
        for _ in range(args.processes)
        for variant in scanned + [UNROLLED] * (depth <= args.max_unrolled_depth)
    ]
    about = machine()
    title = f"{', '.join(about['devices'])} ({about['processor']}), JAX {jax.__version__}"
    title += f", width {args.width}, batch {args.batch_size}"
    runs: dict[tuple[int, str], list[dict[str, Any]]] = {}
    one_by_one = (in_fresh_process(__file__, settings, cores=args.cores) for settings in jobs)
    for row in in_fresh_processes(__file__, jobs) if args.at_once else one_by_one:
        done = runs.setdefault((row["depth"], row["variant"]), [])
        done.append(row)
        console.print(
            f"depth {row['depth']}, {row['variant']}, process {len(done)} of {args.processes}: "
            f"compiled in {row['compile_seconds']:.1f} s, one update {row['wall_seconds']:.3g} s"
        )
        # after every row: the machine may be gone before the last
        rows = [medians(of_one) for of_one in runs.values()]
        path = write(
            "scan_vs_unrolled",
            rounded(rows),
            directory=args.out,
            cores_used=args.cores or os.cpu_count(),
            processes=args.processes,
            compiled_at_once=args.at_once,
        )
        plot(rows, title, path.with_suffix(".png"))
    show(rows, console)
    console.print(f"written to {path.name} and {path.with_suffix('.png').name}")
    check_losses(rows, tolerance())


if __name__ == "__main__":
    main()
