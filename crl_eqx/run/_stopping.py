"""Why a run ends before its budget is used up."""

from collections.abc import Sequence
from typing import NamedTuple

from .._verdict import Evaluated, has_settled
from ..config import Config


LASTING = 3
"""Rows in a row that must get a bad verdict before a run is given up: one may be bad luck."""

BROKEN = frozenset({"collapsing", "vanishing", "exploding"})


class Reason(NamedTuple):
    """Why a run ended, and the flags with which it would go on."""

    why: str
    go_on: str


def reason_to_stop(
    evaluations: Sequence[Evaluated], verdicts: Sequence[str], *, hours: float, config: Config
) -> Reason | None:
    """What `--max-hours`, `--stop-at-success` and `--stop-when` say about a run that has been at
    work for `hours`; `verdicts` are its rows', oldest first."""
    asked = config.evaluation
    if config.max_hours is not None and hours >= config.max_hours:
        return Reason(f"`--max-hours {config.max_hours:g}` are over", "--max-hours None")
    enough = asked.stop_at_success
    latest = [row["success_rate"] for row in evaluations[-2:]]
    if enough is not None and len(latest) == 2 and min(latest) >= enough:
        why = f"two evaluations in a row reached `--stop-at-success {enough:g}`"
        return Reason(why, "--stop-at-success None")
    if "plateau" in asked.stop_when and has_settled(evaluations, over=asked.conclusive_steps):
        why = f"evaluations of the last {asked.conclusive_steps:,} steps are no better than before"
        return Reason(f"{why} (`--stop-when plateau`)", "--stop-when")
    if "verdict" in asked.stop_when:
        lasting = list(verdicts[-LASTING:])
        broken = len(lasting) == LASTING and BROKEN.issuperset(lasting)
        if broken or lasting[-1:] == ["not learning"]:
            return Reason(f"its verdict is {lasting[-1]} (`--stop-when verdict`)", "--stop-when")
    return None
