"""Sets of defaults that the other flags change."""

from ._config import Config, Data, Evaluation, Learning, Logging, Network, PresetName


PRESETS: dict[PresetName, Config] = {
    "paper": Config(),
    "laptop": Config(
        preset="laptop",
        env="ant",
        total_env_steps=3_000_000,
        network=Network(depth=4, width=128, normalize_observations=True),
        # Few updates in all: with the paper's rate the temperature alone would fall for half of
        # them before the policy is anything but noise.
        learning=Learning(
            batch_size=256,
            alpha_learning_rate=1e-3,
            # Rates that fall at the end settle how it walks: fewer falls, and no swinging.
            schedule="cooldown",
            # The policy's own futures are near; goals are far. Those of other trajectories lie
            # between the two: without them an ant does not learn to walk.
            p_future=0.5,
            p_random=0.5,
            discount=None,
            horizon=3.0,
        ),
        # A replay that holds the run: with an eighth of it an ant falls in every fourth episode,
        # however long it learns. In episodes of its task's length it would mostly be seen standing
        # at its goal; in shorter ones it learns to walk without falling.
        data=Data(
            num_envs=64,
            unroll_length=50,
            prefill_length=500,
            train_episode_length=300,
            updates_per_env_step=1 / 16,
            replay_capacity=48_000,
        ),
        evaluation=Evaluation(eval_every=200_000),
        logging=Logging(checkpoint_every=200_000),
    ),
    "cpu-demo": Config(
        preset="cpu-demo",
        total_env_steps=1_600_000,
        network=Network(depth=4, width=128),
        learning=Learning(
            batch_size=256,
            actor_learning_rate=1e-3,
            critic_learning_rate=1e-3,
            alpha_learning_rate=1e-3,
            schedule="cosine",
            schedule_updates=31_000,
            # Goals of other trajectories too: of goals behind a wall the policy's own futures
            # hold next to none until it has found the way round.
            p_future=0.5,
            p_random=0.5,
            discount=None,
            horizon=5.0,
            # From one evaluation to the next the way to one cell of six may be lost, and come back.
            policy_average=3_000,
        ),
        data=Data(
            num_envs=128,
            unroll_length=50,
            prefill_length=250,
            updates_per_env_step=1 / 50,
            replay_capacity=2_000,
            # In the data only so: the corners in which the policy, judged without noise, sticks.
            deterministic_share=0.25,
        ),
        evaluation=Evaluation(eval_every=100_000, stop_at_success=0.98),
        logging=Logging(log_every=25_600, checkpoint_every=200_000),
    ),
}
