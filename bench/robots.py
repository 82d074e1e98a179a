"""What do robots do under random actions? The candidates for the ant and the humanoid.

    python bench/robots.py
    python bench/robots.py --episodes 512

For every candidate (torque, control step, rule that ends an episode): the share of episodes that
end within 1,000 control steps, their median length in seconds, the distance from the start after 5
seconds, and the share of the episodes that lie upside down when they end. Actions are
tanh(N(0, 1)), drawn anew at every control step, which is how an untrained policy acts. Prints a
table and writes it.
"""

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _machine import write
from _measure import wide_console
from rich import box
from rich.table import Table

from crl_eqx import envs


STEPS = 1000


def candidates() -> Iterator[tuple[str, dict[str, Any]]]:
    ants = (("d4rl", 0.1), ("d4rl", 0.05), (60.0, 0.1), ("gym", 0.05), ("gym", 0.1), ("brax", 0.05))
    for (torque, control_dt), ends in itertools.product(ants, ("height", "flipped", "never")):
        yield "ant", dict(torque=torque, control_dt=control_dt, ends=ends)
    humanoids = itertools.product(("gym", "brax"), (0.015, 0.03), ("height", "never"))
    for torque, control_dt, ends in humanoids:
        yield "humanoid", dict(torque=torque, control_dt=control_dt, ends=ends)


def play(env: envs.AbstractMujocoEnv, episodes: int) -> dict[str, float]:
    """Episodes to their first end; a robot that has ended stays where it was."""

    @jax.jit
    def run(key):
        start_key, key = jax.random.split(key)
        start = jax.vmap(lambda key: env.reset(key=key))(jax.random.split(start_key, episodes))

        def step(carry, key):
            state, ended = carry
            actions = jnp.tanh(jax.random.normal(key, (episodes, env.action_size)))
            moved = jax.vmap(env.step)(state, actions)
            keep = lambda old, new: jnp.where(ended.reshape(-1, *[1] * (new.ndim - 1)), old, new)
            state = jax.tree.map(keep, state, moved)
            ended = ended | moved.terminated
            return (state, ended), (state.state[:, :7], ended)

        first = (start, jnp.zeros(episodes, bool))
        _, (poses, ended) = jax.lax.scan(step, first, jax.random.split(key, STEPS))
        return start.state[:, :7], poses, ended

    start, poses, ended = map(np.asarray, run(jax.random.key(0)))
    lengths = np.where(ended[-1], ended.argmax(0) + 1, STEPS)
    five = min(round(5 / env.control_dt), STEPS) - 1
    away = np.linalg.norm(poses[five, :, :2] - start[:, :2], axis=-1)
    _, x, y, _ = np.moveaxis(poses[-1, :, 3:7], -1, 0)
    return {
        "ended_early": float(ended[-1].mean()),
        "median_seconds": float(np.median(lengths) * env.control_dt),
        "metres_after_5_s": float(away.mean()),
        "upside_down": float((x**2 + y**2 > 0.5).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=256)
    episodes = parser.parse_args().episodes
    shown, rows = Table(box=box.MARKDOWN), []
    for i, (name, options) in enumerate(candidates()):
        env = envs.make(name, physics="native", **options)
        assert isinstance(env, envs.AbstractMujocoEnv)
        measured = play(env, episodes)
        rows.append({"task": name, **options, **measured})
        if i == 0:
            for column in rows[0]:
                shown.add_column(column.replace("_", " "))
        shown.add_row(name, *map(str, options.values()), *(f"{v:.2f}" for v in measured.values()))
    wide_console().print(shown)
    print(write("robots", rows, episodes=episodes))


if __name__ == "__main__":
    main()
