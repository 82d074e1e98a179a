"""What does it cost to draw the training data of one step, ours against the published sampler?

    python bench/replay.py               # 800 × 512 samples of 512 environments × 1,000 steps
    python bench/replay.py --cores 2

The published sampler builds a matrix of steps × steps for every environment; it needs 9 GB and
half a minute here. Each sampler runs in processes of its own, on the same stored steps: states,
actions and goals of the ant's sizes, episodes of random lengths. Before the timing every sample's
goal is checked to lie in its own episode, and both must draw goals from the same distance on
average. Extra memory is what the compiled program allocates besides its input (temporaries and
the samples), and what the process is seen to grow by.

`ours` draws all samples at once, as the published sampler must. `ours, batch by batch` draws where
they lie at once and reads each batch when it is its turn, as the train step does.
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import _published
import jax
import jax.numpy as jnp
import numpy as np
from _agents import ANT
from _machine import write
from _measure import (
    alternating,
    answer,
    compiled,
    in_fresh_process,
    medians,
    MIB,
    peak_rss_from_now,
    rounded,
    wide_console,
)
from rich import box
from rich.console import Console
from rich.table import Table

import crl_eqx


SAMPLERS = "published", "ours", "ours, batch by batch"
TIME, EPISODE, ENV = 0, 1, 2  # numbers of the state that tell where it comes from


def stored_steps(num_steps: int, num_envs: int, seed: int = 0) -> crl_eqx.Transition:
    """Steps of every environment, `[num_steps, num_envs, ...]`; an episode ends at any step with
    the chance 1/400, as of an ant that falls."""
    random = np.random.default_rng(seed)
    shape = num_steps, num_envs
    ends = random.random(shape) < 1 / 400
    episode = np.cumsum(ends, axis=0) - ends
    state = random.standard_normal((*shape, ANT.state), np.float32)
    state[..., TIME] = np.arange(num_steps)[:, None]
    state[..., EPISODE] = episode
    state[..., ENV] = np.arange(num_envs)[None, :]
    action = random.uniform(-1, 1, (*shape, ANT.action)).astype(np.float32)
    goal = np.zeros((*shape, ANT.goal), np.float32)
    return crl_eqx.Transition(*map(jnp.asarray, (state, action, goal, episode.astype(np.int32))))


def check(state: np.ndarray, future: np.ndarray) -> float:
    """Mean distance to the goals ahead; raises where a goal is not of the sample's own episode."""
    origin = [EPISODE, ENV] if future.shape[-1] > ENV else [EPISODE]
    distance = future[..., TIME] - state[..., TIME]
    if (future[..., origin] != state[..., origin]).any() or (distance < 0).any():
        raise SystemExit("a goal was drawn from another episode, or from the past")
    return float(distance[distance > 0].mean())


def published(steps: crl_eqx.Transition, num_batches: int, batch_size: int):
    data = [steps.state, steps.action, steps.episode[..., None].astype(jnp.float32)]
    storage = _published.Storage(jnp.concatenate(data, axis=-1), jnp.asarray(len(steps.episode)))
    draw = functools.partial(
        _published.sample,
        sizes=ANT,
        goal_indices=(TIME, EPISODE),
        window=len(steps.episode),
        num_batches=num_batches,
        batch_size=batch_size,
    )
    return jax.jit(draw), storage, lambda drawn: (drawn.state, drawn.goal)


def _filled(steps: crl_eqx.Transition):
    buffer = crl_eqx.TrajectoryBuffer(*steps.episode.shape)
    example = jax.tree.map(lambda leaf: leaf[0, 0], steps)
    return buffer, jax.jit(buffer.insert, donate_argnums=0)(buffer.init(example), steps)


def ours(steps: crl_eqx.Transition, num_batches: int, batch_size: int):
    buffer, storage = _filled(steps)

    def draw(storage, key):
        return buffer.stored(storage).sample((num_batches, batch_size), key=key)

    return jax.jit(draw), storage, lambda drawn: (drawn.state, drawn.future_goal)


