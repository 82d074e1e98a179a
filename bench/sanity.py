"""Are the tasks sound? Random actions, many resets.

    python bench/sanity.py                        # every task: some minutes on two cores
    python bench/sanity.py --tasks ant humanoid

Plays `--steps` uniformly random control steps of each task in 512 environments, auto-resets
included, and counts failures of the physics and the largest number of a state; draws 10,000 resets
and tells how many begin in success, and how far the nearest goal is. Prints a table and writes it.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
from _machine import write
from _measure import wide_console
from rich import box
from rich.table import Table

import crl_eqx
from crl_eqx import envs


ENVS = 512
RESETS = 10_000


def play(env: crl_eqx.AbstractGoalEnv, steps: int) -> dict[str, int | float]:
    def policy(state, goal, key):
        return jax.random.uniform(key, (ENVS, env.action_size), minval=-1.0)

    @jax.jit
    def run(key):
        start_key, key = jax.random.split(key)
        episodes = crl_eqx.start_episodes(env, ENVS, key=start_key)
        length = -(-steps // ENVS)
        _, played, counts = crl_eqx.collect(policy, env, episodes, length=length, key=key)
        finite = jnp.all(jnp.isfinite(played.state))
        return counts, finite, jnp.max(jnp.abs(played.state))

    counts, finite, largest = run(jax.random.key(0))
    assert finite, "a number that is not finite has reached the replay"
    return {
        "episodes_ended": int(counts.episodes),
        "failures": int(counts.failures),
        "largest_number": float(f"{float(largest):.3g}"),
    }


def resets(env: crl_eqx.AbstractGoalEnv) -> dict[str, float]:
    @jax.jit
    def run(key):
        def one(key):
            moment = env.reset(key=key)
            state, goal = moment.state, moment.goal
            return env.success(state, goal), env.distance(state, goal)

        return jax.vmap(one)(jax.random.split(key, RESETS))

    success, distance = run(jax.random.key(1))
    return {
        "born_in_success": round(float(jnp.mean(success)), 4),
        "nearest_goal": round(float(jnp.min(distance)), 3),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=envs.names(), metavar="TASK")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    args = parser.parse_args()

    console, rows = wide_console(), []
    for task in args.tasks:
        env = envs.make(task, physics="native")
        rows.append({"task": task} | play(env, args.steps) | resets(env))
        console.print(" ".join(f"{name} {value}" for name, value in rows[-1].items()))
    table = Table(title=f"{args.steps:,} random steps, {RESETS:,} resets", box=box.SIMPLE)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "task" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    path = write("sanity", rows, directory=args.out, steps=args.steps, resets=RESETS)
    console.print(f"written to {path.name}")


if __name__ == "__main__":
    main()
