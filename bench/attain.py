"""Can every task be done at all? A planner that knows the physics tries.

    python bench/attain.py                                # every task: about an hour on two cores
    python bench/attain.py --tasks ant_push humanoid      # these

Model-predictive path integral control: from the present state, `--samples` plans of `--horizon`
seconds are simulated, and the actions are averaged, those of cheap plans most. Cheap is what brings
the achieved goal nearer; through a maze, along the shortest way. In the humanoid's mazes that ends
in a fall before the nearest goal, 2 m away. There the whole leap is rehearsed instead: the
cross-entropy method refines one sequence of joint angles from the episode's start, until it passes
within the goal's threshold before the episode terminates. Nothing is learnt. Prints and
writes, per task, whether one of `--tries` fresh episodes reached its goal, and after which step;
each is that of 64 whose goal is nearest. Arms have scripts instead, in `tests/envs/test_arm.py`.
"""

import argparse
import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _machine import write
from _measure import wide_console
from _planner import attempt, Plans, rehearsal

from crl_eqx import envs


def representative(names: tuple[str, ...]) -> list[str]:
    """Without arms, and without splits, whose goals are also goals of what they are a split of."""
    return [name for name in names if not re.search(r"_eval$|^arm_", name)]


def leaps(task: str) -> bool:
    """Whether the whole way to the goal is one leap, rehearsed as a whole."""
    return task.startswith("humanoid_")


OWN_PLANS = {
    "humanoid": Plans(samples=384, horizon=1.0, hold=0.06, spread=0.25),
    "ant_push": Plans(keep=0.03),  # the ant walks three times as fast
}
LEAPS = Plans(samples=384, horizon=1.2, hold=0.06, spread=0.4)


def plans_for(task: str, args: argparse.Namespace) -> Plans:
    """What suits the task, but for what the command line says."""
    suits = LEAPS if leaps(task) else OWN_PLANS.get(task, Plans())
    names = [field.name for field in dataclasses.fields(Plans)]
    said = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return dataclasses.replace(suits, **said)


def nearest_start(env: envs.AbstractMujocoEnv, key: jax.Array) -> jax.Array:
    """The key, of 64, of the episode whose goal is nearest."""
    keys = jax.random.split(key, 64)

    @jax.jit
    def distance(key):
        start = env.reset(key=jax.random.split(key)[0])
        return env.distance(start.state, start.goal)

    return keys[jnp.argmin(jax.vmap(distance)(keys))]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = representative(envs.names())
    parser.add_argument("--tasks", nargs="+", default=tasks, metavar="TASK")
    parser.add_argument("--tries", type=int, default=5)
    for field in dataclasses.fields(Plans):
        parser.add_argument(f"--{field.name}", type=type(getattr(Plans(), field.name)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    args = parser.parse_args()

    console, rows = wide_console(), []
    for task in args.tasks:
        for row in tries(task, args):
            rows.append(row)
            console.print(" ".join(f"{name} {value}" for name, value in row.items()))
        path = write("attain", rows, directory=args.out, seed=args.seed)
    console.print(f"written to {path.name}")


def tries(task: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each episode, until one reaches its goal."""
    env, plans = envs.make(task, physics="native"), plans_for(task, args)
    assert isinstance(env, envs.AbstractMujocoEnv)
    run = rehearsal(env, plans) if leaps(task) else attempt(env, plans)
    for number in range(args.tries):
        begin = time.perf_counter()
        key = nearest_start(env, jax.random.key(args.seed + number))
        reached, steps, nearest, from_start = jax.device_get(run(key))
        yield {
            "task": task,
            "planner": "cem" if leaps(task) else "mppi",
            **dataclasses.asdict(plans),
            "try": number,
            "reached": bool(reached),
            "steps": int(steps),
            "start_distance": round(float(from_start), 3),
            "nearest_distance": round(float(nearest), 3),
            "seconds": round(time.perf_counter() - begin, 1),
        }
        if reached:
            return


if __name__ == "__main__":
    main()
