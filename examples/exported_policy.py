"""Acts with an exported policy, as a robot would: needs JAX, and nothing of crl-eqx.

    crl-eqx export runs/NAME
    python examples/exported_policy.py runs/NAME/policy.stablehlo

Without a file it exports an untrained policy first, for which it does need crl-eqx.
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp


def load(path: Path):
    """`policy(state [batch, …], goal [batch, …]) -> action [batch, …]`, and what it says of
    itself."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    return jax.jit(exported.call), json.loads(Path(f"{path}.json").read_text())


def example(folder: Path) -> Path:
    import crl_eqx as crl
    from crl_eqx import envs
    from crl_eqx.run import export_policy

    env = envs.make("point_u_maze")
    agent = crl.Agent.create(env, depth=8, width=32, key=jax.random.key(0))
    return export_policy(agent, env, folder / "policy.stablehlo", {"env": "point_u_maze"})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else example(Path(folder))
        policy, about = load(path)
    print(
        f"{about.get('env')}: {about['state_size']} numbers of state, {about['goal_size']} of goal"
    )
    for part in about.get("state", ()):
        numbers = part["numbers"]
        print(f"  {numbers[0]:>3} to {numbers[-1]:<3}  {part['name']} [{part['unit']}]")
    for control in about.get("controls", ()):
        low, high = control["at_minus_1"], control["at_1"]
        print(f"  {control['actuator']}: {low:g} to {high:g}")
    for batch in (1, 3):
        state = jnp.zeros((batch, about["state_size"]))
        action = policy(state, jnp.ones((batch, about["goal_size"])))
        print(f"actions of a batch of {batch}: {action.shape}, the first {action[0]}")


if __name__ == "__main__":
    main()
