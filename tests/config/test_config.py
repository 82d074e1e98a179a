import dataclasses
import inspect
import json
import math

import jax
import jax.numpy as jnp
import pytest

from crl_eqx import envs, stochastic, UserError
from crl_eqx._acting import noisy
from crl_eqx.cli._train import parse_config
from crl_eqx.config import Config, differences, load_config, PRESETS, replaced, save_config
from crl_eqx.envs import HoldOut, Randomized, ResampledGoals
from crl_eqx.objectives import Goals
from crl_eqx.parts import (
    idle,
    make_acting,
    make_agent,
    make_collecting,
    make_optimizers,
    make_train_step,
    resolved,
)
from crl_eqx.run import check, check_needs, make_env, Run
from crl_eqx.run._begin import resumed_config

from ..probes import Box
from ..run.conftest import flags, tiny


def test_a_configuration_reads_back_as_it_was_written(tmp_path):
    for config in (*PRESETS.values(), tiny(run_dir=tmp_path / "here", seed=3)):
        save_config(config, tmp_path / "config.json")
        assert load_config(tmp_path / "config.json") == config


def test_defaults_are_the_papers():
    config = Config()
    assert (config.data.num_envs, config.data.unroll_length, config.learning.batch_size) == (
        512,
        62,
        512,
    )
    assert config.data.updates_per_env_step == 800 / (512 * 62)
    assert (config.network.width, config.network.repr_size) == (256, 64)
    assert config.learning.discount == 0.99
    assert config.learning.logsumexp_penalty == 0.1


def test_a_file_that_is_no_configuration_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"env": 3}')
    with pytest.raises(UserError, match="not a readable configuration"):
        load_config(tmp_path / "config.json")
    with pytest.raises(UserError, match="is not a run directory"):
        load_config(tmp_path / "elsewhere" / "config.json")


