"""Choices that do nothing without another."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .._errors import UserError
from ..config import choice_of, Config, flag, PRESETS


class _Need(NamedTuple):
    met: Callable[[Config], bool]
    goes_with: str


_COSINE = _Need(lambda c: c.learning.energy == "cosine", "`--energy cosine`")
_ROOT = _Need(
    lambda c: c.learning.energy in ("neg_l2", "mrn"), "`--energy neg_l2` or `--energy mrn`"
)
_SCHEDULE = _Need(
    lambda c: c.learning.schedule != "constant", "`--schedule cosine` or `--schedule cooldown`"
)
_TD = _Need(
    lambda c: c.objective.objective != "c-learning" or c.objective.variant == "td",
    "`--variant td`",
)
_ANEW = _Need(
    lambda c: c.network.init_from is None, "an agent that begins anew, without `--init-from`"
)
_OWN_TEMPERATURE = _Need(
    lambda c: c.network.init_from is None or not c.learning.learned_temperature,
    _ANEW.goes_with,
)
_FACTORS = "randomize_masses", "randomize_friction", "randomize_gains"

_NEEDS: dict[str, tuple[_Need, ...]] = {
    "temperature": (_COSINE, _OWN_TEMPERATURE),
    "learned_temperature": (_COSINE,),
    "energy_epsilon": (_ROOT,),
    "max_weight": (_TD,),
    "polyak_rate": (_TD,),
    "schedule_updates": (_SCHEDULE,),
    "schedule_end": (_SCHEDULE,),
    "hold_out_seed": (_Need(lambda c: c.task.hold_out > 0, "`--hold-out`"),),
    "variants": (
        _Need(
            lambda c: any(getattr(c.randomization, name) != (1.0, 1.0) for name in _FACTORS),
            " or ".join(f"`{flag(name)}`" for name in _FACTORS),
        ),
    ),
    "wandb_group": (_Need(lambda c: c.logging.wandb, "`--wandb`"),),
    "initial_alpha": (_ANEW,),
}
"""Not `candidates`, of which `resume` and `render` may yet take the best."""


def _lacks(config: Config, name: str) -> str | None:
    """What that choice would need and this run has not."""
    return next((need.goes_with for need in _NEEDS[name] if not need.met(config)), None)


def idle(config: Config) -> dict[str, object]:
    """What was asked for and does nothing, and the preset's value of it. A choice that stands as
    the preset has it was not asked for."""
    defaults = {name: choice_of(PRESETS[config.preset], name) for name in _NEEDS}
    return {
        name: default
        for name, default in defaults.items()
        if choice_of(config, name) not in (None, default) and _lacks(config, name)
    }


def check_needs(configs: Iterable[Config]) -> None:
    """Of a new run, or of all runs of a new sweep.

    **Raises:** `UserError` for a choice that was asked for and does nothing in any of them.
    """
    configs = list(configs)
    for config in configs:
        for name in idle(config):
            if not all(_lacks(other, name) for other in configs):
                continue
            value = choice_of(config, name)
            words = flag(f"no_{name}") if value is False else f"{flag(name)} {value}"
            raise UserError(
                f"`{words}` goes with {_lacks(config, name)}: here it would do nothing."
            )
