"""From choices to objects: here and in `_objective.py` words become functions."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, assert_never, Literal

import jax
import jax.numpy as jnp

from .. import energy as energies, envs
from .._acting import Acting, best_of, deterministic, noisy, partly_deterministic, stochastic
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._on_policy import OnPolicyStep
from .._step import AbstractTrainStep, MetricsOf
from .._train import TrainStep
from .._types import PRNGKey
from ..config import ActingName, Config, Gymnasium, Learning, Randomization
from ..energy import AbstractEnergy
from ..objectives import PPO, TD3
from ._objective import discount, KINDS, make_objective
from ._optimizers import make_optimizers


def make_env(
    config: Config,
    name: str | None = None,
    *,
    training: bool = False,
    regions: envs.HoldOut | None = None,
    goals: Literal["seen", "unseen"] = "seen",
) -> AbstractGoalEnv:
    """The task as it is evaluated, or trained on; or another one (its evaluation split) with the
    same options, on the same physics, randomized alike; with `regions` only those `goals`."""
    env = make_task(config, name, training=training)
    if regions is not None:
        assert isinstance(env, envs.AbstractMujocoEnv)  # as that of the regions
        env = regions.commanding(goals, env)
    chosen = config.randomization
    if chosen != dataclasses.replace(Randomization(), variants=chosen.variants):
        env = envs.randomize(env, **randomization_options(chosen))
    return _resampled(config, env) if training and config.task.resample_goals else env


def _resampled(config: Config, env: AbstractGoalEnv) -> AbstractGoalEnv:
    """**Raises:** `UserError` if the task's goals cannot be drawn anew within an episode."""
    chance = config.task.resample_goals
    try:
        return envs.resample_goals(env, chance)
    except UserError as error:
        raise UserError(f"`--resample-goals {chance:g}`, `--env {config.env}`: {error}") from error


def randomization_options(chosen: Randomization) -> dict[str, Any]:
    """The choices in the words of `crl_eqx.envs.randomize`."""
    return dict(
        masses=chosen.randomize_masses,
        friction=chosen.randomize_friction,
        gains=chosen.randomize_gains,
        sensor_noise=chosen.sensor_noise,
        action_delay=chosen.action_delay,
        variants=chosen.variants,
    )


def make_regions(config: Config) -> envs.HoldOut | None:
    """The task's goals as `--hold-out` splits them; None without it.

    **Raises:** `UserError` if none can be held out.
    """
    share, seed = config.task.hold_out, config.task.hold_out_seed
    if not share:
        return None
    try:
        return envs.hold_out(make_task(config), share, seed=seed)
    except UserError as error:
        raise UserError(f"`--hold-out {share:g}`, `--env {config.env}`: {error}") from error


def make_task(
    config: Config, name: str | None = None, *, training: bool = False
) -> AbstractGoalEnv:
    """As `make_env`, but not randomized, and with all of its goals.

    **Raises:** `UserError`, in the words of the command line, if there is no such task or option.
    """
    name, task = name or config.env, config.task
    given = [f" --env-option {word}" for word in task.env_option]
    given += [f" --train-env-option {word}" for word in task.train_env_option if training]
    with asked_as(f"--env {name}{''.join(given)}", name):
        return _task(config, name, training)


def make_far(config: Config) -> tuple[str, AbstractGoalEnv] | None:
    """The task of the far goals alone, and its name, if there is one. A run that does without
    (`--no-eval-split`) may have options that do not fit it: then there is none.

    **Raises:** as `make_task`.
    """
    name = envs.eval_split(config.env)
    if name is None:
        return None
    try:
        return name, make_env(config, name)
    except UserError as error:
        if not config.evaluation.eval_split:
            return None
        raise UserError(
            f"{error} This is about the task's far goals, {name}: `--no-eval-split` leaves them "
            f"out."
        ) from error


def task_from_words(call: str, name: str, words: Sequence[str]) -> AbstractGoalEnv:
    """The task `name` with the options of `--env-option`, without a run; asked for by `call`. On
    native physics, which has nothing to compile: it is for a look at the task.

    **Raises:** `UserError`, in the words of the command line, if there is no such task or option.
    """
    given = "".join(f" --env-option {word}" for word in words)
    with asked_as(f"{call}{given}", name):
        physics = None if envs.is_gymnasium(name) else "native"
        return envs.make(name, physics=physics, **envs.options_from_words(name, words))


@contextlib.contextmanager
def asked_as(call: str, name: str) -> Iterator[None]:
    """Mistakes in `envs.make(name, ...)` are told of `call`, as their user wrote it, unless they
    name a flag themselves."""
    try:
        yield
    except UserError as error:
        told = str(error).removeprefix(f"`make({name!r})`: ")
        if told.startswith("`--"):
            raise
        raise UserError(f"`{call}`: {told}") from error


