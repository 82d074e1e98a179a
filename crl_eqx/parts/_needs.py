"""Choices that do nothing without another, told where a run is begun with them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .._errors import UserError
from ..config import Config, flag, flat, PRESETS


class _Need(NamedTuple):
    beside: tuple[str, ...]
    """The choices, by one of which it comes to matter."""
    met: Callable[[Config], bool]
    goes_with: str


_COSINE = _Need(("energy",), lambda c: c.learning.energy == "cosine", "`--energy cosine`")
_ROOT = _Need(
    ("energy",),
    lambda c: c.learning.energy in ("neg_l2", "mrn"),
    "`--energy neg_l2` or `--energy mrn`",
)
_SCHEDULE = _Need(
    ("schedule",),
    lambda c: c.learning.schedule != "constant",
    "`--schedule cosine` or `--schedule cooldown`",
)
_FACTORS = "randomize_masses", "randomize_friction", "randomize_gains"

_NEEDS = {
    "temperature": _COSINE,
    "learned_temperature": _COSINE,
    "energy_epsilon": _ROOT,
    "schedule_updates": _SCHEDULE,
    "schedule_end": _SCHEDULE,
    "hold_out_seed": _Need(("hold_out",), lambda c: c.task.hold_out > 0, "`--hold-out`"),
    "variants": _Need(
        _FACTORS,
        lambda c: any(getattr(c.randomization, name) != (1.0, 1.0) for name in _FACTORS),
        " or ".join(f"`{flag(name)}`" for name in _FACTORS),
    ),
    "wandb_group": _Need(("wandb",), lambda c: c.logging.wandb, "`--wandb`"),
    "initial_alpha": _Need(
        ("init_from",),
        lambda c: c.network.init_from is None,
        "an agent that begins anew, without `--init-from`",
    ),
}


def check_needs(config: Config, differing: Iterable[str] = ()) -> None:
    """Of a new run; of a sweep, whose runs differ in the choices `differing`, what does nothing in
    any of them. What stands as the preset has it was not asked for.

    **Raises:** `UserError` for a choice that does nothing without another.
    """
    preset, differing = PRESETS[config.preset], set(differing)
    for (_, name, value), (_, _, default) in zip(flat(config), flat(preset), strict=True):
        need = _NEEDS.get(name)
        if need is None or value in (None, default):
            continue
        if need.met(config) or differing & set(need.beside):
            continue
        words = flag(f"no_{name}") if value is False else f"{flag(name)} {value}"
        raise UserError(f"`{words}` goes with {need.goes_with}: here it would do nothing.")
