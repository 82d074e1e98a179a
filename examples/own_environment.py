"""An environment of one's own, in pure JAX: four sizes, four methods, and then it is trained.

A puck slides on ice: it is pushed, it drifts, and it bounces off the edges.

Run it with `python examples/own_environment.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import crl_eqx as crl


class Ice(crl.AbstractGoalEnv):
    """The state is x, y, vx, vy; the goal is a place x, y. Both places lie in [-1, 1]²."""

    state_size: int = 4
    action_size: int = 2
    goal_size: int = 2
    episode_length: int = 50

    def reset(self, *, key):
        start, goal = jax.random.uniform(key, (2, 2), minval=-1.0, maxval=1.0)
        return crl.EnvState(physics=(), state=jnp.concatenate([start, jnp.zeros(2)]), goal=goal)

    def step(self, env_state, action):
        position, velocity = jnp.split(env_state.state, 2)
        velocity = 0.95 * velocity + 0.02 * jnp.clip(action, -1.0, 1.0)
        moved = position + velocity
        velocity = jnp.where(jnp.abs(moved) > 1, -velocity, velocity)
        state = jnp.concatenate([jnp.clip(moved, -1.0, 1.0), velocity])
        return crl.EnvState(physics=(), state=state, goal=env_state.goal)

    def achieved_goal(self, state):
        return state[..., :2]

    def success(self, state, goal):
        return self.distance(state, goal) < 0.1


@eqx.filter_jit
def success_rate(agent, env, key):
    evaluation = crl.evaluate(crl.deterministic(agent), env, 256, key=key)
    return evaluation.summary()["success_rate"]


def main() -> None:
    env = Ice()
    agent_key, train_key, eval_key = jax.random.split(jax.random.key(0), 3)
    agent = crl.Agent.create(env, depth=4, width=64, key=agent_key)
    print(f"success before: {success_rate(agent, env, eval_key):.2f}")

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
    while state.gradient_steps < 2_000:
        state, _ = train(state)
    rate = success_rate(state.agent, env, eval_key)
    print(f"success after {int(state.env_steps):,} environment steps: {rate:.2f}")


if __name__ == "__main__":
    main()
