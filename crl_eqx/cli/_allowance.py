"""What the runs of a sweep may cost, and what a cluster gives them, from the command line."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from .._errors import UserError
from ..lab import Resources
from ._flags import amount
from ._train import take_value


def hours_that_cost(arguments: Sequence[str]) -> tuple[float | None, list[str]]:
    """Takes `--max-cost` and `--price-per-hour` out of the arguments: the hours that they buy."""
    cost, rest = take_value(arguments, "--max-cost")
    price, rest = take_value(rest, "--price-per-hour")
    if cost is None and price is None:
        return None, rest
    if cost is None or price is None:
        given = f"--max-cost {cost}" if price is None else f"--price-per-hour {price}"
        raise UserError(f"`{given}`: `--max-cost` and `--price-per-hour` go together.")
    limit, hourly = amount("--max-cost", cost), amount("--price-per-hour", price)
    if not limit or not hourly:
        raise UserError(f"`--max-cost {cost} --price-per-hour {price}` must both be positive.")
    return limit / hourly, rest


def cluster(arguments: Sequence[str]) -> tuple[Resources | None, list[str]]:
    """What `--on slurm` asks for; None runs here.

    **Raises:** `UserError` if that cannot be read.
    """
    place, rest = take_value(arguments, "--on")
    if place not in (None, "local", "slurm"):
        raise UserError(f"`--on {place}` must be local or slurm.")
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Resources):
        flag = f"--{field.name.replace('_', '-')}"
        word, rest = take_value(rest, flag)
        if word is None:
            continue
        if place != "slurm":
            raise UserError(f"`{flag} {word}` goes with `--on slurm`.")
        is_name = field.name in ("partition", "account")
        if not is_name and (not word.isdecimal() or not 1 <= int(word) <= 1_000_000):
            raise UserError(f"`{flag} {word}` must be a number from 1 to 1,000,000.")
        found[field.name] = word if is_name else int(word)
    return (Resources(**found) if place == "slurm" else None), list(rest)
