"""What some runs allow to conclude, in plain language."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .._verdict import GOOD_VERDICTS
from ._results import direction, Group, METRIC, Results
from ._statistics import difference, permutation_test, probability_of_improvement


SIGNIFICANT = 0.05

FEWEST = 3
"""Runs a side, of which every one of one side must beat every one of the other for p = 0.05."""

_ALIKE = 1.05
"""Runs are as long as one another if they differ by no more than this factor."""


def conclusions(results: Results, metric: str) -> list[str]:
    """In plain language, with the uncertainty, and what cannot be concluded."""
    groups = results.groups
    said = [*_missing(groups, metric)]
    scored = [group for group in groups if len(group.scores(metric))]
    if not scored:
        return [*said, "**Nothing can be concluded yet.**"]
    fewest = min(len(group.scores(metric)) for group in scored)
    if fewest < FEWEST:
        said.append(
            f"**Not enough data to conclude**: {fewest} run{'s' * (fewest != 1)} in the smallest "
            f"group. Differences between seeds are as large as those between choices; use at least "
            f"{FEWEST}, better 5."
        )
    compared, better = 0, []
    for standard, others in _comparisons(groups):
        if not len(standard.scores(metric)):
            said.append(
                f"**Nothing is compared with {standard.label}**, which has no complete run yet."
            )
            continue
        for group in others:
            if len(group.scores(metric)):
                compared += 1
                sentence, is_better = _against(group, standard, metric)
                said.append(sentence)
                better += [group] if is_better else []
    if compared:
        correction = f", and not corrected for the {compared} comparisons" if compared > 1 else ""
        said.append(
            f"p-values are one-sided, in the direction in which the two differ{correction}."
        )
    unequal = [*_unequal_lengths(scored)]
    said += unequal
    if results.axes == ("depth",) and not unequal and all(group.done for group in groups):
        said += _which_depth(groups, better, metric)
    budgets = sorted({run.config.total_env_steps for group in scored for run in group.results})
    if len(budgets) > 1:
        said.append(
            f"**Budgets differ**, from {budgets[0]:,} to {budgets[-1]:,} environment steps: "
            f"compare curves at equal steps, not last scores."
        )
    most = max(run.env_steps for group in scored for run in group.results)
    if most < results.config.evaluation.conclusive_steps:
        said.append(
            f"Runs took at most {most:,} environment steps. On hard tasks deep networks began to "
            f"score higher after tens of millions, so that a longer budget may say otherwise."
        )
    verdicts = {v for group in groups for run in group.results for v in run.verdicts()}
    if bad := sorted(verdicts - GOOD_VERDICTS):
        said.append(f"Health checks found: {', '.join(bad)}. See the table.")
    return said


def _missing(groups: Sequence[Group], metric: str) -> Iterator[str]:
    """Runs without a score, and what that does to the others."""
    told = lambda group: f"{group.label} ({len(group.complete)} of {group.planned})"
    if waiting := [told(group) for group in groups if not group.done]:
        yield (
            f"**Not all runs are complete**: {', '.join(waiting)}. What follows is about complete "
            f"runs alone."
        )
    for group in groups:
        if failed := sum(run.failure is not None for run in group.results):
            yield (
                f"**{failed} of {group.planned} runs of {group.label} failed**: their numbers were "
                f"not finite. The scores of the others flatter it."
            )
        if lost := len(group.complete) - len(group.scores(metric)):
            yield (
                f"**{lost} complete runs of {group.label} have no finite `{metric}`**, and are "
                f"left out."
            )


def _comparisons(groups: Sequence[Group]) -> list[tuple[Group, list[Group]]]:
    """The first group against all others; of several tasks, within each of them."""
    of_task: dict[str, list[Group]] = {}
    for group in groups:
        of_task.setdefault(str(group.choices.get("env", "")), []).append(group)
    return [(each[0], each[1:]) for each in of_task.values() if len(each) > 1]


def _against(group: Group, standard: Group, metric: str) -> tuple[str, bool]:
    """What is said of the two, and whether `group` is shown to be better."""
    new, old = group.scores(metric), standard.scores(metric)
    good, bad = direction(metric) * new, direction(metric) * old
    better, worse = permutation_test(good, bad), permutation_test(bad, good)
    enough = min(len(new), len(old)) >= FEWEST
    verdict = "not shown to differ from"
    if enough and better <= SIGNIFICANT:
        verdict = "better than"
    elif enough and worse <= SIGNIFICANT:
        verdict = "worse than"
    value, low, high = difference(new, old)
    reach = f" (95 % interval {low:+.3g} to {high:+.3g})" if math.isfinite(low) else ""
    wins = probability_of_improvement(good, bad)
    sentence = (
        f"- **{group.label}** is {verdict} {standard.label}: {value:+.3g} on average{reach}; a run "
        f"of it is better than one of {standard.label} in {wins:.0%} of all pairs (permutation "
        f"test, p = {min(better, worse):.3f})."
    )
    return sentence, verdict == "better than"


def _unequal_lengths(scored: Sequence[Group]) -> Iterator[str]:
    """Whether last scores are those of equal experience."""
    steps = {group.label: [run.env_steps for run in group.complete] for group in scored}
    shortest = min(min(each) for each in steps.values())
    longest = max(max(each) for each in steps.values())
    if longest <= _ALIKE * shortest:
        return
    each = ", ".join(f"{label} after {span(lengths)}" for label, lengths in steps.items())
    reasons = {run.stopped_by for group in scored for run in group.complete}
    told = "; ".join(sorted(reason for reason in reasons if reason))
    why = f" ({told})" if told else ""
    yield (
        f"**Runs ended at different lengths**{why}: {each} environment steps. Compare curves at "
        f"equal steps, not last scores; of runs that stopped at their target, how soon they did."
    )


def span(numbers: Sequence[int]) -> str:
    """From the least to the most, or the one number that all are."""
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _which_depth(groups: Sequence[Group], better: Sequence[Group], metric: str) -> Iterator[str]:
    """Of complete ladders alone."""
    each = [group.scores(metric) for group in groups]
    if len(groups) < 2 or min(map(len, each)) < FEWEST:
        return
    first, scores = groups[0], np.concatenate(each)
    if metric == METRIC and not scores.any():
        yield "**No depth has learnt the task** with this budget: nothing tells them apart."
    elif better:
        yield (
            f"The first depth that is significantly better than {first.label} is "
            f"**{better[0].label}**. Of equally good depths take the cheapest."
        )
    else:
        end = "upper" if direction(metric) > 0 else "lower"
        yield (
            f"**No depth is shown to be better than {first.label}** with this budget and these "
            f"seeds. How much better one may be for all that is the {end} end of its interval: if "
            f"that much would not matter to you, {first.label} is enough."
        )