def _task(config: Config, name: str, training: bool) -> AbstractGoalEnv:
    foreign = envs.is_gymnasium(name)  # and with a physics of its own
    physics = None if config.physics == "auto" or foreign else config.physics
    options = envs.options_from_words(name, config.task.env_option)
    if foreign:
        flags = _gymnasium_options(config.gymnasium)
        for option in sorted(set(flags) & set(options)):
            raise UserError(
                f"`--env-option {option}={options[option]}`: another flag of `--env {name}` has "
                f"{flags[option]} for it; give one of the two."
            )
        options |= flags
    if training:
        options |= envs.options_from_words(
            name, config.task.train_env_option, flag="--train-env-option"
        )
    return envs.make(name, physics=physics, **options)


def _gymnasium_options(choices: Gymnasium) -> dict[str, Any]:
    """The choices in the words of `crl_eqx.envs.gym.GymnasiumGoalEnv`."""
    options: dict[str, Any] = {}
    if choices.goal_indices:
        low, high = jnp.array(choices.goal_low), jnp.array(choices.goal_high)
        options["achieved_goal"] = choices.goal_indices
        options["draw_goal"] = lambda key: jax.random.uniform(key, low.shape, low.dtype, low, high)
    if choices.goal_threshold is not None:
        options["threshold"] = choices.goal_threshold
    if choices.episode_length is not None:
        options["episode_length"] = choices.episode_length
    return options


def sizes(env: AbstractGoalEnv) -> tuple[int, int, int]:
    """The sizes of state, action and goal, which an agent must fit."""
    return env.state_size, env.action_size, env.goal_size


def make_energy(learning: Learning) -> AbstractEnergy:
    match learning.energy:
        case "neg_l2":
            return energies.NegL2(learning.energy_epsilon)
        case "neg_squared_l2":
            return energies.NegSquaredL2()
        case "dot":
            return energies.Dot()
        case "cosine":
            return energies.Cosine(learning.temperature, learned=learning.learned_temperature)
        case "mrn":
            return energies.MRN(learning.energy_epsilon)
        case _:
            assert_never(learning.energy)


def make_agent(config: Config, env: AbstractGoalEnv, *, key: PRNGKey) -> Agent:
    network, critic = config.network, KINDS[config.objective.objective].critic
    return Agent.create(
        env,
        critic=critic,
        repr_size=network.repr_size,
        energy=make_energy(config.learning) if critic == "contrastive" else None,
        depth=network.depth,
        actor_depth=network.actor_depth,
        critic_depth=network.critic_depth,
        width=network.width,
        normalize=network.normalize_observations,
        initial_alpha=config.learning.initial_alpha,
        residual=network.residual,
        layer_norm=network.layer_norm,
        activation=network.activation,
        compute=config.compute,
        key=key,
    )


def make_acting(config: Config, name: ActingName, candidates: int | None = None) -> Acting:
    """How the run's agent acts, by default with the run's own number of candidates."""
    chosen = config.objective
    candidates = config.data.candidates if candidates is None else candidates
    match name:
        case "stochastic" if chosen.objective == "td3":  # which trains no spread of its own
            return noisy(chosen.exploration_noise)
        case "stochastic":
            return stochastic
        case "deterministic":
            return deterministic
        case "best-of":
            return best_of(candidates)
        case _:
            assert_never(name)


def make_collecting(config: Config) -> Acting:
    data, chosen = config.data, config.objective
    if chosen.objective == "td3" and data.collect_acting == "stochastic":
        return noisy(chosen.exploration_noise, deterministic_share=data.deterministic_share)
    if data.deterministic_share:
        return partly_deterministic(data.deterministic_share)
    return make_acting(config, data.collect_acting)


def make_train_step(
    config: Config, env: AbstractGoalEnv, collecting: Acting | None = None
) -> AbstractTrainStep:
    """`collecting` is how experience is collected, by default as `config` says."""
    data, learning = config.data, config.learning
    objective = make_objective(config, env)
    delay = objective.policy_delay if isinstance(objective, TD3) else 1
    optimizers = make_optimizers(learning, delay)
    if isinstance(objective, PPO):
        return OnPolicyStep(
            env,
            objective,
            optimizers,
            num_envs=data.num_envs,
            unroll_length=data.unroll_length,
            batch_size=learning.batch_size,
            train_episode_length=data.train_episode_length,
            epochs=config.objective.epochs,
            policy_average=learning.policy_average,
            metrics_of=_metrics_of(config),
        )
    return TrainStep(
        env,
        objective,
        optimizers,
        num_envs=data.num_envs,
        unroll_length=data.unroll_length,
        prefill_length=data.prefill_length,
        batch_size=learning.batch_size,
        train_episode_length=data.train_episode_length,
        updates_per_env_step=data.updates_per_env_step,
        replay_capacity=data.replay_capacity,
        absorbing=data.absorbing,
        discount=discount(learning, env),
        acting=make_collecting(config) if collecting is None else collecting,
        policy_average=learning.policy_average,
        metrics_of=_metrics_of(config),
    )


def _metrics_of(config: Config) -> MetricsOf:
    chosen = config.logging.metrics_of
    if chosen != "auto":
        return chosen
    # td3's policy rests in some updates, of which the last may be one.
    alike = config.objective.objective != "td3"
    return "last" if alike and jax.default_backend() == "gpu" else "all"
