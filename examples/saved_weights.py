"""Saves an agent's weights, loads them, and starts another run from them.

The file is in the safetensors format: names and arrays, nothing that could be executed.

Run it with `python examples/saved_weights.py`.
"""

import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

import crl_eqx as crl
from crl_eqx import envs
from crl_eqx.store import load_agent, save_agent


def new_agent(env, seed: int) -> crl.Agent:
    return crl.Agent.create(env, depth=8, width=32, key=jax.random.key(seed))


def main() -> None:
    env = envs.make("point_u_maze")
    agent = new_agent(env, seed=0)
    state, goal = jnp.ones(env.state_size), jnp.ones(env.goal_size)
    print(f"original: {agent.act(state, goal)}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.safetensors"
        save_agent(path, agent)
        print(f"saved {path.stat().st_size:,} bytes")
        # Any agent of the same architecture says what to expect in the file. Of a run that the
        # command line made, `load_agent("runs/NAME", like)` takes the newest checkpoint.
        loaded = load_agent(path, like=new_agent(env, seed=1))
        print(f"loaded:   {loaded.act(state, goal)}")

        try:
            load_agent(path, like=crl.Agent.create(env, depth=16, width=32, key=jax.random.key(1)))
        except crl.UserError as error:
            print(f"refused:  {error}")

    step = crl.TrainStep(
        env, num_envs=4, unroll_length=20, prefill_length=40, batch_size=16, replay_capacity=200
    )
    begun = step.init(loaded, key=jax.random.key(2))  # a new run, from the saved weights
    same = eqx.tree_equal(begun.agent, agent)
    print(f"a new run starts from them: {bool(same)}, at {int(begun.env_steps)} environment steps")


if __name__ == "__main__":
    main()
