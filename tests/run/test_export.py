"""An exported policy does what the agent does, without the library."""

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from crl_eqx import Agent, envs
from crl_eqx.run import export_policy

from ..probes import Box


EXAMPLE = Path(__file__).parents[2] / "examples" / "exported_policy.py"


@pytest.fixture(scope="module")
def agent():
    build = lambda key: Agent.create(Box(), depth=8, width=16, normalize=True, key=key)
    return eqx.filter_jit(build)(jax.random.key(0))


@pytest.mark.parametrize("batch", [1, 5])
def test_it_acts_as_the_agent_on_any_batch(agent, batch, tmp_path):
    agent = agent.observe(*jax.random.normal(jax.random.key(3), (2, 50, 2)))
    path = export_policy(agent, Box(), tmp_path / "policy.stablehlo")
    state, goal = jax.random.normal(jax.random.key(1), (2, batch, 2))
    loaded = jax.export.deserialize(bytearray(path.read_bytes()))
    np.testing.assert_allclose(loaded.call(state, goal), agent.act(state, goal), atol=1e-5)
    assert loaded.platforms == ("cpu", "cuda")


def test_the_file_beside_says_what_the_numbers_are(agent, tmp_path):
    env = envs.make("reacher")
    build = lambda key: Agent.create(env, depth=4, width=8, key=key)
    path = export_policy(build(jax.random.key(0)), env, tmp_path / "p.stablehlo", {"env": "arm"})
    about = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert about["env"] == "arm" and about["action_range"] == [-1, 1]
    assert sum((part["numbers"] for part in about["state"]), []) == [*range(env.state_size)]
    assert all(part["name"] and part["unit"] for part in about["state"])
    state = jax.random.normal(jax.random.key(1), (env.state_size,))
    achieved = [state[i] for i in about["achieved_goal"]]
    np.testing.assert_array_equal(achieved, env.achieved_goal(state))
    assert about["seconds_per_step"] == env.control_dt
    assert [env.model.actuator(c["actuator"]).id for c in about["controls"]] == [0, 1]
    for name, action in (("at_minus_1", -1.0), ("at_0", 0.0), ("at_1", 1.0)):
        commanded = [control[name] for control in about["controls"]]
        np.testing.assert_array_equal(commanded, env.controls(jax.numpy.full(2, action)))


def test_of_a_task_without_a_model_the_sizes_are_described(agent, tmp_path):
    path = export_policy(agent, Box(), tmp_path / "p.stablehlo")
    about = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert about["state_size"] == Box().state_size and "controls" not in about


def test_the_loader_needs_jax_alone(agent, tmp_path):
    path = export_policy(agent, Box(), tmp_path / "policy.stablehlo")
    guard = "import sys; sys.modules['crl_eqx'] = sys.modules['equinox'] = None; "
    program = f"{guard} import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "actions of a batch of 3: (3, 2)" in done.stdout
