"""A task of one's own in thirty lines: a crane brings its load to a place.

    crl-eqx train --preset cpu-demo --env examples/own_task.py:crane

trains it, and `crl-eqx envs` and `crl-eqx render --env` know it by the same name.
"""

import jax
import mujoco

from crl_eqx.envs import MujocoGoalEnv


CRANE = """
<mujoco model="crane">
  <option timestep="0.01"/>
  <worldbody>
    <body name="trolley" pos="0 0 2">
      <joint name="trolley" type="slide" axis="1 0 0" range="-2 2" limited="true" damping="2"/>
      <geom type="box" size="0.2 0.1 0.1" mass="1"/>
      <body name="load">
        <joint name="rope" type="hinge" axis="0 1 0" damping="0.05"/>
        <geom type="capsule" fromto="0 0 0 0 0 -1" size="0.01" mass="0.05"/>
        <geom type="sphere" pos="0 0 -1" size="0.12" mass="0.5"/>
      </body>
    </body>
    <body name="target" mocap="true"><site name="target" size="0.1" rgba="1 0 0 0.5"/></body>
  </worldbody>
  <actuator><motor joint="trolley" gear="8" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def crane(physics: str | None = None) -> MujocoGoalEnv:
    """The state is (trolley, rope, their velocities); the goal: a place, with the rope upright."""
    return MujocoGoalEnv(
        mujoco.MjSpec.from_string(CRANE),  # or the path of a file
        goal_indices=[0, 1],
        draw_goal=lambda key: jax.random.uniform(key, (2,), minval=-1.5, maxval=1.5).at[1].set(0.0),
        threshold=0.1,
        episode_length=100,
        substeps=5,
        physics=physics,
    )


if __name__ == "__main__":
    env = crane()
    for row in env.describe_state():
        print(f"{row.numbers:>4}  {row.what} ({row.unit})")
    start = env.reset(key=jax.random.key(0))
    print(f"from {env.achieved_goal(start.state)} to {start.goal}")
