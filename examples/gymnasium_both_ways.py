"""Gymnasium, both ways: its pendulum learns to stand up, and a maze of ours is one of its own.

Run it with `python examples/gymnasium_both_ways.py`, after `pip install -e '.[gym]'`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from gymnasium.utils.env_checker import check_env

import crl_eqx as crl
from crl_eqx.envs.gym import GymnasiumGoalEnv, ToGymnasium, ToGymnasiumVector


def pendulum() -> GymnasiumGoalEnv:
    """Its observation is cos, sin and speed of the angle; the goal is to point up."""
    return GymnasiumGoalEnv(
        "Pendulum-v1",
        achieved_goal=[0, 1],
        draw_goal=lambda key: jnp.array([1.0, 0.0]),
        threshold=0.3,
    )


@eqx.filter_jit
def time_at_goal(agent, env, key):
    evaluation = crl.evaluate(crl.deterministic(agent), env, 16, key=key)
    return evaluation.summary()["time_at_goal"]


def learn() -> None:
    env = pendulum()
    agent_key, train_key, eval_key = jax.random.split(jax.random.key(0), 3)
    agent = crl.Agent.create(env, depth=4, width=64, key=agent_key)
    print(f"steps upright before: {time_at_goal(agent, env, eval_key):.0f} of 200")
    step = crl.TrainStep(
        env,
        crl.objectives.CRL(goals=crl.objectives.Goals(future=0.5, random=0.5)),
        crl.adam_optimizers(1e-3),
        num_envs=16,
        unroll_length=50,
        prefill_length=200,
        batch_size=128,
        updates_per_env_step=1 / 16,
        replay_capacity=2_000,
        discount=0.95,
    )
    state = step.start(agent, key=train_key)
    train = step.compiled()
    while state.gradient_steps < 1_200:
        state, _ = train(state)
    upright = time_at_goal(state.agent, env, eval_key)
    print(f"steps upright after {int(state.env_steps):,} environment steps: {upright:.0f} of 200")


def give() -> None:
    task = crl.envs.make("point_u_maze")
    env = ToGymnasium(task)
    check_env(env, skip_render_check=True)
    observation, info = env.reset(seed=0)
    print(f"a maze as a gymnasium.Env, seen as {', '.join(observation)}; {info}")
    envs = ToGymnasiumVector(task, 4)
    envs.reset(seed=0)
    observation, rewards, *_ = envs.step(envs.action_space.sample())
    shape = observation["observation"].shape
    print(f"and {envs.num_envs} as a VectorEnv: states {shape}, rewards {rewards}")


if __name__ == "__main__":
    learn()
    give()
