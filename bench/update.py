"""What does one update cost, ours against the published one on the same JAX?

    python bench/update.py                                   # depth 64 on one core, minutes
    python bench/update.py --depths 64 256                   # ours at 256 too
    python bench/update.py --depths 256 --published-to 256   # both: 12 minutes and 5 GiB a process

CPU-seconds and seconds per update of all three networks, compile time, and memory; both sides run
by turns in one process that is pinned to `--cores` cores. Before anything is timed, both are given
the same weights, batch and noise, and every gradient must agree. States, actions and goals have
the sizes of the ant.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import _published
import jax
import jax.numpy as jnp
from _agents import (
    ANT,
    as_batch,
    donated,
    first_carry,
    from_published,
    gradients,
    make_update,
    random_transitions,
    with_weights,
)
from _machine import write
from _measure import alternating, answer, compiled, in_fresh_process, medians, rounded, wide_console
from rich import box
from rich.console import Console
from rich.table import Table


TOLERANCE = 2e-3


def _distance(ours: Any, theirs: Any) -> float:
    """‖ours - theirs‖ / ‖theirs‖ over all leaves."""
    square = lambda tree: sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(tree))
    return (square(jax.tree.map(jnp.subtract, ours, theirs)) / max(square(theirs), 1e-30)) ** 0.5


def check_gradients(depth: int, width: int, batch_size: int) -> dict[str, float]:
    """Relative distances of our gradients from the published ones; raises if they differ.

    The policies are given small means and a small spread: where tanh saturates, the published
    density, with its `log(1 - a² + 1e-6)`, is another than the exact one of ours.
    """
    state = _published.init(jax.random.key(0), ANT, depth=depth, width=width)
    for head, offset in zip(state.actor["heads"], (0.0, -1.0), strict=True):
        head["kernel"] *= 0.05
        head["bias"] += offset
    batch = random_transitions(ANT, batch_size, jax.random.key(1))
    key = jax.random.key(2)
    noise_key = jax.random.split(key)[1]  # from which CRL draws the policy's noise

    @jax.jit
    def published(state):
        policy = jax.grad(_published.actor_loss, has_aux=True)
        actor, log_prob = policy(
            state.actor, state.critic, state.alpha["log_alpha"], batch, noise_key
        )
        alpha = jax.grad(_published.alpha_loss)(state.alpha, log_prob, -0.5 * ANT.action)
        critic, _ = jax.grad(_published.critic_loss, has_aux=True)(state.critic, batch)
        return actor, critic, alpha["log_alpha"]

    with jax.default_matmul_precision("highest"):
        agent = from_published(state, ANT)
        ours = gradients(agent, as_batch(batch), key)
        theirs = with_weights(agent, *published(state))
    expected = {
        "actor": theirs.actor,
        "critic": theirs.critic,
        "alpha": theirs.log_alpha,
    }
    distances = {name: _distance(ours[name], expected[name]) for name in expected}
    if not max(distances.values()) < TOLERANCE:
        raise SystemExit(f"the two updates do not compute the same gradients: {distances}")
    return distances


def measure(
    depth: int, width: int, batch_size: int, rounds: int, remat: str, published: bool
) -> list[dict[str, Any]]:
    state = _published.init(jax.random.key(0), ANT, depth=depth, width=width)
    transitions, key = random_transitions(ANT, batch_size, jax.random.key(1)), jax.random.key(2)
    batch = as_batch(transitions)
    agent = from_published(state, ANT, remat=remat)
    jax.jit(lambda x: x @ x)(jnp.ones((8, 8)))  # what the first compilation sets up is not ours

    step, carry = donated(make_update(), first_carry(agent))
    ours, our_cost = compiled(step, carry, batch, key)
    carries = {"ours": jax.tree.map(jnp.copy, carry), "published": state}

    def run_ours():
        carries["ours"], _ = ours(carries["ours"], batch, key)
        return carries["ours"]

    steps, costs = {"ours": run_ours}, {"ours": our_cost}
    if published:
        theirs, costs["published"] = compiled(_published.update, state, transitions)

        def run_published():
            carries["published"], _ = theirs(carries["published"], transitions)
            return carries["published"]

        steps["published"] = run_published

    times = alternating(steps, rounds)
    about = {"depth": depth, "width": width, "batch_size": batch_size}
    return [about | {"update": name} | costs[name] | times[name] for name in steps]


def job(check: bool, **settings: Any) -> dict[str, Any]:
    """What runs in a process of its own."""
    sizes = {name: settings[name] for name in ("depth", "width", "batch_size")}
    distances = check_gradients(**sizes) if check else None
    return {"gradient_distances": distances, "rows": measure(**settings)}


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="one update of all three networks", box=box.SIMPLE)
    heads = ["depth", "update", "CPU s", "wall s", "compile\nwall s", "compile\nCPU s"]
    for head in [*heads, "temp.\nMiB", "program\nlines"]:
        table.add_column(head, justify="left" if head == "update" else "right")
    for row in rows:
        names = ["cpu_seconds", "wall_seconds", "compile_seconds", "compile_cpu_seconds"]
        names += ["temp_mib", "program_lines"]
        cells = [f"{row[name]:.3g}" if row[name] < 100 else f"{row[name]:,.0f}" for name in names]
        table.add_row(str(row["depth"]), row["update"], *cells)
    console.print(table)


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Ours over published, where both were measured; below 1 ours is the cheaper."""
    by = {(row["depth"], row["update"]): row for row in rows}
    names = ("cpu_seconds", "wall_seconds", "compile_seconds", "compile_cpu_seconds", "temp_mib")
    return [
        {"depth": depth} | {n: by[depth, "ours"][n] / by[depth, "published"][n] for n in names}
        for depth, side in by
        if side == "published"
    ]


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--depths", type=int, nargs="+", default=[64])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--remat", default="auto", help="of ours; see crl_eqx.nn.Stacked")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10, help="timed updates of each side")
    parser.add_argument("--processes", type=int, default=3, help="fresh ones; medians over them")
    parser.add_argument(
        "--published-to", type=int, default=64, help="greatest depth to compile unrolled"
    )
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.job:
        return answer(job, **args.job)
    console, rows, distances = wide_console(), [], {}
    for depth in args.depths:
        published = depth <= args.published_to
        settings = dict(depth=depth, width=args.width, batch_size=args.batch_size)
        settings |= dict(rounds=args.rounds, remat=args.remat, published=published)
        runs = []
        for process in range(args.processes):
            check = published and process == 0
            console.print(f"depth {depth}, process {process + 1} of {args.processes}")
            runs.append(in_fresh_process(__file__, settings | {"check": check}, cores=args.cores))
        distances[depth] = runs[0]["gradient_distances"]
        rows += [medians(list(group)) for group in zip(*(r["rows"] for r in runs), strict=True)]
    show(rows, console)
    for ratio in ratios(rows):
        console.print("ours / published:", {k: round(v, 3) for k, v in ratio.items()})
    path = write(
        "update",
        rounded(rows),
        directory=args.out,
        cores_used=args.cores,
        remat=args.remat,
        processes=args.processes,
        rounds=args.rounds,
        gradient_distances=rounded(distances),
        ours_over_published=rounded(ratios(rows)),
    )
    console.print(f"written to {path.name}")


if __name__ == "__main__":
    main()
