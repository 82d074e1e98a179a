"""An agent of any depth, one pure train step, and what the agent then does and thinks.

Run it with `python examples/train_a_step.py`.
"""

import jax

import crl_eqx as crl
from crl_eqx import envs


def main() -> None:
    env = envs.make("point_u_maze")
    agent_key, train_key, reset_key = jax.random.split(jax.random.key(0), 3)

    # Depth counts the Dense layers in the residual blocks; the blocks are scanned over, so a
    # larger depth takes no longer to compile.
    agent = crl.Agent.create(env, depth=64, width=32, key=agent_key)
    print(crl.nn.audit(agent))

    # The paper's values are the defaults; these are small ones.
    step = crl.TrainStep(
        env,
        num_envs=8,
        unroll_length=25,
        prefill_length=100,
        batch_size=64,
        updates_per_env_step=1 / 20,
        replay_capacity=1_000,
    )
    state = step.start(agent, key=train_key)
    # TrainState -> (TrainState, metrics), compiled once; the old state's memory is used again.
    train = step.compiled()
    for _ in range(3):
        state, metrics = train(state)
        loss, accuracy = metrics["critic_loss"], metrics["categorical_accuracy"]
        print(
            f"{int(state.env_steps)} environment steps, {int(state.gradient_steps)} updates: "
            f"critic loss {loss:.3f}, accuracy {accuracy:.3f}"
        )

    moment = env.reset(key=reset_key)
    action = state.agent.act(moment.state, moment.goal)
    energy = state.agent.value(moment.state, action, moment.goal)
    print(f"at {moment.state[:2]}, wants {moment.goal}: action {action}, energy {energy:.3f}")


if __name__ == "__main__":
    main()