def test_budget_evaluation_and_logging_are_no_difference():
    old = tiny(discount=0.99)
    new = tiny(
        discount=0.99,
        total_env_steps=9999,
        eval_every=7,
        log_every=5,
        kernel="packed",
        precision="bf16",
        remat="block",
        keep_checkpoints=9,
    )
    assert differences(old, new) == []
    assert differences(old, tiny(width=32, discount=0.9)) == [
        "--width 16 -> 32",
        "--discount 0.99 -> 0.9",
    ]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"depth": 6}, r"`--depth 6` must be a positive multiple of 4.*Did you mean 4 or 8\?"),
        ({"critic_depth": 2}, r"`--critic-depth 2`.*Did you mean 4\?"),
        ({"total_env_steps": 100}, r"`--total-env-steps 100` leaves nothing to train on.*160"),
        ({"discount": 1.5}, r"`--discount 1.5` must lie in"),
        ({"optimizer": "adamm"}, r"`--optimizer adamm`: Optax has no"),
        ({"optimizer": "chain"}, r"`--optimizer chain`: Optax has no"),
        ({"energy": "mrn", "repr_size": 7}, r"`--repr-size 7` must be even"),
        ({"num_envs": 0}, r"`--num-envs 0` must be at least 1"),
        ({"updates_per_env_step": -1.0}, r"`--updates-per-env-step -1.0` must be 0 or positive"),
        ({"updates_per_env_step": 1e-9}, r"must be 0, or lie in 1e-5 to 1000"),
        ({"updates_per_env_step": math.nan}, r"`--updates-per-env-step nan` must"),
        ({"energy": "cosine", "temperature": 0.0}, r"`--temperature 0.0` must be positive"),
        ({"energy_epsilon": -1.0}, r"`--energy-epsilon -1.0` must be positive"),
        (
            {"p_random": 7.0},
            r"`--p-random 7.0` must lie in \[0, 1\]",
        ),
        ({"p_commanded": -0.5}, r"`--p-commanded -0.5` must lie in \[0, 1\]"),
        ({"p_future": math.nan}, r"`--p-future nan` must be finite"),
        (
            {"p_future": 0.5, "p_random": 0.2, "p_commanded": 0.2},
            r"`--p-future 0.5 --p-random 0.2 --p-commanded 0.2` must add up to 1, and .* to 0.9",
        ),
        (
            {"horizon": 5.0, "discount": 0.9},
            r"`--horizon 5` and `--discount 0.9` say the same thing in two ways: give one of them",
        ),
        ({"discount": None}, r"`--discount` and `--horizon` are both None: give one of them"),
        ({"horizon": 0.0}, r"`--horizon 0.0` must be positive"),
        ({"horizon": math.inf}, r"`--horizon inf` must be finite in float32"),
        ({"initial_alpha": -0.1}, r"`--initial-alpha -0.1` must be 0 or positive"),
        ({"initial_alpha": math.inf}, r"`--initial-alpha inf` must be finite"),
        ({"initial_alpha": 1e300}, r"`--initial-alpha 1e\+300` must be finite in float32"),
        ({"energy_epsilon": 1e-300}, r"`--energy-epsilon 1e-300` must be finite in float32"),
        ({"target_entropy_per_action": -1e39}, r"action -1e\+39` must be finite in float32"),
        ({"max_grad_norm": 1e-300}, r"`--max-grad-norm 1e-300` must be finite in float32"),
        ({"randomize_gains": (0.5, 1e39)}, r"`--randomize-gains 0.5 1e\+39` must be finite"),
        ({"actor_learning_rate": -1e-3}, r"`--actor-learning-rate -0.001` must be positive"),
        ({"logsumexp_penalty": math.inf}, r"`--logsumexp-penalty inf` must be finite in float32"),
        ({"max_grad_norm": 0.0}, r"`--max-grad-norm 0.0` must be positive"),
        ({"total_env_steps": 3_000_000_000}, r"must be positive and less than 2e9"),
        ({"optimizer": "lbfgs"}, r"`--optimizer lbfgs`: Optax has no"),
        ({"optimizer": "clip"}, r"`--optimizer clip`: Optax has no"),
        ({"optimizer": "sm3"}, r"`--optimizer sm3` takes one learning rate, and no schedule"),
        ({"schedule_updates": 5_000_000_000}, r"`--schedule-updates 5000000000` must lie in 1 to"),
        ({"optimizer": "sgd", "weight_decay": 0.1}, r"`--weight-decay 0.1` is adamw's"),
        ({"randomize_masses": (1.2, 0.8)}, r"`--randomize-masses 1.2 0.8` must be two positive"),
        ({"randomize_gains": (0.0, 0.8)}, r"`--randomize-gains 0.0 0.8` must be two positive"),
        ({"sensor_noise": -0.1}, r"`--sensor-noise -0.1` must be 0 or positive"),
        ({"resample_goals": 1.5}, r"`--resample-goals 1.5` must lie in \[0, 1\]"),
        ({"action_delay": (2, 1)}, r"`--action-delay 2 1` must be two numbers of control steps"),
        ({"variants": 0}, r"`--variants 0` must lie in 1 to 10,000"),
        ({"kernel": "triton"}, r"`--kernel triton` does not support a CPU: it needs a GPU"),
        (
            {"kernel": "packed", "remat": "none"},
            r"`--kernel packed` does not support `--remat none`: it needs 'auto'",
        ),
        (
            {"kernel": "packed", "activation": "relu"},
            r"`--kernel packed` needs residual blocks with LayerNorm and swish",
        ),
        ({"precision": "tf32"}, r"`--precision tf32` needs an NVIDIA GPU"),
        ({"seed": -1}, r"`--seed -1` must lie in 0 to"),
        ({"seed": 2**70}, r"must lie in 0 to 4294967295"),
        (
            {"objective": "sac", "policy_delay": 3},
            r"`--policy-delay 3` belongs to `--objective td3`: `sac` does not use it",
        ),
        ({"policy_delay": 3}, r"`--policy-delay 3` belongs to `--objective td3`: `crl` does not"),
        ({"objective": "gcbc", "energy": "dot"}, r"`--energy dot` belongs to `--objective crl`"),
        ({"objective": "gcbc", "eval_acting": "best-of"}, r"`--objective gcbc` learns no critic"),
        (
            {"objective": "ppo", "replay_capacity": 70},
            r"`--replay-capacity 70` belongs to `--objective crl or .*`: `ppo` does not use it",
        ),
        (
            {"objective": "ppo", "batch_size": 81},
            r"`--batch-size 81` is more than the 80 steps of an unroll.*`--num-envs 8`",
        ),
        ({"objective": "sac", "polyak_rate": 2.0}, r"`--polyak-rate 2.0` must lie in \[0, 1\]"),
        (
            {"objective": "td3", "target_noise": -1.0},
            r"`--target-noise -1.0` must be 0 or positive",
        ),
    ],
)
def test_a_mistake_is_found_before_anything_is_built(changes, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        check(tiny(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"temperature": 0.2}, "`--temperature 0.2` goes with `--energy cosine`: here it would"),
        ({"learned_temperature": False}, "`--no-learned-temperature` goes with `--energy cosine`"),
        ({"energy": "dot", "energy_epsilon": 1e-6}, "`--energy-epsilon 1e-06` goes with `--energy"),
        ({"schedule": "constant", "schedule_updates": 9}, "`--schedule-updates 9` goes with"),
        ({"schedule": "constant", "schedule_end": 0.5}, "`--schedule-end 0.5` goes with"),
        ({"hold_out_seed": 3}, "`--hold-out-seed 3` goes with `--hold-out`"),
        ({"variants": 8, "sensor_noise": 0.1}, "`--variants 8` goes with `--randomize-masses` or"),
        ({"wandb_group": "x"}, "`--wandb-group x` goes with `--wandb`"),
        ({"init_from": "runs/ant", "initial_alpha": 0.5}, "`--initial-alpha 0.5` goes with an"),
        (
            {"energy": "cosine", "temperature": 0.5, "init_from": "runs/ant"},
            "`--temperature 0.5` goes with an agent that begins anew",
        ),
        (
            {"objective": "c-learning", "variant": "nce", "max_weight": 5.0},
            "`--max-weight 5.0` goes with `--variant td`",
        ),
        (
            {"objective": "c-learning", "variant": "nce", "polyak_rate": 0.1},
            "`--polyak-rate 0.1` goes with `--variant td`",
        ),
    ],
)
def test_a_choice_that_would_do_nothing_is_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        check_needs([replaced(PRESETS["laptop"], **changes)])


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.2, "energy": "cosine"},
        {"schedule": "cosine", "schedule_updates": 9, "schedule_end": 0.5},
        {"variants": 8, "randomize_gains": (0.5, 1.0)},
        {"hold_out": 0.2, "hold_out_seed": 3},
    ],
)
def test_a_choice_beside_the_one_it_needs_is_taken(changes):
    check_needs([replaced(PRESETS["laptop"], **changes)])


