"""How many control steps a second do the environments make?

    python bench/env_steps.py                        # native physics, one task of each kind
    python bench/env_steps.py --physics native mjx   # MJX compiles for up to a minute per line
    python bench/env_steps.py --tasks ant --envs 128 --seconds 5
    python bench/env_steps.py --tasks ant --envs 512 --randomize    # what randomization costs

Uniformly random actions; an environment that ends is reset at once, as in training, and the reset
is part of the time. Prints a table and writes it, with machine and versions, and a plot into
`--out`. `pairs` are the pairs of geoms that could touch.

Steps per second depend on what else the machine does (`load` beside each line tells: the number of
processes that wanted to run, ours included); steps per CPU second, over all threads, hardly do.
"""

import argparse
import functools
import itertools
import os
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
from _machine import write
from _measure import wide_console
from rich import box
from rich.console import Console
from rich.table import Table

from crl_eqx import envs


TASKS = (
    *("point_u_maze", "reacher", "pusher_hard", "cheetah", "ant", "ant_u_maze", "ant_big_maze"),
    *("ant_hardest_maze", "ant_ball", "ant_push", "humanoid", "humanoid_u_maze"),
    *("humanoid_hardest_maze", "arm_reach", "arm_grasp", "arm_push_hard", "arm_binpick_hard"),
)
SIZES = (1, 8, 32, 128, 512)
PHYSICS = ("native", "mjx", "warp")
WORLDS = dict(masses=(0.8, 1.2), friction=(0.7, 1.3), gains=(0.9, 1.1))
RANDOMIZED = {
    "": {},
    "worlds": WORLDS,
    "all": WORLDS | dict(sensor_noise=0.01, action_delay=(0, 2)),
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def unroll(env, env_states, key, steps):
    """`steps` control steps of a batch, ended environments being reset."""
    n = len(env_states.state)

    def step(env_states, key):
        action_key, reset_key = jax.random.split(key)
        actions = jax.random.uniform(action_key, (n, env.action_size), minval=-1, maxval=1)
        after = jax.vmap(env.step)(env_states, actions)
        fresh = reset(env, reset_key, n)
        pick = lambda new, old: jnp.where(
            after.terminated.reshape(n, *[1] * (old.ndim - 1)), new, old
        )
        return jax.tree.map(pick, fresh, after), None

    return jax.lax.scan(step, env_states, jax.random.split(key, steps))[0]


@functools.partial(jax.jit, static_argnums=(0, 2))
def reset(env, key, n):
    return jax.vmap(lambda key: env.reset(key=key))(jax.random.split(key, n))


def measure(task, physics, n, seconds, randomized=""):
    """The medians of five runs that take about `seconds` together."""
    env, key = envs.make(task, physics=physics), jax.random.key(0)
    if randomized:
        env = envs.randomize(env, **RANDOMIZED[randomized])
    state = reset(env, key, n)

    def timed(state, steps):
        begin, cpu = time.perf_counter(), time.process_time()
        state = jax.block_until_ready(unroll(env, state, key, steps))
        return state, (time.perf_counter() - begin, time.process_time() - cpu)

    state, (first, _) = timed(state, 10)
    state, (trial, _) = timed(state, 10)
    steps = max(10, int(10 * seconds / 5 / trial))
    state, _ = timed(state, steps)  # another length is another compilation
    runs = []
    for _ in range(5):
        state, taken = timed(state, steps)
        runs.append(taken)
    wall, cpu = zip(*runs, strict=True)
    return {
        "task": task,
        "physics": physics,
        "randomized": randomized,
        "pairs": int(env.model.npair),
        "envs": n,
        "steps_per_second": round(n * steps / statistics.median(wall)),
        "spread": [round(n * steps / max(wall)), round(n * steps / min(wall))],
        "steps_per_cpu_second": round(n * steps / statistics.median(cpu)),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "compile_seconds": round(first - trial, 2),
    }


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="control steps of random actions", box=box.SIMPLE)
    heads = [
        "task",
        "physics",
        "randomized",
        "pairs",
        "envs",
        "steps/s",
        "(spread)",
        "steps/\nCPU s",
        "load",
    ]
    for head in [*heads, "compile\ns"]:
        left = head in ("task", "physics", "randomized")
        table.add_column(head, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        cells = dict(row) | {"spread": "{:,} to {:,}".format(*row["spread"])}
        table.add_row(*(f"{x:,}" if isinstance(x, int) else str(x) for x in cells.values()))
    console.print(table)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Steps per second over environments, a line per task and physics."""
    matplotlib.use("Agg")
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    lines: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        name = " ".join(filter(None, [row["task"], row["physics"], row["randomized"]]))
        lines.setdefault(name, []).append((row["envs"], row["steps_per_second"]))
    for name, points in lines.items():
        axis.plot(*zip(*points, strict=True), "o-", label=name)
    axis.set(xscale="log", yscale="log", xlabel="environments", ylabel="control steps per second")
    axis.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=envs.names(), metavar="TASK")
    parser.add_argument("--physics", nargs="+", default=["native"], choices=PHYSICS)
    parser.add_argument("--randomize", action="store_true", help="also randomized, beside plain")
    parser.add_argument("--envs", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured time per line")
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    args = parser.parse_args()

    console, rows = wide_console(), []
    worlds = tuple(RANDOMIZED) if args.randomize else ("",)
    for task, physics, n, world in itertools.product(args.tasks, args.physics, args.envs, worlds):
        rows.append(measure(task, physics, n, args.seconds, world))
        name = " ".join(filter(None, [task, physics, world]))
        console.print(f"{name}, {n} environments: {rows[-1]['steps_per_second']:,} /s")
    show(rows, console)
    path = write("env_steps", rows, directory=args.out)
    plot(rows, path.with_suffix(".png"))
    console.print(f"written to {path.name} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
