"""The objectives by name: what each is made of, and which choices belong to which."""

import dataclasses
import math
from typing import assert_never

from .. import losses
from .._env import AbstractGoalEnv
from .._errors import UserError
from ..config import Config, flag, flat, Learning, ObjectiveName, PRESETS
from ..objectives import AbstractObjective, CLearning, CRL, GCBC, Goals, PPO, SAC, TD3


# Objectives with a replay, with a critic of actions, and with a learned temperature.
_OFF_POLICY = ("crl", "gcbc", "c-learning", "sac", "td3")
_ACTION_CRITICS = ("crl", "c-learning", "sac", "td3")
_ENTROPIC = ("crl", "c-learning", "sac")

SHARES = "p_future", "p_random", "p_commanded"
"""Of the goals on which the policy trains."""

OWNERS: dict[str, tuple[ObjectiveName, ...]] = {
    **dict.fromkeys(
        (
            "energy",
            "energy_epsilon",
            "temperature",
            "learned_temperature",
            "contrastive_loss",
            "logsumexp_penalty",
            "repr_size",
        ),
        ("crl",),
    ),
    **dict.fromkeys(SHARES, _ACTION_CRITICS),
    **dict.fromkeys(
        ("target_entropy_per_action", "initial_alpha", "alpha_learning_rate"), _ENTROPIC
    ),
    **dict.fromkeys(("critic_depth", "critic_learning_rate"), (*_ACTION_CRITICS, "ppo")),
    "polyak_rate": ("c-learning", "sac", "td3"),
    "variant": ("c-learning",),
    "max_weight": ("c-learning",),
    **dict.fromkeys(("epochs", "gae_lambda", "clip_range", "entropy_weight"), ("ppo",)),
    **dict.fromkeys(
        (
            "prefill_length",
            "updates_per_env_step",
            "replay_capacity",
            "absorbing",
            "collect_acting",
            "deterministic_share",
            "collect",
            "collect_with",
            "save_replay",
        ),
        _OFF_POLICY,
    ),
    **dict.fromkeys(("exploration_noise", "target_noise", "noise_clip", "policy_delay"), ("td3",)),
}
"""Which objectives these choices belong to; all others are common."""

KINDS: dict[ObjectiveName, type[AbstractObjective]] = {
    "crl": CRL,
    "gcbc": GCBC,
    "c-learning": CLearning,
    "sac": SAC,
    "td3": TD3,
    "ppo": PPO,
}

_OWN_GOALS: dict[ObjectiveName, Goals] = {
    "sac": SAC.goals,
    "td3": TD3.goals,
    "c-learning": CLearning.goals,
}
"""Those whose class knows better than a preset which goals to mix."""


def with_objective(config: Config) -> Config:
    """`config` with the objective's own mixture of goals, unless one other than the preset's
    was asked for."""
    own = _OWN_GOALS.get(config.objective.objective)
    if own is None or _goals(config.learning) != _goals(PRESETS[config.preset].learning):
        return config
    shares = dict(p_future=own.future, p_random=own.random, p_commanded=own.commanded)
    return dataclasses.replace(config, learning=dataclasses.replace(config.learning, **shares))


def _goals(learning: Learning) -> Goals:
    return Goals(learning.p_future, learning.p_random, learning.p_commanded)


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


def make_objective(config: Config, env: AbstractGoalEnv) -> AbstractObjective:
    learning, chosen = config.learning, config.objective
    goals = _goals(learning)
    backup = dict(discount=discount(learning, env), polyak_rate=chosen.polyak_rate)
    entropy = learning.target_entropy_per_action
    match chosen.objective:
        case "crl":
            return CRL(
                loss=losses.ALL[learning.contrastive_loss],
                logsumexp_penalty=learning.logsumexp_penalty,
                target_entropy_per_action=entropy,
                goals=goals,
            )
        case "gcbc":
            return GCBC()
        case "c-learning":
            return CLearning(
                env.achieved_goal,
                variant=chosen.variant,
                max_weight=chosen.max_weight,
                target_entropy_per_action=entropy,
                **backup,
                goals=goals,
            )
        case "sac":
            return SAC(env.success, target_entropy_per_action=entropy, goals=goals, **backup)
        case "td3":
            return TD3(
                env.success,
                target_noise=chosen.target_noise,
                noise_clip=chosen.noise_clip,
                policy_delay=chosen.policy_delay,
                **backup,
                goals=goals,
            )
        case "ppo":
            return PPO(
                env.success,
                discount=backup["discount"],
                gae_lambda=chosen.gae_lambda,
                clip_range=chosen.clip_range,
                entropy_weight=chosen.entropy_weight,
            )
        case _:
            assert_never(chosen.objective)


def check_objective(config: Config) -> None:
    """**Raises:** `UserError` for a choice that the objective does not use."""
    chosen = config.objective.objective
    preset = PRESETS[config.preset]
    for (_, name, value), (_, _, default) in zip(flat(config), flat(preset), strict=True):
        owners = OWNERS.get(name)
        if owners is None or chosen in owners or value == default:
            continue
        raise UserError(
            f"`{flag(name)} {value}` belongs to `--objective {' or '.join(owners)}`: "
            f"`{chosen}` does not use it."
        )
    acting = config.data.collect_acting, config.evaluation.eval_acting
    if KINDS[chosen].critic in ("none", "value") and "best-of" in acting:
        raise UserError(
            f"`--objective {chosen}` learns no critic of actions, and `best-of` asks one: choose "
            f"another way to act."
        )