def ours_by_batch(steps: crl_eqx.Transition, num_batches: int, batch_size: int):
    """Each batch is read and summed in its turn; the last one is returned to be checked."""
    buffer, storage = _filled(steps)

    def draw(storage, key):
        shape = num_batches, batch_size
        places = buffer.places(storage, shape, key=key)
        read = lambda place: buffer.gather(storage, place)
        last = read(jax.tree.map(lambda leaf: leaf[-1], places))

        def body(total, place):
            return total + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(read(place))), None

        return jax.lax.scan(body, jnp.zeros(()), places)[0], last

    return jax.jit(draw), storage, lambda drawn: (drawn[1].state, drawn[1].future_goal)


MAKE = dict(zip(SAMPLERS, (published, ours, ours_by_batch), strict=True))


def job(
    sampler: str, envs: int, steps: int, batches: int, batch_size: int, rounds: int
) -> dict[str, Any]:
    """What runs in a process of its own."""
    draw, storage, parts = MAKE[sampler](stored_steps(steps, envs), batches, batch_size)
    keys = iter(jax.random.split(jax.random.key(0), rounds + 2))
    executable, cost = compiled(draw, storage, next(keys))

    growth = peak_rss_from_now()
    first = jax.block_until_ready(executable(storage, next(keys)))
    rss_growth = growth()
    mean_distance = check(*(np.asarray(part) for part in parts(first)))
    output_mib = sum(leaf.nbytes for leaf in jax.tree.leaves(first)) / MIB
    del first

    keys = iter(jax.random.split(jax.random.key(1), rounds + 1))
    times = alternating({sampler: lambda: executable(storage, next(keys))}, rounds)
    memory = {"output_mib": output_mib, "extra_mib": cost["temp_mib"] + output_mib}
    memory |= {"rss_growth_mib": rss_growth, "mean_goal_distance": mean_distance}
    return {"sampler": sampler} | cost | memory | times[sampler]


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="drawing the samples of one training step", box=box.SIMPLE)
    for head in ("sampler", "CPU s", "wall s", "extra\nMiB", "seen to\ngrow MiB", "compile\ns"):
        table.add_column(head, justify="left" if head == "sampler" else "right")
    names = ("cpu_seconds", "wall_seconds", "extra_mib", "rss_growth_mib", "compile_seconds")
    for row in rows:
        table.add_row(row["sampler"], *(f"{row[name]:,.4g}" for name in names))
    console.print(table)


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Published over each of ours: how many times cheaper ours is."""
    names = ("cpu_seconds", "wall_seconds", "extra_mib", "rss_growth_mib")
    theirs, *mine = rows
    return {row["sampler"]: {n: theirs[n] / max(row[n], 1e-9) for n in names} for row in mine}


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--envs", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1000, help="stored per environment")
    parser.add_argument("--batches", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2, help="timed draws in each process")
    parser.add_argument("--processes", type=int, default=2, help="fresh ones; medians over them")
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.job:
        return answer(job, **args.job)
    console = wide_console()
    sizes = {name: getattr(args, name) for name in ("envs", "steps", "batches", "batch_size")}
    runs: dict[str, list[dict[str, Any]]] = {sampler: [] for sampler in SAMPLERS}
    for process in range(args.processes):
        for sampler in SAMPLERS:
            console.print(f"{sampler}, process {process + 1} of {args.processes}")
            settings = sizes | {"sampler": sampler, "rounds": args.rounds}
            runs[sampler].append(in_fresh_process(__file__, settings, cores=args.cores))
    rows = [medians(runs[sampler]) for sampler in SAMPLERS]
    theirs, mine = (row["mean_goal_distance"] for row in rows[:2])
    # The distances spread about as widely as their mean: six standard errors of two samples.
    if abs(mine / theirs - 1) > 6 * (2 / (args.batches * args.batch_size)) ** 0.5:
        raise SystemExit(f"the samplers draw goals from different distances: {theirs} and {mine}")
    show(rows, console)
    for sampler, ratio in ratios(rows).items():
        console.print(f"published / {sampler}:", {name: round(x, 1) for name, x in ratio.items()})
    path = write(
        "replay",
        rounded(rows),
        directory=args.out,
        sizes=sizes,
        cores_used=args.cores,
        processes=args.processes,
        rounds=args.rounds,
        published_over=rounded(ratios(rows)),
    )
    console.print(f"written to {path.name}")


if __name__ == "__main__":
    main()
