"""What some runs allow to conclude, in plain language."""

from collections.abc import Sequence

from .._verdict import GOOD_VERDICTS
from ._results import direction, Group, Results
from ._statistics import permutation_test, probability_of_improvement


SIGNIFICANT = 0.05


def conclusions(results: Results, metric: str) -> list[str]:
    """In plain language, with the uncertainty, and what cannot be concluded."""
    said: list[str] = []
    groups: Sequence[Group] = results.groups
    if waiting := [group.label for group in groups if not group.done]:
        said.append(
            f"**Not all runs are complete**: {', '.join(waiting)}. What follows is about complete "
            f"runs alone."
        )
    groups = [group for group in groups if len(group.scores(metric))]
    if not groups:
        return [*said, "**Nothing can be concluded yet.**"]
    fewest = min(len(group.scores(metric)) for group in groups)
    if fewest < 3:
        said.append(
            f"**Not enough data to conclude**: {fewest} run{'s' * (fewest != 1)} in the smallest "
            f"group. Differences between seeds are as large as those between choices; use at least "
            f"3, better 5."
        )
    first = groups[0]
    found = []
    for group in groups[1:]:
        new, old = group.scores(metric), first.scores(metric)
        good, bad = direction(metric) * new, direction(metric) * old
        better, worse = permutation_test(good, bad), permutation_test(bad, good)
        verdict = "not shown to differ from"
        if better <= SIGNIFICANT:
            verdict = "better than"
            found.append(group)
        elif worse <= SIGNIFICANT:
            verdict = "worse than"
        wins = probability_of_improvement(good, bad)
        said.append(
            f"- **{group.label}** is {verdict} {first.label}: {new.mean() - old.mean():+.3g} on "
            f"average; a run of it is better than one of {first.label} in {wins:.0%} of all "
            f"pairs (permutation test, p = {min(better, worse):.3f})."
        )
    if len(groups) > 1 and results.axes == ("depth",):
        if found and fewest >= 3:
            said.append(
                f"The first depth that is significantly better than {first.label} is "
                f"**{found[0].label}**. Of equally good depths take the cheapest."
            )
        elif fewest >= 3:
            said.append(
                f"No depth is significantly better than {first.label} with this budget and these "
                f"seeds: **{first.label} is enough, as far as this shows**."
            )
    budgets = sorted({run.config.total_env_steps for group in groups for run in group.results})
    if len(budgets) > 1:
        said.append(
            f"**Budgets differ**, from {budgets[0]:,} to {budgets[-1]:,} environment steps: "
            f"compare curves at equal steps, not last scores."
        )
    most = max(run.env_steps for group in groups for run in group.results)
    if most < results.config.evaluation.conclusive_steps:
        said.append(
            f"Runs took at most {most:,} environment steps. On hard tasks deep networks began to "
            f"score higher after tens of millions, so that a longer budget may say otherwise."
        )
    verdicts = {v for group in groups for run in group.results for v in run.verdicts()}
    if bad := sorted(verdicts - GOOD_VERDICTS):
        said.append(f"Health checks found: {', '.join(bad)}. See the table.")
    return said
