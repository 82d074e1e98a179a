"""Finds mistakes in the choices before anything is compiled."""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax

from .. import envs
from .._checks import fits_float32, LARGEST, SMALLEST
from .._errors import UserError
from .._types import PRNGKey
from ..nn import check_depth, ResidualBlock, Stacked
from ..objectives import check_shares
from ._config import Config, flag, flat, Learning, Network, Randomization
from ._objective import check_objective
from ._optimizers import check_optimizer


def check(config: Config) -> None:
    """Finds a mistake in the choices before anything is compiled.

    **Raises:** `UserError`, one sentence in the words of the command line.
    """
    _check_depths(config.network)
    _check_numbers(config)
    check_objective(config)
    _check_goals(config.learning)
    check_optimizer(config.learning)
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
"""Episodes at once, and samples that best-of chooses from: no memory holds more."""


class _Demand(NamedTuple):
    """What a number must satisfy, and whether it does."""

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
    "polyak_rate": _SHARE,
    "exploration_noise": _NOT_NEGATIVE,
    "target_noise": _NOT_NEGATIVE,
    "noise_clip": _NOT_NEGATIVE,
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
    """**Raises:** `UserError` for an impossible seed or count, named as its flag."""
    if not 0 <= seed < 2**32:
        raise UserError(f"`--seed {seed}` must lie in 0 to {2**32 - 1}.")
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"`{flag(name)} {value}` must {_POSITIVE.words}.")
        if value > MOST:
            raise UserError(f"`{flag(name)} {value}` must be at most {MOST:,}.")


def check_compute(config: Config) -> None:
    """**Raises:** `UserError` if the networks cannot be computed as asked, or not here."""
    network = config.network

    def stack(key: PRNGKey) -> Stacked:
        block = lambda key: ResidualBlock(
            network.width,
            residual=network.residual,
            layer_norm=network.layer_norm,
            activation=network.activation,
            key=key,
        )
        return Stacked(block, 1, compute=config.compute, key=key)

    try:
        eqx.filter_eval_shape(stack, jax.random.key(0))
    except UserError as error:
        compute = dataclasses.asdict(config.compute)
        chosen = " ".join(f"{flag(n)} {v}" for n, v in compute.items() if v not in ("auto", 1))
        raise UserError(f"`{chosen}`: {error}") from error
