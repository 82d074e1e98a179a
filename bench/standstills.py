"""How do episodes fail, and does the critic see a way out where an agent stands still?

    python bench/standstills.py runs/ant_u_maze/seed_1
    python bench/standstills.py runs/ant_u_maze/seed_1 --env ant_u_maze --episodes 256

Plays fresh episodes, by default of the task's far goals, with the deterministic policy, and counts
those that arrive, end early, and stand still elsewhere: whose position moves less than 5 cm in the
last 100 control steps. Then it asks, at five seconds of the way, at the goal and at standstills,
how widely the policy draws its actions (standard deviation; 0.58 is uniform), and how much energy
the critic gives uniform actions beyond the policy's own: the mean, and its standard deviation over
actions, which says whether it tells them apart at all. Prints tables and writes them.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _machine import write
from _measure import wide_console
from rich import box
from rich.table import Table

import crl_eqx as crl
from crl_eqx import envs
from crl_eqx.run import load_run


LAST, STILL = 100, 0.05  # control steps, metres
SAMPLES = 64


def play(agent: crl.Agent, env: envs.AbstractMujocoEnv, episodes: int, seed: int):
    """States and goals `[1 + steps, episodes, ...]`, and which episodes arrive and end early."""
    trace = lambda moment: (moment.state, moment.goal)
    key = jax.random.key(seed)
    policy = crl.deterministic(agent)
    evaluation, moments = crl.run_episodes(policy, env, episodes, trace=trace, key=key)
    each = evaluation.per_episode
    arrived = np.asarray(each["success_rate"]) > 0
    early = np.asarray(each["episode_length"]) < env.episode_length
    return *map(np.asarray, moments), arrived, early


@eqx.filter_jit
def opinions(agent: crl.Agent, state, goal) -> dict[str, jax.Array]:
    """What policy and critic make of actions in these states, `[states]`."""
    size = agent.act(state, goal).shape
    sampled = lambda key: agent.act(state, goal, key=key)
    judged = lambda action: agent.value(state, action, goal)
    keys = jax.random.split(jax.random.key(0), SAMPLES)
    own = jax.vmap(sampled)(keys)
    uniform = jax.vmap(lambda key: judged(jax.random.uniform(key, size, minval=-1.0)))(keys)
    return {
        "policy_std": own.std(axis=0).mean(axis=-1),
        "uniform_beyond_own": uniform.mean(axis=0) - judged(agent.act(state, goal)),
        "energy_std_over_actions": uniform.std(axis=0),
    }


def measure(agent: crl.Agent, env: envs.AbstractMujocoEnv, episodes: int, seed: int):
    states, goals, arrived, early = play(agent, env, episodes, seed)
    places = np.asarray(env.position(jnp.asarray(states)))
    moved = np.linalg.norm(places[-1] - places[-1 - min(LAST, len(places) - 1)], axis=-1)
    still = ~arrived & ~early & (moved < STILL)
    yield (
        "episodes",
        {
            "arrive": arrived.mean(),
            "end early": (~arrived & early).mean(),
            "stand still": still.mean(),
            "other": (~arrived & ~early & ~still).mean(),
        },
    )
    on_the_way = min(round(5 / env.control_dt), len(states) - 1)
    for where, step, which in (
        ("on the way", on_the_way, arrived),
        ("at the goal", -1, arrived & ~early),
        ("standing still", -1, still),
    ):
        if which.any():
            there = (jnp.asarray(rows[step][which]) for rows in (states, goals))
            told = opinions(agent, *there)
            yield where, {name: float(np.mean(values)) for name, values in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--env", help="default: the far goals of each run's task, if it has them")
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for path in options.runs:
        run, agent = load_run(path)
        name = options.env or envs.eval_split(run.config.env) or run.config.env
        env = envs.make(name, **envs.options_from_words(name, run.config.task.env_option))
        assert isinstance(env, envs.AbstractMujocoEnv)
        for where, numbers in measure(agent, env, options.episodes, options.seed):
            numbers = {column: float(value) for column, value in numbers.items()}
            rows.append({"run": Path(path).name, "task": name, "where": where, **numbers})
            columns = (column.replace("_", " ") for column in numbers)
            shown = Table(f"{Path(path).name}: {where}", *columns, box=box.MARKDOWN)
            shown.add_row("", *(f"{value:.2f}" for value in numbers.values()))
            wide_console().print(shown)
    print(write("standstills", rows, episodes=options.episodes))


if __name__ == "__main__":
    main()
