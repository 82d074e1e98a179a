"""What a deep agent is made of, each part taken away or exchanged on its own."""

import math
from collections.abc import Callable, Sequence
from typing import Any, get_args, TypeAlias

import equinox as eqx
import jax

from .._env import AbstractGoalEnv
from .._errors import UserError
from ..config import (
    choice_of,
    Config,
    EnergyName,
    flat,
    LossName,
    ObjectiveName,
    PRESETS,
    replaced,
)
from ..nn import Audit, audit
from ..parts import make_objective, SHARES, with_objective
from ..run import make_agent, make_env, OWNERS


Variants: TypeAlias = dict[str, dict[str, Any]]
"""Choices by the name of what they make."""

SHALLOW = 4
"""Dense layers of the shallowest network."""

_SHALLOW = {"depth": SHALLOW, "actor_depth": None, "critic_depth": None}


def _depths(config: Config) -> tuple[int, int]:
    """The policy's and the critic's."""
    network = config.network
    return network.actor_depth or network.depth, network.critic_depth or network.depth


def ablations(config: Config, parts: Sequence[str]) -> Variants:
    """The full model, and next to it each change of `parts`, alone.

    What `config` is already is left out: without LayerNorm, its lack is no ablation.

    **Raises:** `UserError` if there is no such part, or nothing to compare.
    """
    for part in parts:
        if part not in PARTS:
            raise UserError(f"`--parts {part}` must be of {', '.join(PARTS)}.")
    found: Variants = {"full": {}}
    for part in parts:
        for name, choices in PARTS[part](config).items():
            if replaced(config, **choices) != config:
                found[name] = choices
    if len(found) == 1:
        raise UserError(f"`--parts {' '.join(parts)}` changes nothing about these choices.")
    return found


def _stabilizers(config: Config) -> Variants:
    del config
    return {
        "no_residual": {"residual": False},
        "no_layer_norm": {"layer_norm": False},
        "relu": {"activation": "relu"},
    }


def _width(config: Config) -> Variants:
    """Depth against width: shallow networks as wide as equal parameters, and equal arithmetic,
    allow; one of them where these agree to 2 %, as they mostly do."""
    env = make_env(config)
    full = _audit(config, env)
    count = lambda found: found.parameters
    cost = lambda found: found.flops_per_update(1)
    widths = [_equal_width(config, env, full, measure) for measure in (count, cost)]
    if abs(widths[0] - widths[1]) <= 0.02 * widths[0]:
        del widths[1]
    return {f"depth_{SHALLOW}_width_{w}": _SHALLOW | {"width": w} for w in widths}


def _networks(config: Config) -> Variants:
    actor, critic = _depths(config)
    if SHALLOW in (actor, critic):
        return {}
    return {
        "deep_actor_alone": {"actor_depth": actor, "critic_depth": SHALLOW},
        "deep_critic_alone": {"actor_depth": SHALLOW, "critic_depth": critic},
    }


def _batch(config: Config) -> Variants:
    size = config.learning.batch_size
    return {f"batch_{n}": {"batch_size": n} for n in (max(size // 4, 2), size * 4)}


def _loss(config: Config) -> Variants:
    del config
    return {f"loss_{name}": {"contrastive_loss": name} for name in get_args(LossName)}


def _energy(config: Config) -> Variants:
    del config
    return {f"energy_{name}": {"energy": name} for name in get_args(EnergyName)}


def _goals(config: Config) -> Variants:
    del config
    shares = {
        "future": (1.0, 0.0, 0.0),
        "random": (0.0, 1.0, 0.0),
        "half_random": (0.5, 0.5, 0.0),
        "commanded": (0.0, 0.0, 1.0),
    }
    return {f"goals_{name}": dict(zip(SHARES, x, strict=True)) for name, x in shares.items()}


def _objectives(config: Config) -> Variants:
    """Every other objective on the same networks. What it does not use goes back to the preset,
    and so does a mixture of goals that was not asked for: it is that of the full model's
    objective."""
    preset = PRESETS[config.preset]
    usual = {name: choice_of(preset, name) for name in SHARES}
    not_asked = with_objective(replaced(config, **usual))
    asked = any(choice_of(config, name) != choice_of(not_asked, name) for name in SHARES)
    back = {} if asked else usual
    return {
        name: {"objective": name}
        | back
        | {
            choice: choice_of(preset, choice)
            for _, choice, value in flat(config)
            if name not in OWNERS.get(choice, (name,)) and value != choice_of(preset, choice)
        }
        for name in get_args(ObjectiveName)
        if name != config.objective.objective
    }


def _collector(config: Config) -> Variants:
    """Deep and shallow agents that learn from what finished deep and shallow ones collect, frozen:
    does depth help to explore, or to learn?"""
    if max(_depths(config)) == SHALLOW or config.run_dir is None:
        return {}
    found: Variants = {"shallow": _SHALLOW}
    for learner, own in (("full", {}), ("shallow", _SHALLOW)):
        for source in ("full", "shallow"):
            path = str(config.run_dir / f"{source}_seed_{{seed}}")
            found[f"{learner}_from_{source}"] = own | {"collect_with": path}
    return found


PARTS: dict[str, Callable[[Config], Variants]] = {
    "stabilizers": _stabilizers,
    "width": _width,
    "networks": _networks,
    "batch": _batch,
    "loss": _loss,
    "energy": _energy,
    "goals": _goals,
    "objectives": _objectives,
    "collector": _collector,
}


def _audit(config: Config, env: AbstractGoalEnv) -> Audit:
    """Nothing is allocated."""
    agent = eqx.filter_eval_shape(lambda: make_agent(config, env, key=jax.random.key(0)))
    return audit(agent, passes=make_objective(config, env).passes)


def _equal_width(
    config: Config, env: AbstractGoalEnv, full: Audit, measure: Callable[[Audit], int]
) -> int:
    """The width at which shallow networks come nearest to the full ones by `measure`, which grows
    with it."""
    wide = lambda width: _audit(replaced(config, **_SHALLOW, width=width), env)
    off = lambda width: measure(wide(width)) - measure(full)
    low = config.network.width
    high = math.ceil(low * math.sqrt(max(_depths(config)))) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if off(middle) <= 0 else (low, middle)
    return min(low, high, key=lambda width: abs(off(width)))
