"""From choices to objects: the only place where the command line's words become functions."""

import dataclasses
from typing import assert_never

import jax
import optax

from .. import energy as energies, envs, losses
from .._agent import Agent
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._step import Optimizers
from .._train import Acting, best_of, deterministic, stochastic, TrainStep
from .._types import PRNGKey
from ..energy import AbstractEnergy
from ..nn import check_depth
from ..objectives import CRL
from ._config import ActingName, Config, Learning, Network


ACTIVATIONS = {
    "swish": jax.nn.swish,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jax.nn.tanh,
}


def make_env(config: Config, name: str | None = None) -> AbstractGoalEnv:
    """The task, or another one (its evaluation split) on the same physics."""
    physics = None if config.physics == "auto" else config.physics
    return envs.make(name or config.env, physics=physics)


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
    network = config.network
    return Agent.create(
        env,
        depth=network.depth,
        actor_depth=network.actor_depth,
        critic_depth=network.critic_depth,
        width=network.width,
        repr_size=network.repr_size,
        energy=make_energy(config.learning),
        normalize=network.normalize_observations,
        residual=network.residual,
        layer_norm=network.layer_norm,
        activation=ACTIVATIONS[network.activation],
        remat=config.logging.remat,
        key=key,
    )


def make_acting(name: ActingName, candidates: int) -> Acting:
    match name:
        case "stochastic":
            return stochastic
        case "deterministic":
            return deterministic
        case "best-of":
            return best_of(candidates)
        case _:
            assert_never(name)


def _schedule(learning: Learning, peak: float) -> float | optax.Schedule:
    if learning.schedule == "cosine":
        after = optax.cosine_decay_schedule(
            peak,
            max(learning.schedule_updates - learning.warmup_updates, 1),
            learning.schedule_end,
        )
    elif learning.warmup_updates:
        after = optax.constant_schedule(peak)
    else:
        return peak
    rise = optax.linear_schedule(0.0, peak, learning.warmup_updates)
    return optax.join_schedules([rise, after], [learning.warmup_updates])


def _optimizer(learning: Learning, peak: float) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(learning.max_grad_norm) if learning.max_grad_norm else None
    rate = _schedule(learning, peak)
    if learning.weight_decay:
        step = optax.adamw(rate, weight_decay=learning.weight_decay)
    else:
        step = getattr(optax, learning.optimizer)(rate)
    return step if clip is None else optax.chain(clip, step)


def make_optimizers(learning: Learning) -> Optimizers:
    return {
        "actor": _optimizer(learning, learning.actor_learning_rate),
        "critic": _optimizer(learning, learning.critic_learning_rate),
        "alpha": _optimizer(
            dataclasses.replace(learning, weight_decay=0.0), learning.alpha_learning_rate
        ),
    }


def make_train_step(config: Config, env: AbstractGoalEnv) -> TrainStep:
    data, learning = config.data, config.learning
    return TrainStep(
        env,
        CRL(
            loss=losses.ALL[learning.contrastive_loss],
            logsumexp_penalty=learning.logsumexp_penalty,
            target_entropy_per_action=learning.target_entropy_per_action,
            policy_goals=learning.policy_goals,
            rolled_probability=learning.rolled_probability,
        ),
        make_optimizers(learning),
        num_envs=data.num_envs,
        unroll_length=data.unroll_length,
        prefill_length=data.prefill_length,
        batch_size=learning.batch_size,
        updates_per_env_step=data.updates_per_env_step,
        replay_capacity=data.replay_capacity,
        discount=learning.discount,
        acting=make_acting(data.collect_acting, data.candidates),
    )


def check(config: Config) -> None:
    """Finds a mistake in the choices before anything is compiled.

    **Raises:** `UserError`, one sentence in the words of the command line.
    """
    _check_depths(config.network)
    _check_positive(config)
    if not 0 < config.learning.discount <= 1:
        raise UserError(f"`--discount {config.learning.discount}` must lie in (0, 1].")
    _check_optimizer(config.learning)
    if config.learning.energy == "mrn" and config.network.repr_size % 2:
        raise UserError(
            f"`--repr-size {config.network.repr_size}` must be even under `--energy mrn`: the "
            f"energy reads it in two halves."
        )
    prefill = _prefill_env_steps(config)
    if config.total_env_steps <= prefill:
        raise UserError(
            f"`--total-env-steps {config.total_env_steps}` leaves nothing to train on: the prefill "
            f"alone takes {prefill} environment steps; raise it, or lower `--prefill-length "
            f"{config.data.prefill_length}` or `--num-envs {config.data.num_envs}`."
        )
    stored = min(prefill, config.data.replay_capacity * config.data.num_envs)
    if not 2 <= config.learning.batch_size <= stored:
        raise UserError(
            f"`--batch-size {config.learning.batch_size}` must lie between 2 and the {stored} "
            f"steps that are stored before the first update: lower it, or raise `--prefill-length "
            f"{config.data.prefill_length}` or `--num-envs {config.data.num_envs}`."
        )
    if len(set(config.seed)) != len(config.seed) or not config.seed:
        raise UserError(f"`--seed {' '.join(map(str, config.seed))}` must name distinct seeds.")


def _prefill_env_steps(config: Config) -> int:
    data = config.data
    return -(-data.prefill_length // data.unroll_length) * data.unroll_length * data.num_envs


def _check_depths(network: Network) -> None:
    for name in ("depth", "actor_depth", "critic_depth"):
        depth = getattr(network, name)
        if depth is not None:
            check_depth(depth, f"--{name.replace('_', '-')} {depth}")


def _check_positive(config: Config) -> None:
    groups = (
        config,
        config.network,
        config.learning,
        config.data,
        config.evaluation,
        config.logging,
    )
    may_be_zero = {"warmup_updates", "prefill_length"}
    for group in groups:
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if whole and value < (0 if field.name in may_be_zero else 1):
                raise UserError(f"`--{field.name.replace('_', '-')} {value}` must be positive.")
    if config.data.updates_per_env_step < 0:
        ratio = config.data.updates_per_env_step
        raise UserError(f"`--updates-per-env-step {ratio}` must not be negative.")


def _check_optimizer(learning: Learning) -> None:
    try:
        built = getattr(optax, learning.optimizer)(learning.actor_learning_rate)
    except (AttributeError, TypeError):
        built = None
    if not isinstance(built, optax.GradientTransformation):
        raise UserError(
            f"`--optimizer {learning.optimizer}`: Optax has no optimiser of this name that takes a "
            f"learning rate."
        )
    if learning.weight_decay and learning.optimizer != "adam":
        raise UserError(
            f"`--weight-decay {learning.weight_decay}` is adamw's and cannot be combined with "
            f"`--optimizer {learning.optimizer}`."
        )
