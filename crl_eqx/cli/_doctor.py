"""`crl-eqx doctor`: is this machine fit for what is planned, and what will it cost?"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from .._container import memory_limit
from .._errors import UserError
from ..config import Config, replaced
from ..lab import forecast, physics_rates, shortage, too_slow
from ..run import check, check_needs
from ..run_files import provenance
from ._flags import amount, whole_flag
from ._train import parse_config, preset_of, take_value


HELP = """usage: crl-eqx doctor [--depths D,D ...] [--price-per-hour P] [options of train]

Says what this machine is, times collecting with every physics that is at hand (beside a GPU; on a
CPU with that of the run), and a few seconds of the run at each depth, and predicts hours, memory,
disk and, with a price, cost of each. In about a minute for a few depths. A depth for which memory
is short is told, with the flags that would make it fit.

  --depths          Dense layers, multiples of 4 (default: that of --depth)
  --price-per-hour  of this machine, in any currency

All other options are those of `crl-eqx train`."""


def doctor(arguments: Sequence[str], console: Console) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(HELP)
        return 0
    price, rest = take_value(arguments, "--price-per-hour")
    words, rest = take_value(rest, "--depths")
    if words is not None and take_value(rest, "--depth")[0] is not None:
        raise UserError(f"`--depth` beside `--depths {words}` would do nothing: leave it out.")
    config, _ = parse_config(rest, preset_of(rest), "doctor")
    cost = None if price is None else amount("--price-per-hour", price)
    say = lambda sentence: console.print(sentence, highlight=False, soft_wrap=True)
    configs = [replaced(config, depth=depth) for depth in _depths(words, config)]
    for each in configs:
        check(each)
    check_needs(configs)
    for sentence in machine():
        say(sentence)
    short = {each.network.depth: shortage(each) for each in configs}
    fitting = [each for each in configs if short[each.network.depth] is None]
    for physics, rate in (physics_rates(fitting[0]) if fitting else {}).items():
        say(f"physics {physics}: {rate:,.0f} environment steps/s without updates.")
    timed = None
    for each in configs:
        if each not in fitting:
            say(f"depth {each.network.depth}: {short[each.network.depth]}.")
            continue
        how = ""
        if timed is not None and too_slow(each):
            found = timed.scaled(each)
            how = f" Not timed: in proportion to depth {timed.config.network.depth}."
        else:
            found = timed = forecast(each)
        money = f" Cost: {found.seconds() / 3600 * cost:.3g}." if cost is not None else ""
        say(f"depth {each.network.depth}: {found}{how}{money}")
    for warning in warnings(config):
        say(f"careful: {warning}")
    return 0


def _depths(words: str | None, config: Config) -> list[int]:
    if words is None:
        return [config.network.depth]
    return [whole_flag("--depths", word) for word in words.split(",")]


def machine() -> list[str]:
    """What a run would find here."""
    made: dict[str, Any] = provenance()
    hardware, versions = made["hardware"], made["versions"]
    kept = ("crl-eqx", "jax", "equinox", "mujoco", "python")
    said = [
        f"{hardware['processor']}: {hardware['cores']} cores for this process, "
        f"{hardware['memory_gib']:g} GiB of memory{_limit()}; JAX computes on "
        f"{', '.join(hardware['devices'])}.",
        ", ".join(f"{name} {versions[name]}" for name in kept) + ".",
    ]
    return said


def _limit() -> str:
    """The container's own limit of memory, if there is one."""
    limit = memory_limit()
    return "" if limit is None else f", of which {limit / 2**30:.1f} GiB may be used here"


def warnings(config: Config) -> list[str]:
    """What makes a result hard to conclude from."""
    network, said = config.network, []
    if config.total_env_steps < config.evaluation.conclusive_steps:
        said.append(
            f"{config.total_env_steps:,} environment steps are few: on hard tasks depth began to "
            f"pay after tens of millions."
        )
    off = [
        name
        for name, active in (
            ("residual connections", network.residual),
            ("LayerNorm", network.layer_norm),
            ("swish", network.activation == "swish"),
        )
        if not active
    ]
    if off:
        said.append(f"without {' and '.join(off)} depth is not expected to help.")
    return said