def test_what_a_preset_says_was_not_asked_for():
    for preset in PRESETS.values():
        check_needs([preset, replaced(preset, schedule="constant", schedule_updates=None)])


def test_in_a_sweep_a_choice_has_to_do_something_in_one_of_its_runs():
    base = replaced(PRESETS["paper"], temperature=0.2)
    check_needs([base, replaced(base, energy="cosine")])
    assert idle(base) == {"temperature": 0.1}
    with pytest.raises(UserError, match="`--temperature 0.2` goes with `--energy cosine`"):
        check_needs([replaced(base, temperature=0.1), base, replaced(base, energy="mrn")])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "lion", "rmsprop", "adagrad"])
def test_optimisers_that_go_down_a_slope_are_taken(optimizer):
    check(tiny(optimizer=optimizer))


def test_a_task_is_randomized_only_if_a_choice_says_so_and_its_split_alike():
    plain = make_env(tiny(variants=8))
    assert not isinstance(plain, envs.Randomized)
    chosen = tiny(randomize_masses=(0.5, 2.0), sensor_noise=0.1, action_delay=(0, 2), variants=8)
    for name in (None, "point_u_maze_eval"):
        env = make_env(chosen, name)
        assert (env.variants, env.sensor_noise, env.action_delay) == (8, 0.1, (0, 2))
    noisy = make_env(tiny(sensor_noise=0.1))
    assert noisy.variants == 0, "nobody asked for other models"


