"""In a process forked from one that used JAX, a computation would wait for ever."""

import subprocess
import sys


SCRIPT = """
import os, sys, traceback
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
import crl_eqx
from crl_eqx import config, envs, run, store

key = jax.random.key(0)
env = envs.make("point_u_maze", physics="native")
agent = crl_eqx.Agent.create(env, depth=4, width=8, key=key)
step = crl_eqx.TrainStep(env, num_envs=4, unroll_length=10, prefill_length=20, batch_size=4)
state = step.init(agent, key=key)
rows = np.zeros((2, 5, 3), np.float32)
data = crl_eqx.Trajectories(rows)
critic = crl_eqx.Critic.create(data, depth=4, width=8, key=key)
policy = lambda state, goal, key: agent.act(state, goal)
calls = {
    "make": lambda: envs.make("ant"),
    "randomize": lambda: envs.randomize(env, masses=(0.5, 2.0)),
    "hold_out": lambda: envs.hold_out(env, 0.5),
    "resample_goals": lambda: envs.resample_goals(env, 0.5),
    "AbstractMujocoEnv.reset": lambda: env.reset(key=key),
    "AbstractMujocoEnv.step": lambda: env.step(None, None),
    "evaluate": lambda: crl_eqx.evaluate(policy, env, 2, key=key),
    "run_episodes": lambda: crl_eqx.run_episodes(policy, env, 2, key=key),
    "start_episodes": lambda: crl_eqx.start_episodes(env, 2, key=key),
    "Agent.create": lambda: crl_eqx.Agent.create(env, depth=4, key=key),
    "Agent.act": lambda: agent.act(jnp.zeros(4), jnp.zeros(2)),
    "Agent.value": lambda: agent.value(jnp.zeros(4), jnp.zeros(2), jnp.zeros(2)),
    "Critic.create": lambda: crl_eqx.Critic.create(data, key=key),
    "Critic.__call__": lambda: critic(rows[0], None, rows[0]),
    "Trajectories.__init__": lambda: crl_eqx.Trajectories(rows),
    "Trajectories.sample": lambda: data.sample((3,), key=key),
    "fit": lambda: crl_eqx.fit(critic, data, num_updates=1, key=key),
    "TrainStep.__init__": lambda: crl_eqx.TrainStep(env),
    "AbstractTrainStep.init": lambda: step.init(agent, key=key),
    "AbstractTrainStep.prefill": lambda: step.prefill(state),
    "TrainStep.__call__": lambda: step(state),
    "diagnose": lambda: crl_eqx.diagnose(agent, None, objective=None, key=key),
    "init_optimizers": lambda: crl_eqx.init_optimizers(crl_eqx.adam_optimizers(), agent, None),
    "train": lambda: run.train(config.Config()),
    "load_run": lambda: run.load_run(Path("x")),
    "save_agent": lambda: store.save_agent("x", agent),
    "load_agent": lambda: store.load_agent("x", agent),
    "export_policy": lambda: run.export_policy(agent, env, Path("x"), {}),
    "draw_pictures": lambda: run.draw_pictures(Path("x")),
}
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for name, call in calls.items():
    try:
        call()
        print(name, "was not refused")
    except crl_eqx.UserError as error:
        if not str(error).startswith(f"`{name}(...)` in a process forked"):
            print(name, "said:", error)
    except Exception:
        print(name, traceback.format_exc())
os._exit(0)
"""


def test_whatever_computes_says_so_in_a_forked_process_instead_of_hanging():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
