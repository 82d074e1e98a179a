"""A MuJoCo model of one's own: an MJCF file or string becomes a task, and is trained.

A camera on a neck learns to look where it is told; `joints` names what the goal is about (`body`
would make it a place).

Run it with `python examples/own_mjcf.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

import crl_eqx as crl
from crl_eqx.envs import MujocoGoalEnv


HEAD = """
<mujoco model="head">
  <option timestep="0.01"/>
  <default>
    <joint type="hinge" limited="true" damping="0.1" armature="0.02"/>
    <motor ctrllimited="true" ctrlrange="-0.3 0.3"/>
  </default>
  <worldbody>
    <body name="neck">
      <joint name="pan" axis="0 0 1" range="-120 120"/>
      <geom type="cylinder" size="0.03 0.1" mass="0.2"/>
      <body name="camera" pos="0 0 0.15" gravcomp="1">
        <joint name="tilt" axis="0 1 0" range="-60 60"/>
        <geom type="box" size="0.08 0.04 0.04" mass="0.3"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="pan"/>
    <motor joint="tilt"/>
  </actuator>
</mujoco>
"""


def draw_goal(key):
    """A direction to look in: pan and tilt, in rad."""
    return jax.random.uniform(key, (2,), minval=-1.0) * jnp.array([1.5, 0.7])


@eqx.filter_jit
def measure(agent, env, key):
    return crl.evaluate(crl.deterministic(agent), env, 128, key=key).summary()


def main() -> None:
    env = MujocoGoalEnv(
        mujoco.MjSpec.from_string(HEAD),  # or the path of a file
        joints=["pan", "tilt"],
        draw_goal=draw_goal,
        threshold=0.1,
        episode_length=50,
        substeps=5,
    )
    sizes = f"state {env.state_size}, goal {env.goal_size}, action {env.action_size}"
    print(f"{sizes}, {env.control_dt:g} s per step")

    agent_key, train_key, eval_key = jax.random.split(jax.random.key(0), 3)
    agent = crl.Agent.create(env, depth=4, width=64, key=agent_key)
    step = crl.TrainStep(
        env,
        optimizers=crl.adam_optimizers(1e-3),
        num_envs=32,
        unroll_length=50,
        prefill_length=100,
        batch_size=128,
        updates_per_env_step=1 / 32,
        replay_capacity=2_000,
        discount=0.95,
    )
    state = step.start(agent, key=train_key)
    train = step.compiled()
    before = measure(agent, env, eval_key)
    while state.gradient_steps < 1_000:
        state, _ = train(state)
    after = measure(state.agent, env, eval_key)
    for name in ("success_rate", "final_distance"):
        print(f"{name}: {before[name]:.2f} before, {after[name]:.2f} after")


if __name__ == "__main__":
    main()
