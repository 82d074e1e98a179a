"""What do few solver iterations and long time steps cost in accuracy?

    python bench/accuracy.py                       # one task of each kind: two minutes on a core
    python bench/accuracy.py --tasks ant humanoid

From states that random actions lead to, one control step is taken as the task takes it, with 100
iterations of the solver, and, besides, with time steps a tenth as long. The errors are the largest
difference in any velocity (m/s or rad/s) and in any position (m or rad); medians and 95th
percentiles over the states. MuJoCo's C engine, double precision.
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco as _mujoco
import numpy as np
from _machine import write
from _measure import wide_console
from rich import box
from rich.table import Table

import crl_eqx
from crl_eqx import envs


mujoco: Any = _mujoco  # type checkers cannot see into its compiled parts
TASKS = (
    *("point_u_maze", "reacher", "pusher_hard", "cheetah", "ant", "ant_hardest_maze", "ant_ball"),
    *("ant_push", "humanoid", "humanoid_hardest_maze", "arm_reach", "arm_grasp"),
    *("arm_push_hard", "arm_binpick_hard"),
)
ENVS, STEPS = 16, 60


def states(env: envs.AbstractMujocoEnv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qpos, qvel and the controls that follow, of states on the way of random actions."""

    def step(episode, key):
        env_state, mean = episode
        mean = 0.8 * mean + 0.4 * jax.random.normal(key, mean.shape)  # pushes that last
        action = jnp.clip(mean, -1, 1)
        after = jax.vmap(env.step)(env_state, action)
        ctrl = jax.vmap(env.controls)(action)
        return (after, mean), (env_state.physics.qpos, env_state.physics.qvel, ctrl)

    @jax.jit
    def run(key):
        start = crl_eqx.start_episodes(env, ENVS, key=key).env_state
        zero = jnp.zeros((ENVS, env.action_size))
        return jax.lax.scan(step, (start, zero), jax.random.split(key, STEPS))[1]

    flat = lambda x: np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    qpos, qvel, ctrl = run(jax.random.key(0))
    return flat(qpos), flat(qvel), flat(ctrl)


def advance(model: Any, substeps: int, moments: tuple[np.ndarray, ...]) -> np.ndarray:
    """qpos and qvel after a control step from each moment."""
    data, out = mujoco.MjData(model), []
    for qpos, qvel, ctrl in zip(*moments, strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, ctrl
        for _ in range(substeps):
            mujoco.mj_step(model, data)
        out.append(np.concatenate([data.qpos, data.qvel]))
    return np.stack(out)


def measure(task: str) -> dict[str, Any]:
    env = envs.make(task, physics="native")
    assert isinstance(env, envs.AbstractMujocoEnv)
    model, substeps, moments = env.model, env.physics.substeps, states(env)
    exact, fine = copy.copy(model), copy.copy(model)
    exact.opt.iterations = exact.opt.ls_iterations = 100
    fine.opt.iterations = fine.opt.ls_iterations = 100
    fine.opt.timestep = model.opt.timestep / 10
    ours = advance(model, substeps, moments)
    row: dict[str, Any] = {
        "task": task,
        "timestep": float(model.opt.timestep),
        "substeps": substeps,
        "iterations": int(model.opt.iterations),
        "pairs": int(model.npair),
    }
    for name, other in (
        ("iterations", advance(exact, substeps, moments)),
        ("timestep", advance(fine, 10 * substeps, moments)),
    ):
        error = np.abs(ours - other)
        for kind, part in (("position", error[:, : model.nq]), ("velocity", error[:, model.nq :])):
            median, high = np.quantile(part.max(axis=1), [0.5, 0.95])
            row[f"{name}_{kind}_error"] = [float(f"{median:.2g}"), float(f"{high:.2g}")]
    return row


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK")
    parser.add_argument("--out", type=Path, default=None, help="default: bench/results")
    args = parser.parse_args()

    console, rows = wide_console(), []
    for task in args.tasks:
        rows.append(measure(task))
        console.print(" ".join(f"{name} {value}" for name, value in rows[-1].items()))
    table = Table(title="errors of a control step: median, 95th percentile", box=box.SIMPLE)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "task" else "right")
    for row in rows:
        cells = (" ".join(map(str, x)) if isinstance(x, list) else str(x) for x in row.values())
        table.add_row(*cells)
    console.print(table)
    path = write("accuracy", rows, directory=args.out, states=ENVS * STEPS)
    console.print(f"written to {path.name}")


if __name__ == "__main__":
    main()
