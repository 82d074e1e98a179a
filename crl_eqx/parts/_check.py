"""Finds mistakes in the choices before anything is compiled.

Every part of a run checks its own arguments. Here the parts are built without their arrays, and
their errors are reworded as flags; only checks that no part can make are here.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax

from .. import envs
from .._checks import fits_float32, LARGEST, SMALLEST
from .._env import AbstractGoalEnv, EnvState
from .._errors import UserError
from .._step import AbstractTrainStep
from .._types import Flag, Goal, PRNGKey, State
from ..config import Config, flag, flat, in_flags, Learning
from ._make import asked_as, make_acting, make_agent, make_train_step, randomization_options
from ._objective import check_objective
from ._optimizers import check_optimizer


def check(config: Config) -> None:
    """Finds a mistake in the choices before anything is compiled.

    **Raises:** `UserError`, one sentence in the words of the command line.
    """
    if not (envs.is_gymnasium(config.env) or envs.is_own(config.env)):
        with asked_as(f"--env {config.env}", config.env):
            envs.task_options(config.env)
    _check_numbers(config)
    check_objective(config)
    _check_discount(config.learning)
    check_optimizer(config.learning)
    _check_gymnasium(config)
    if config.logging.wandb and importlib.util.find_spec("wandb") is None:
        raise UserError("`--wandb` needs Weights & Biases: pip install wandb.")
    if config.logging.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError("`--tensorboard` needs tensorboardX: pip install it, or --no-tensorboard.")
    data = config.data
    if data.deterministic_share and data.collect_acting != "stochastic":
        raise UserError(
            f"`--deterministic-share {data.deterministic_share:g}` goes with `--collect-acting "
            f"stochastic`, not with `{data.collect_acting}`."
        )
    if data.collect == "overlap" and config.physics in ("mjx", "warp"):
        raise UserError(
            f"`--collect overlap` steps environments on the host while the device learns, and "
            f"`--physics {config.physics}` steps them on the device: say `--physics native`."
        )
    if "verdict" in config.evaluation.stop_when and not config.logging.diagnostics:
        raise UserError(
            "`--stop-when verdict` goes by the rows of health, which `--no-diagnostics` leaves out."
        )
    conclusive = config.evaluation.conclusive_steps
    if "plateau" in config.evaluation.stop_when and config.total_env_steps <= 1.5 * conclusive:
        raise UserError(
            f"`--stop-when plateau` looks back on one and a half times `--conclusive-steps "
            f"{conclusive}`, and this run ends after {config.total_env_steps}: lower them."
        )
    _check_deterministic(config)
    check_parts(config)


def check_parts(config: Config) -> None:
    """**Raises:** `UserError`, in flags, if a part of the run refuses its arguments, or the prefill
    takes the whole budget."""
    env = _stand_in_task(config)
    try:
        envs.check_randomization(**randomization_options(config.randomization))
        make_acting(config, config.evaluation.eval_acting)
        make = lambda key: make_agent(config, env, key=key)
        eqx.filter_eval_shape(make, jax.random.key(0))
        step = stand_in_step(config)
    except UserError as error:
        raise UserError(in_flags(str(error))) from error
    if config.total_env_steps <= step.prefill_env_steps:
        raise UserError(
            f"`--total-env-steps {config.total_env_steps}` leaves nothing to train on: the prefill "
            f"alone takes {step.prefill_env_steps} environment steps; raise it, or lower "
            f"`--prefill-length {config.data.prefill_length}` or `--num-envs "
            f"{config.data.num_envs}`."
        )


def stand_in_step(config: Config) -> AbstractTrainStep:
    """The run's train step with a stand-in for its task, on which neither the checks nor the
    counts of steps and updates depend."""
    return make_train_step(config, _stand_in_task(config))


def _stand_in_task(config: Config) -> AbstractGoalEnv:
    return _AnyTask(control_dt=config.learning.horizon or 1.0)


class _AnyTask(AbstractGoalEnv):
    control_dt: float = eqx.field(static=True)
    state_size: int = 2
    action_size: int = 1
    goal_size: int = 1
    episode_length: int = 1000

    def reset(self, *, key: PRNGKey) -> EnvState:
        del key
        return EnvState(None, jax.numpy.zeros(2), jax.numpy.zeros(1))

    def step(self, env_state: EnvState, action) -> EnvState:
        del action
        return env_state

    def achieved_goal(self, state: State) -> Goal:
        return state[..., :1]

    def success(self, state: State, goal: Goal) -> Flag:
        return self.distance(state, goal) < 1


def _check_deterministic(config: Config) -> None:
    if config.deterministic and config.physics == "warp":
        raise UserError(
            "`--deterministic` cannot be kept with `--physics warp`, which adds up contacts in no "
            "fixed order: say `--physics native` or `--physics mjx`."
        )
    if config.deterministic and config.compute.kernel == "mosaic":
        raise UserError(
            "`--deterministic` is not known to be kept by `--kernel mosaic`, an experiment: say "
            "`--kernel packed` or `--kernel triton`."
        )


def _check_discount(learning: Learning) -> None:
    if learning.discount is not None and learning.horizon is not None:
        raise UserError(
            f"`--horizon {learning.horizon:g}` and `--discount {learning.discount:g}` say the same "
            f"thing in two ways: give one of them."
        )
    if learning.discount is None and learning.horizon is None:
        raise UserError("`--discount` and `--horizon` are both None: give one of them.")


def _check_gymnasium(config: Config) -> None:
    choices = config.gymnasium
    if not envs.is_gymnasium(config.env):
        for name, value in dataclasses.asdict(choices).items():
            if value not in ((), None):
                raise UserError(
                    f"`{flag(name)}` is for environments of Gymnasium, `--env gym:NAME`, and "
                    f"`--env {config.env}` is not one."
                )
        return
    if config.physics != "auto":
        raise UserError(
            f"`--physics {config.physics}`: `--env {config.env}` brings its own physics."
        )
    sizes = [len(part) for part in (choices.goal_indices, choices.goal_low, choices.goal_high)]
    if len(set(sizes)) > 1:
        raise UserError(
            f"`--goal-indices`, `--goal-low` and `--goal-high` must have the same length; they "
            f"have {sizes[0]}, {sizes[1]} and {sizes[2]}."
        )
    for low, high in zip(choices.goal_low, choices.goal_high, strict=True):
        if not (low <= high and fits_float32(high - low)):
            raise UserError(
                f"`--goal-low {low}` must not be above `--goal-high {high}`, nor too far below it "
                f"for float32."
            )


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
_MANY = _Demand(f"lie in 1 to {MOST:,}", lambda x: 1 <= x <= MOST)
_SEED = _Demand(f"lie in 0 to {2**32 - 1}", lambda x: 0 <= x < 2**32)

_DEMANDS = {
    # The counters of steps are 32-bit numbers, and a run may collect one unroll more.
    "total_env_steps": _Demand("be positive and less than 2e9", lambda x: 0 < x < 2e9),
    "max_hours": _POSITIVE,
    "seed": _SEED,
    "resample_goals": _SHARE,
    "hold_out": _Demand("be at least 0 and less than 1", lambda x: 0 <= x < 1),
    "hold_out_seed": _SEED,
    "horizon": _POSITIVE,
    "actor_learning_rate": _POSITIVE,
    "critic_learning_rate": _POSITIVE,
    "alpha_learning_rate": _NOT_NEGATIVE,
    "schedule_updates": _Demand("lie in 1 to 1e9", lambda x: 1 <= x <= 1e9),
    "schedule_end": _SHARE,
    "warmup_updates": _COUNT,
    "weight_decay": _NOT_NEGATIVE,
    "max_grad_norm": _POSITIVE,
    "exploration_noise": _NOT_NEGATIVE,
    "candidates": _MANY,
    "eval_every": _POSITIVE,
    "eval_episodes": _MANY,
    "stop_at_success": _Demand("lie in (0, 1]", lambda x: 0 < x <= 1),
    "conclusive_steps": _POSITIVE,
    "log_every": _POSITIVE,
    "checkpoint_every": _POSITIVE,
    "keep_checkpoints": _POSITIVE,
    "variants": _Demand("lie in 1 to 10,000", lambda x: 1 <= x <= 10_000),
    "goal_threshold": _POSITIVE,
    "episode_length": _POSITIVE,
}
"""Limits of choices that no class of the library checks itself."""


def _check_numbers(config: Config) -> None:
    for _, name, value in flat(config):
        demand = _DEMANDS.get(name)
        if demand and isinstance(value, int | float) and not demand.met(value):
            raise UserError(f"`{flag(name)} {value}` must {demand.words}.")
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, float) and not fits_float32(x) for x in numbers):
            raise UserError(
                f"`{flag(name)} {' '.join(map(str, numbers))}` must be finite in float32, whose "
                f"numbers are 0, or {SMALLEST:.1e} to {LARGEST:.1e} in size."
            )


def check_counts(*, seed: int = 0, **counts: int) -> None:
    """**Raises:** `UserError` for an impossible seed or count, named as its flag."""
    if not _SEED.met(seed):
        raise UserError(f"`--seed {seed}` must {_SEED.words}.")
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"`{flag(name)} {value}` must {_POSITIVE.words}.")
        if value > MOST:
            raise UserError(f"`{flag(name)} {value}` must be at most {MOST:,}.")
