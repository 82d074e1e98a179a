"""What a run's own numbers say about its health, in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ._errors import UserError


VERDICTS = (
    "healthy",
    "too early to say",
    "not learning yet",
    "not learning",
    "collapsing",
    "vanishing",
    "exploding",
)
"""What [`crl_eqx.verdict`][] can say, from the best to the worst."""

GOOD_VERDICTS = frozenset(VERDICTS[:2])
"""Those that nobody needs to be told of."""

EXPLODING_NORM = 1e4
VANISHING_RATIO = 1e-4
COLLAPSED_COSINE = 0.99
COLLAPSED_RANK = 2.0
STANDING_STILL = 1e-9
SOLVED = 0.9
STANDARD_ERRORS = 2.0

CONCLUSIVE_STEPS = 50_000_000
"""Below so many environment steps a flat curve of a hard task proves nothing: in the paper deep
networks began to pay after tens of millions."""

MEASURES = {"success_rate": 1, "time_at_goal": 1, "final_distance": -1}
"""By what an evaluation is better than another, and in which direction."""

_REPRESENTATIONS = {"sa_repr": "states and actions", "g_repr": "goals"}

Evaluated: TypeAlias = Mapping[str, float | int]
"""`env_steps`, and each of `MEASURES` with its standard error, `NAME_se`."""


class Verdict(NamedTuple):
    """One of [`crl_eqx.VERDICTS`][], and why."""

    word: str
    reason: str


def verdict(
    health: Mapping[str, Any],
    evaluations: Sequence[Evaluated] = (),
    *,
    conclusive_steps: int = CONCLUSIVE_STEPS,
) -> Verdict:
    """What the numbers of [`crl_eqx.diagnose`][] and a run's evaluations so far say together; the
    worst that applies.

    A block's gradient above 1e4 is exploding, one below 1e-4 of the network's largest is vanishing.
    Representations whose mean cosine is above 0.99, or whose effective rank is below 2, are
    collapsing. A run whose last two evaluations do not beat its first by two standard errors is not
    learning yet; it is not learning once it has taken `conclusive_steps`.

    **Arguments:**

    - `health`: by name, as `diagnose` returns it; also `actor_update_to_weight`, if known.
    - `evaluations`: oldest first; each has `env_steps`, and `success_rate`, `time_at_goal` and
        `final_distance` with their standard errors, as far as they were measured.
    """
    for word, wrong in _WRONG:
        if reason := wrong(health):
            return Verdict(word, reason)
    learnt, reason = _progress(evaluations)
    if learnt is False and evaluations[-1]["env_steps"] >= conclusive_steps:
        return Verdict("not learning", reason)
    if still := _standing_still(health):
        return Verdict("not learning yet", still)
    if learnt is False:
        expected = f" Expected before {conclusive_steps:,} environment steps."
        return Verdict("not learning yet", reason + expected)
    return Verdict("healthy" if learnt else "too early to say", reason)


def _progress(evaluations: Sequence[Evaluated]) -> tuple[bool | None, str]:
    """Whether the last two evaluations beat the first, or it needed no beating; None if there are
    too few. And how that is told."""
    if len(evaluations) < 3:
        return None, "Gradients and representations are fine; few evaluations were made."
    first, *_, before_last, last = evaluations
    latest = before_last, last

    def went(name: str) -> str:
        new = sum(row[name] for row in latest) / len(latest)
        return f"{_told(name)} went from {first[name]:.3g} to {new:.3g}."

    if better := better_by(first, latest):
        return True, went(better)
    if worse := better_by(first, latest, worse=True):
        return False, f"Evaluations have got worse. {went(worse)}"
    if first.get("success_rate", 0.0) >= SOLVED:
        return True, "The first evaluation was a success already."
    values = ", ".join(
        f"{_told(name).lower()} {last[name]:.3g} after {first[name]:.3g}"
        for name in MEASURES
        if name in first and name in last
    )
    return False, f"Evaluations are still those of the beginning, within their error: {values}."


def better_by(before: Evaluated, after: Sequence[Evaluated], *, worse: bool = False) -> str | None:
    """The first measure by which `after`, on average, beats `before` by more than two standard
    errors of the difference, if any; or by which it is so much `worse`."""
    for name, sign in MEASURES.items():
        sign = -sign if worse else sign
        if name not in before or any(name not in row for row in after):
            continue
        new = _mean(after, name)
        error = math.hypot(new[f"{name}_se"], before.get(f"{name}_se", 0.0))
        if sign * (new[name] - before[name]) > STANDARD_ERRORS * error:
            return name
    return None


def _mean(rows: Sequence[Evaluated], name: str) -> dict[str, float]:
    """One measure of several evaluations, and its standard error."""
    count, error = len(rows), f"{name}_se"
    return {
        name: sum(row[name] for row in rows) / count,
        error: math.sqrt(sum(row.get(error, 0.0) ** 2 for row in rows)) / count,
    }


def has_settled(evaluations: Sequence[Evaluated], *, over: int) -> bool:
    """Whether nothing has got better, in any measure, over the last `over` environment steps: no
    evaluation in them beats the best one before by more than two standard errors, nor does the mean
    of their second half that of as many steps before them. The best of many evaluations is lucky,
    and hard to beat for one alone; means show a slow rise.

    Never before one and a half times `over` since the first evaluation. A run whose evaluations got
    worse has settled, too.

    **Raises:** `UserError` if `over` is not positive.
    """
    if over <= 0:
        raise UserError(f"`has_settled(over={over!r})` must be a positive number of steps.")
    if not evaluations or evaluations[-1]["env_steps"] - evaluations[0]["env_steps"] < 1.5 * over:
        return False
    end = evaluations[-1]["env_steps"]
    for name, sign in MEASURES.items():
        known = [(end - row["env_steps"], row) for row in evaluations if name in row]
        old = [row for back, row in known if back >= over]
        new = [row for back, row in known if back < over]
        if not old or not new:
            continue
        best = max(old, key=lambda row: sign * row[name])
        if any(better_by(_mean([best], name), [row]) for row in new):
            return False
        before = [row for back, row in known if over <= back < 1.5 * over]
        late = [row for back, row in known if back < 0.5 * over]
        if before and late and better_by(_mean(before, name), late):
            return False
    return True


def _told(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _block_norms(health: Mapping[str, Any]) -> dict[str, list[float]]:
    suffix = "_block_grad_norms"
    return {
        name.removesuffix(suffix): [float(norm) for norm in norms]
        for name, norms in health.items()
        if name.endswith(suffix)
    }


def _exploding(health: Mapping[str, Any]) -> str:
    for network, norms in _block_norms(health).items():
        for number, norm in enumerate(norms, 1):
            if not math.isfinite(norm):
                return f"The gradient of block {number} of {network} is not finite."
            if norm > EXPLODING_NORM:
                return (
                    f"The gradient of block {number} of {network} has norm {norm:.2g}, more than "
                    f"{EXPLODING_NORM:.0e}."
                )
    return ""


def _vanishing(health: Mapping[str, Any]) -> str:
    for network, norms in _block_norms(health).items():
        least, most = min(norms), max(norms)
        if most == 0:
            return f"No gradient comes to any block of {network}."
        if least < VANISHING_RATIO * most:
            return (
                f"Block {norms.index(least) + 1} of {network} gets {least / most:.1e} of the "
                f"gradient of block {norms.index(most) + 1}, less than {VANISHING_RATIO:.0e}."
            )
    return ""


def _collapsing(health: Mapping[str, Any]) -> str:
    for name, told in _REPRESENTATIONS.items():
        cosine, rank = health.get(f"{name}_mean_cosine"), health.get(f"{name}_rank")
        if not all(math.isfinite(x) for x in (cosine, rank) if x is not None):
            return f"Representations of {told} are not finite."
        if cosine is not None and cosine > COLLAPSED_COSINE:
            return (
                f"Representations of {told} point the same way: mean cosine {cosine:.4f}, more "
                f"than {COLLAPSED_COSINE}."
            )
        if rank is not None and rank < COLLAPSED_RANK:
            return (
                f"Representations of {told} span {rank:.2g} directions, fewer than "
                f"{COLLAPSED_RANK:.0f}."
            )
    return ""


def _standing_still(health: Mapping[str, Any]) -> str:
    share = health.get("actor_update_to_weight")
    if share is not None and share < STANDING_STILL:
        return f"The policy stands still: its updates are {share:.1e} of its weights."
    return ""


_WRONG = (("exploding", _exploding), ("vanishing", _vanishing), ("collapsing", _collapsing))