def test_options_of_a_task_reach_it_and_its_split():
    words = ("torque=45", "control_dt=0.05", "ends=never", "episode_length=7")
    config = tiny(env="ant_u_maze", env_option=words)
    for name in (None, "ant_u_maze_eval"):
        env = make_env(config, name)
        assert (env.model.actuator_gear[:, 0] == 45).all()
        assert env.control_dt == pytest.approx(0.05) and env.episode_length == 7
        assert env.body.ends == "never"


def test_options_for_training_alone_win_there_and_are_not_evaluated():
    config = tiny(
        env="point_u_maze",
        env_option=("episode_length=50", "random_starts=0.1"),
        train_env_option=("random_starts=0.5",),
    )
    trained, judged = make_env(config, training=True), make_env(config)
    assert (trained.episode_length, trained.maze.random_starts) == (50, 0.5)
    assert (judged.episode_length, judged.maze.random_starts) == (50, 0.1)
    assert make_env(config, "point_u_maze_eval").maze.random_starts == 0.1


def test_goals_are_drawn_anew_in_training_alone_and_of_those_that_it_commands(tmp_path):
    run = Run(tiny(resample_goals=0.1, hold_out=0.3, sensor_noise=0.1), tmp_path)
    assert isinstance(run.step.env, ResampledGoals) and run.step.env.chance == 0.1
    assert not isinstance(run.env, ResampledGoals)
    inner = run.step.env.env
    assert isinstance(inner, Randomized) and isinstance(inner.env, HoldOut)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("arm_grasp", "`--resample-goals 0.1`, `--env arm_grasp`: The goals of ArmGrasp move"),
        ("gym:Pendulum-v1", "`--resample-goals 0.1`, `--env gym:Pendulum-v1`: .* needs a MuJoCo"),
    ],
)
def test_goals_that_cannot_be_drawn_anew(env, says):
    choices = dict(goal_indices=(0,), goal_low=(1.0,), goal_high=(1.0,), goal_threshold=0.1)
    others = choices if envs.is_gymnasium(env) else {}
    if others:
        pytest.importorskip("gymnasium")
    with pytest.raises(UserError, match=says):
        make_env(tiny(env=env, resample_goals=0.1, **others), training=True)


def test_a_policy_that_trains_no_spread_acts_with_the_noise_it_explores_with():
    acting = lambda **changes: make_acting(tiny(**changes), "stochastic")
    config = dict(objective="td3", exploration_noise=0.3, deterministic_share=0.0)
    assert acting(**config) is make_collecting(tiny(**config)) is noisy(0.3)
    assert acting(objective="sac") is stochastic


def test_a_run_collects_in_one_task_and_judges_in_the_other(tmp_path):
    config = tiny(train_env_option=("random_starts=0.5",), eval_split=True)
    run = Run(config, tmp_path)
    assert run.step.env.maze.random_starts == 0.5 and run.env.maze.random_starts == 0
    plain = Run(tiny(), tmp_path)
    assert plain.step.env is plain.env, "a second task would be a second model to compile"


