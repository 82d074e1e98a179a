"""From choices to objects: the only place where the command line's words become functions."""

import dataclasses
import functools
import importlib.util
import inspect
import math
from collections.abc import Callable
from typing import Any, assert_never, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .. import energy as energies, envs, losses
from .._agent import Agent
from .._checks import fits_float32, LARGEST, SMALLEST
from .._env import AbstractGoalEnv
from .._errors import UserError
from .._step import Optimizers
from .._train import (
    Acting,
    best_of,
    deterministic,
    partly_deterministic,
    stochastic,
    TrainStep,
)
from .._types import PRNGKey
from ..energy import AbstractEnergy
from ..nn import check_depth, ResidualBlock, Stacked
from ..objectives import check_shares, CRL
from ._config import (
    ActingName,
    Config,
    Data,
    flag,
    flat,
    Gymnasium,
    Learning,
    Network,
    Randomization,
)


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
    if chosen == dataclasses.replace(Randomization(), variants=chosen.variants):
        return env
    return envs.randomize(
        env,
        masses=chosen.randomize_masses,
        friction=chosen.randomize_friction,
        gains=chosen.randomize_gains,
        sensor_noise=chosen.sensor_noise,
        action_delay=chosen.action_delay,
        variants=chosen.variants,
    )


def make_regions(config: Config) -> envs.HoldOut | None:
    """The task's goals as `--hold-out` parts them; None without it.

    **Raises:** `UserError` where none can be held out.
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
    """As `make_env`, but not randomized, and with all of its goals."""
    name = name or config.env
    foreign = envs.is_gymnasium(name)  # and with a physics of its own
    physics = None if config.physics == "auto" or foreign else config.physics
    options = envs.options_from_words(name, config.task.env_option)
    if training:
        options |= envs.options_from_words(
            name, config.task.train_env_option, flag="--train-env-option"
        )
    if foreign:
        options |= _gymnasium_options(config.gymnasium)
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
    """Of state, action and goal: what an agent must fit."""
    return env.state_size, env.action_size, env.goal_size


def discount(learning: Learning, env: AbstractGoalEnv) -> float:
    """The discount per control step of `env`: as it stands, or from the horizon in seconds.

    **Raises:** `UserError` where the task does not say how long a step takes.
    """
    if learning.horizon is None:
        assert learning.discount is not None  # `check` refuses a run with neither
        return learning.discount
    control_dt = getattr(env, "control_dt", None)
    if control_dt is None:
        raise UserError(
            f"`--horizon {learning.horizon}` is in seconds, and this task does not say how many a "
            f"control step takes: give `--discount` instead."
        )
    discount = math.exp(-control_dt / learning.horizon)
    if discount == 0:
        raise UserError(
            f"`--horizon {learning.horizon:g}` is far below the task's control step of "
            f"{control_dt:g} s: no future lies so near."
        )
    return discount


def with_physics(config: Config) -> Config:
    """`config` with the physics that `auto` means here: a run keeps its own wherever it is
    resumed."""
    if config.physics != "auto" or envs.is_gymnasium(config.env):
        return config
    return dataclasses.replace(config, physics=envs.default_physics(config.data.num_envs))


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
        initial_alpha=config.learning.initial_alpha,
        residual=network.residual,
        layer_norm=network.layer_norm,
        activation=network.activation,
        **dataclasses.asdict(config.compute),
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


def make_collecting(data: Data) -> Acting:
    if data.deterministic_share:
        return partly_deterministic(data.deterministic_share)
    return make_acting(data.collect_acting, data.candidates)


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


def _without_decay(learning: Learning, decays: bool) -> dict[str, float]:
    """Turns off the weight decay that some optimisers have by themselves, unless it `decays`."""
    known = inspect.signature(getattr(optax, learning.optimizer)).parameters
    return {} if decays or "weight_decay" not in known else {"weight_decay": 0.0}


def _optimizer(
    learning: Learning, peak: float, *, decays: bool = True
) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(learning.max_grad_norm) if learning.max_grad_norm else None
    rate = _schedule(learning, peak)
    if learning.weight_decay and decays:
        step = optax.adamw(rate, weight_decay=learning.weight_decay)
    else:
        step = getattr(optax, learning.optimizer)(rate, **_without_decay(learning, decays))
    return step if clip is None else optax.chain(clip, step)


@functools.cache  # equal choices are one object: several seeds share what is compiled
def make_optimizers(learning: Learning) -> Optimizers:
    return {
        "actor": _optimizer(learning, learning.actor_learning_rate),
        "critic": _optimizer(learning, learning.critic_learning_rate),
        # A temperature is no weight: nothing should pull it towards 1.
        "alpha": _optimizer(learning, learning.alpha_learning_rate, decays=False),
    }


def make_train_step(config: Config, env: AbstractGoalEnv) -> TrainStep:
    data, learning = config.data, config.learning
    return TrainStep(
        env,
        CRL(
            loss=losses.ALL[learning.contrastive_loss],
            logsumexp_penalty=learning.logsumexp_penalty,
            target_entropy_per_action=learning.target_entropy_per_action,
            p_future=learning.p_future,
            p_random=learning.p_random,
            p_commanded=learning.p_commanded,
        ),
        make_optimizers(learning),
        num_envs=data.num_envs,
        unroll_length=data.unroll_length,
        prefill_length=data.prefill_length,
        batch_size=learning.batch_size,
        updates_per_env_step=data.updates_per_env_step,
        replay_capacity=data.replay_capacity,
        absorbing=data.absorbing,
        discount=discount(learning, env),
        acting=make_collecting(data),
        policy_average=learning.policy_average,
    )


def check(config: Config) -> None:
    """Finds a mistake in the choices before anything is compiled.

    **Raises:** `UserError`, one sentence in the words of the command line.
    """
    _check_depths(config.network)
    _check_numbers(config)
    _check_goals(config.learning)
    _check_optimizer(config.learning)
    _check_randomization(config.randomization)
    _check_gymnasium(config)
    check_compute(config)
    if config.logging.wandb and importlib.util.find_spec("wandb") is None:
        raise UserError("`--wandb` needs Weights & Biases: pip install wandb.")
    if config.logging.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError("`--tensorboard` needs tensorboardX: pip install it, or --no-tensorboard.")
    if config.learning.energy == "mrn" and config.network.repr_size % 2:
        raise UserError(
            f"`--repr-size {config.network.repr_size}` must be even under `--energy mrn`: the "
            f"energy reads it in two halves."
        )
    data = config.data
    if data.deterministic_share and data.collect_acting != "stochastic":
        raise UserError(
            f"`--deterministic-share {data.deterministic_share:g}` goes with `--collect-acting "
            f"stochastic`, not with `{data.collect_acting}`."
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
    distinct = 0 < len(set(config.seed)) == len(config.seed)
    if not distinct or not all(0 <= seed < 2**32 for seed in config.seed):
        raise UserError(
            f"`--seed {' '.join(map(str, config.seed))}` must name distinct seeds, each from 0 to "
            f"{2**32 - 1}."
        )


def _check_goals(learning: Learning) -> None:
    names = ("p_future", "p_random", "p_commanded")
    shares = {name: getattr(learning, name) for name in names}
    words = " ".join(f"{flag(name)} {share:g}" for name, share in shares.items())
    check_shares({flag(name): share for name, share in shares.items()}, f"`{words}`")
    if learning.discount is not None and learning.horizon is not None:
        raise UserError(
            f"`--horizon {learning.horizon:g}` and `--discount {learning.discount:g}` say the same "
            f"thing in two ways: give one of them."
        )
    if learning.discount is None and learning.horizon is None:
        raise UserError("`--discount` and `--horizon` are both None: give one of them.")


def _check_randomization(chosen: Randomization) -> None:
    words = lambda name: f"{flag(name)} {' '.join(map(str, getattr(chosen, name)))}"
    for name in ("randomize_masses", "randomize_friction", "randomize_gains"):
        envs.check_factors(getattr(chosen, name), words(name))
    envs.check_delay(chosen.action_delay, words("action_delay"))


def _check_gymnasium(config: Config) -> None:
    choices = config.gymnasium
    if not envs.is_gymnasium(config.env):
        for name, value in dataclasses.asdict(choices).items():
            if value not in ((), None):
                raise UserError(
                    f"`{flag(name)}` is for environments of Gymnasium, `--env gym:NAME`, and "
                    f"`--env {config.env}` is none."
                )
        return
    if config.physics != "auto":
        raise UserError(
            f"`--physics {config.physics}`: `--env {config.env}` brings its own physics."
        )
    sizes = [len(part) for part in (choices.goal_indices, choices.goal_low, choices.goal_high)]
    if len(set(sizes)) > 1:
        raise UserError(
            f"`--goal-indices`, `--goal-low` and `--goal-high` must be equally many numbers, and "
            f"are {sizes[0]}, {sizes[1]} and {sizes[2]}."
        )
    for low, high in zip(choices.goal_low, choices.goal_high, strict=True):
        if not (low <= high and fits_float32(high - low)):
            raise UserError(
                f"`--goal-low {low}` must not be above `--goal-high {high}`, nor too far below it "
                f"for float32."
            )


def _prefill_env_steps(config: Config) -> int:
    data = config.data
    return -(-data.prefill_length // data.unroll_length) * data.unroll_length * data.num_envs


def _check_depths(network: Network) -> None:
    for name in ("depth", "actor_depth", "critic_depth"):
        depth = getattr(network, name)
        if depth is not None:
            check_depth(depth, f"--{name.replace('_', '-')} {depth}")


MOST = 100_000
"""Episodes at once, and samples that best-of chooses from: more fit into no memory."""


class _Demand(NamedTuple):
    """What a number must do, and whether it does."""

    words: str
    met: Callable[[float], bool]


_POSITIVE = _Demand("be positive", lambda x: x > 0)
_NOT_NEGATIVE = _Demand("not be negative", lambda x: x >= 0)
_SHARE = _Demand("lie in [0, 1]", lambda x: 0 <= x <= 1)
_COUNT = _Demand("lie in 0 to 1e9", lambda x: 0 <= x <= 1e9)
_ANY = _Demand("be a number", lambda x: True)

_DEMANDS = {
    "discount": _Demand("lie in (0, 1]", lambda x: 0 < x <= 1),
    "logsumexp_penalty": _ANY,
    "target_entropy_per_action": _ANY,
    "initial_alpha": _NOT_NEGATIVE,
    "p_future": _SHARE,
    "p_random": _SHARE,
    "p_commanded": _SHARE,
    "deterministic_share": _SHARE,
    "schedule_end": _SHARE,
    "alpha_learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "policy_average": _COUNT,
    "warmup_updates": _COUNT,
    "hold_out": _Demand("be at least 0 and less than 1", lambda x: 0 <= x < 1),
    "hold_out_seed": _Demand("lie in 0 to 2^32 - 1", lambda x: 0 <= x < 2**32),
    "sensor_noise": _NOT_NEGATIVE,
    "prefill_length": _NOT_NEGATIVE,
    "updates_per_env_step": _Demand(
        "be 0 or lie in 1e-5 to 1000", lambda x: x == 0 or 1e-5 <= x <= 1000
    ),
    "variants": _Demand("lie in 1 to 10,000", lambda x: 1 <= x <= 10_000),
    "eval_episodes": _Demand(f"lie in 1 to {MOST:,}", lambda x: 1 <= x <= MOST),
    "stop_at_success": _Demand("lie in (0, 1]", lambda x: 0 < x <= 1),
    "candidates": _Demand(f"lie in 1 to {MOST:,}", lambda x: 1 <= x <= MOST),
    # The counters of steps are 32-bit numbers, and a run may collect one unroll more.
    "total_env_steps": _Demand("be positive and less than 2e9", lambda x: 0 < x < 2e9),
}
"""Every other number must be positive."""


def _check_numbers(config: Config) -> None:
    for _, name, value in flat(config):
        demand = _DEMANDS.get(name, _POSITIVE)
        if isinstance(value, int | float) and not isinstance(value, bool) and not demand.met(value):
            raise UserError(f"`{flag(name)} {value}` must {demand.words}.")
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, float) and not fits_float32(x) for x in numbers):
            raise UserError(
                f"`{flag(name)} {' '.join(map(str, numbers))}` must be finite in float32, whose "
                f"numbers are 0, or {SMALLEST:.1e} to {LARGEST:.1e} in size."
            )


def check_call(*, seed: int = 0, **counts: int) -> None:
    """**Raises:** `UserError` for a seed or a count that cannot be, named as its flag."""
    if not 0 <= seed < 2**32:
        raise UserError(f"`--seed {seed}` must lie in 0 to {2**32 - 1}.")
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"`{flag(name)} {value}` must {_POSITIVE.words}.")
        if value > MOST:
            raise UserError(f"`{flag(name)} {value}` must be at most {MOST:,}.")


def check_compute(config: Config) -> None:
    """**Raises:** `UserError` where the networks cannot be computed as asked for, or not here."""
    network, compute = config.network, dataclasses.asdict(config.compute)

    def stack(key: PRNGKey) -> Stacked:
        block = lambda key: ResidualBlock(
            network.width,
            residual=network.residual,
            layer_norm=network.layer_norm,
            activation=network.activation,
            key=key,
        )
        return Stacked(block, 1, key=key, **compute)

    try:
        eqx.filter_eval_shape(stack, jax.random.key(0))
    except UserError as error:
        chosen = " ".join(f"{flag(n)} {v}" for n, v in compute.items() if v != "auto")
        raise UserError(f"`{chosen}`: {error}") from error


def _check_optimizer(learning: Learning) -> None:
    if not _descends(learning):
        raise UserError(
            f"`--optimizer {learning.optimizer}`: Optax has no optimiser of this name that needs a "
            f"learning rate and a gradient alone."
        )
    if learning.weight_decay and learning.optimizer not in ("adam", "adamw"):
        raise UserError(
            f"`--weight-decay {learning.weight_decay}` is adamw's and cannot be combined with "
            f"`--optimizer {learning.optimizer}`."
        )


def _descends(learning: Learning) -> bool:
    """Whether the optimiser exists, and goes down a slope."""
    weight = jnp.ones((2, 2))
    try:
        optimizer = getattr(optax, learning.optimizer)(learning.actor_learning_rate)
        with jax.numpy_dtype_promotion("standard"):
            step, _ = optimizer.update(weight, optimizer.init(weight), weight)
        return bool(jnp.all(step < 0))
    except Exception:  # anything of Optax's may be named, and what it then raises is its own
        return False