@pytest.mark.parametrize(
    "words, sentence",
    [
        (dict(env_option=("torque=gym",)), "`--env-option torque=gym` with `--env point_u_maze`"),
        (dict(train_env_option=("random_starts=x",)), "`--train-env-option random_starts=x` must"),
        (
            dict(train_env_option=("random_starts=2",)),
            r"`--env point_u_maze --train-env-option random_starts=2`: `random_starts=2.0`",
        ),
        (
            dict(env="point_uu_maze"),
            "^`--env point_uu_maze`: no such task. Did you mean point_u_maze",
        ),
    ],
)
def test_a_mistake_in_an_option_is_found_before_a_run_is_begun(words, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        Run(tiny(**words), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_are_written_down_and_read_back_and_are_the_experiment(tmp_path):
    config = tiny(env_option=("torque=gym", "without_goals=[[1, 2]]"), horizon=3.0)
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config
    assert parse_config(flags(config), PRESETS["cpu-demo"], "train") == (config, (config.seed,))
    other = tiny(env_option=("torque=brax",), train_env_option=("random_starts=1",))
    told = " ".join(differences(tiny(), other))
    assert "--env-option () -> ('torque=brax',)" in told and "--train-env-option ()" in told


@pytest.mark.parametrize(
    "env, options, control_dt",
    [("point_u_maze", (), 0.2), ("ant", (), 0.1), ("ant", ("torque=gym",), 0.05)],
)
def test_a_horizon_in_seconds_becomes_the_discount_of_a_control_step(env, options, control_dt):
    config = tiny(env=env, env_option=options, horizon=4.0)
    check(config)
    discount = make_train_step(config, make_env(config)).buffer.discount
    assert discount == pytest.approx(math.exp(-control_dt / 4.0), rel=1e-6)
    # The geometric distribution of this discount has the horizon as its mean, within half a step.
    mean = control_dt / (1 - discount)
    assert mean == pytest.approx(4.0 + control_dt / 2, rel=1e-3)


def test_a_discount_stays_what_it_is():
    config = tiny(discount=0.9)
    assert make_train_step(config, make_env(config)).buffer.discount == 0.9


def test_a_horizon_needs_a_task_that_knows_its_seconds():
    config = tiny(horizon=4.0)
    sentence = "`--horizon 4.0` is in seconds, and this task does not say.*give `--discount`"
    with pytest.raises(UserError, match=sentence) as caught:
        make_train_step(config, Box())
    assert "\n" not in str(caught.value)


def test_shares_and_the_temperature_reach_what_trains_by_them():
    config = tiny(p_future=0.5, p_random=0.2, p_commanded=0.3, initial_alpha=0.2)
    env = make_env(config)
    objective = make_train_step(config, env).objective
    assert objective.goals == Goals(0.5, 0.2, 0.3)
    agent = make_agent(config, env, key=jax.random.key(0))
    assert jnp.exp(agent.log_alpha) == pytest.approx(0.2)


def moved(gradients, **learning):
    """How far the critic's optimiser moves a weight by each of these gradients."""
    optimizer = make_optimizers(tiny(**{"schedule": "constant"} | learning).learning)["critic"]
    with jax.numpy_dtype_promotion("standard"):
        weight, steps = jnp.ones(()), []
        state = optimizer.init(weight)
        for gradient in gradients:
            step, state = optimizer.update(jnp.asarray(gradient), state, weight)
            steps.append(float(step))
    return steps


def test_every_choice_about_the_optimiser_reaches_it():
    sgd = dict(optimizer="sgd", critic_learning_rate=0.1)
    assert moved([3.0], **sgd) == pytest.approx([-0.3])
    assert moved([3.0], max_grad_norm=1.0, **sgd) == pytest.approx([-0.1])
    assert moved([3.0], critic_learning_rate=1e-2) == pytest.approx([-1e-2], rel=1e-3)
    decayed = moved([3.0], critic_learning_rate=1e-2, weight_decay=0.5)
    assert decayed == pytest.approx([-1e-2 * 1.5], rel=1e-3)
    rising = moved([1.0] * 3, warmup_updates=2, **sgd)
    assert rising == pytest.approx([0.0, -0.05, -0.1])
    falling = moved(
        [1.0] * 4, **sgd | dict(schedule="cosine", schedule_updates=2, schedule_end=0.2)
    )
    assert falling == pytest.approx([-0.1, -0.06, -0.02, -0.02])
    late = sgd | dict(schedule="cooldown", schedule_updates=10, schedule_end=0.2)
    cooling = [-0.1] * 9 + [-0.06, -0.02, -0.02]
    assert moved([1.0] * 12, **late) == pytest.approx(cooling)
    warmed = moved([1.0] * 12, warmup_updates=2, **late)
    assert warmed == pytest.approx([0.0, -0.05, *cooling[2:]])
    assert moved([1.0] * 3, **late | dict(schedule_updates=1)) == pytest.approx(
        [-0.1, -0.02, -0.02]
    )


def test_a_schedule_is_as_long_as_the_run_unless_told_otherwise():
    length = lambda config: resolved(config).learning.schedule_updates
    late = dict(schedule="cooldown", schedule_updates=None)
    # 15 unrolls of 80 steps, of which two are the prefill.
    assert length(tiny(**late)) == 31 == round(13 * 80 * 0.03)
    assert length(tiny(objective="ppo", **late)) == 15 * 4 * (80 // 32)
    assert length(tiny(**late | dict(schedule_updates=7))) == 7
    assert length(tiny(schedule="constant", schedule_updates=None)) is None
    with pytest.raises(UserError, match="`--num-envs 0` must be at least 1"):
        length(tiny(num_envs=0, **late))


def test_a_policy_that_moves_at_every_other_step_keeps_pace_with_its_schedule():
    chosen = tiny(objective="td3", policy_delay=2, optimizer="sgd", schedule="cooldown")
    chosen = replaced(chosen, schedule_updates=20, warmup_updates=4, actor_learning_rate=0.1)
    step = make_train_step(chosen, make_env(chosen))
    optimizer, weight, steps = step.optimizers["actor"], jnp.ones(()), []
    state = optimizer.init(weight)
    for _ in range(11):
        with jax.numpy_dtype_promotion("standard"):
            move, state = optimizer.update(weight, state, weight)
        steps.append(float(move))
    assert steps == pytest.approx([0.0, -0.05, *[-0.1] * 7, -0.055, -0.01])


def test_a_run_keeps_its_schedule_when_its_budget_is_raised():
    asked = tiny(schedule="cooldown", schedule_updates=None)
    begun = resolved(asked)
    longer = resumed_config(begun, replaced(asked, total_env_steps=5000), "crl-eqx resume")
    assert longer == replaced(begun, total_env_steps=5000)
    with pytest.raises(UserError, match="--schedule-updates 31 -> 99"):
        resumed_config(begun, replaced(asked, schedule_updates=99), "crl-eqx resume")


def test_every_flag_has_a_sentence_of_help():
    groups = [type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)]
    for group in (Config, *filter(dataclasses.is_dataclass, groups)):
        lines = inspect.getsource(group).splitlines()
        for field in dataclasses.fields(group):
            if not dataclasses.is_dataclass(getattr(group(), field.name)):
                at = next(
                    i for i, line in enumerate(lines) if line.startswith(f"    {field.name}:")
                )
                assert lines[at + 1].strip().startswith('"""'), field.name


@pytest.mark.parametrize(
    "change, named",
    [
        ({"discuont": 0.97}, "discuont"),
        ({"learning": {"policy_goals": "rolled"}}, "learning.policy_goals"),
    ],
)
def test_a_configuration_with_an_unknown_key_is_refused(change, named, tmp_path):
    """What is not known would silently become its default."""
    save_config(tiny(), tmp_path / "config.json")
    written = json.loads((tmp_path / "config.json").read_text())
    for key, value in change.items():
        written[key] = written.get(key, {}) | value if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=f"does not know: {named}. It was misspelt"):
        load_config(tmp_path / "config.json")


def test_a_horizon_far_below_the_control_step_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`--horizon 1e-09` is far below the task's control step"):
        Run(tiny(horizon=1e-9), tmp_path)


def test_training_options_that_change_the_sizes_are_refused(tmp_path):
    config = tiny(env="ant_ball", train_env_option=("object_velocity=true",))
    with pytest.raises(UserError, match=r"trains on .*\(33, 8, 2\), and is evaluated on \(31, 8"):
        Run(config, tmp_path)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lion"])
def test_a_temperature_of_zero_stays_and_a_temperature_does_not_decay(optimizer):
    alpha = make_optimizers(tiny(optimizer=optimizer).learning)["alpha"]
    still = jnp.zeros(())
    for log_alpha in (jnp.asarray(3.0), jnp.asarray(-3.0)):
        state = alpha.init(log_alpha)
        with jax.numpy_dtype_promotion("standard"):
            step, _ = alpha.update(still, state, log_alpha)
        assert step == 0


@pytest.mark.parametrize(
    "choices, words",
    [
        (dict(schedule="cosine", schedule_updates=10, warmup_updates=100), "the schedule of 10"),
        (dict(schedule="constant", warmup_updates=90_000_000), "the run, which makes"),
        (dict(schedule="cooldown", warmup_updates=90_000_000), "the run, which makes"),
    ],
)
def test_a_warmup_is_shorter_than_what_it_begins(choices, words):
    with pytest.raises(UserError, match=f"`--warmup-updates .* would last longer than {words}"):
        resolved(replaced(PRESETS["paper"], **choices))
