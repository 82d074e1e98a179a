"""What a sweep says: a page that needs nothing else, and the same as Markdown."""

import base64
import html
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._errors import UserError
from .._verdict import GOOD_VERDICTS
from ..config import differences, experiment_flags
from ..store._files import replace_file
from ._results import Group, METRIC, read_results, Result
from ._statistics import interval, permutation_test, probability_of_improvement
from ._sweep import Sweep


SIGNIFICANT = 0.05


def report(run_dir: Path, *, metric: str = METRIC) -> Path:
    """Writes `report.html` and `report.md` into a sweep's directory, and returns the page.

    **Raises:** `UserError` if the directory holds no sweep, or no run has the metric yet.
    """
    sweep, groups = read_results(run_dir)
    if not any(metric in row for group in groups for run in group.results for row in run.rows):
        raise UserError(f"`{run_dir}`: no run has measured `{metric}` yet.")
    folder = run_dir / "report"
    folder.mkdir(exist_ok=True)
    text = "\n\n".join(_sections(sweep, groups, run_dir, folder, metric)) + "\n"
    replace_file(run_dir / "report.md", text.encode())
    page = run_dir / "report.html"
    replace_file(page, _page(text, run_dir).encode())
    return page


def _sections(
    sweep: Sweep, groups: Sequence[Group], run_dir: Path, folder: Path, metric: str
) -> list[str]:
    axes = [name for name in sweep.axes if name != "seed"]
    varied = " and ".join(name.replace("_", " ") for name in axes) or "the seed"
    told = metric.removeprefix("eval/").replace("_", " ")
    begun = [result for group in groups for result in group.results]
    done = sum(result.done for result in begun)
    return [
        f"# {sweep.config.env}: {told} by {varied}",
        f"{done} of {len(sweep.runs)} runs are complete, {len(begun)} were begun. Scores are of "
        f"the last evaluation of each complete run ({sweep.config.evaluation.eval_episodes} "
        f"episodes): the interquartile mean over seeds with a 95 % bootstrap interval.",
        "## What to conclude",
        *conclusions(groups, axes, metric),
        "## Scores",
        _table(groups, metric),
        *_figures(groups, axes, run_dir, folder, metric, told),
        "## How each run was made",
        *_commands(sweep, run_dir),
    ]


def conclusions(groups: Sequence[Group], axes: Sequence[str], metric: str) -> list[str]:
    """In plain language, with the uncertainty, and what cannot be concluded."""
    said = []
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
        better, worse = permutation_test(new, old), permutation_test(old, new)
        verdict = "not shown to differ from"
        if better <= SIGNIFICANT:
            verdict = "better than"
            found.append(group)
        elif worse <= SIGNIFICANT:
            verdict = "worse than"
        wins = probability_of_improvement(new, old)
        said.append(
            f"- **{group.label}** is {verdict} {first.label}: {new.mean() - old.mean():+.3g} on "
            f"average; a run of it scores higher than one of {first.label} in {wins:.0%} of all "
            f"pairs (permutation test, p = {min(better, worse):.3f})."
        )
    if len(groups) > 1 and axes == ["depth"]:
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
    begun = [result for group in groups for result in group.results]
    most = max(result.env_steps for result in begun)
    if most < begun[0].config.evaluation.conclusive_steps:
        said.append(
            f"Runs took at most {most:,} environment steps. On hard tasks deep networks began to "
            f"score higher after tens of millions, so that a longer budget may say otherwise."
        )
    verdicts = {v for group in groups for result in group.results for v in result.verdicts()}
    if bad := sorted(verdicts - GOOD_VERDICTS):
        said.append(f"Health checks found: {', '.join(bad)}. See the table.")
    return said


def _table(groups: Sequence[Group], metric: str) -> str:
    columns = ["", "complete", "score", "95 % interval", "best, worst run", "steps", "updates"]
    columns += ["minutes each", "health"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for group in groups:
        scores, results = group.scores(metric), group.results
        judged = "– | – | –"
        if len(scores):
            value, low, high = interval(scores)
            span = f"{low:.3g} to {high:.3g}" if math.isfinite(low) else "one run: none"
            judged = f"{value:.3g} | {span} | {scores.max():.3g}, {scores.min():.3g}"
        minutes = 60 * np.mean([result.hours() for result in results])
        steps = max(result.env_steps for result in results)
        updates = max(result.gradient_steps for result in results)
        lines.append(
            f"| {group.label} | {len(scores)} of {len(results)} | {judged} | {steps:,} | "
            f"{updates:,} | {minutes:.3g} | {_health(results)} |"
        )
    return "\n".join(lines)


def _health(results: Sequence[Result]) -> str:
    counts: dict[str, int] = {}
    for result in results:
        for verdict, count in result.verdicts().items():
            counts[verdict] = counts.get(verdict, 0) + count
    total = sum(counts.values())
    bad = {verdict: count for verdict, count in counts.items() if verdict not in GOOD_VERDICTS}
    if not total:
        return "not measured"
    return ", ".join(f"{v} in {n} of {total} rows" for v, n in bad.items()) or "healthy"


def _figures(
    groups: Sequence[Group],
    axes: Sequence[str],
    run_dir: Path,
    folder: Path,
    metric: str,
    told: str,
) -> list[str]:
    from ..pictures._sweep import gradient_map, group_curves, scores  # slow to import

    place = lambda path: path.relative_to(run_dir)
    curves = {group.label: [r.curve(metric) for r in group.results] for group in groups}
    path = folder / "curves.png"
    group_curves(curves, path, title="against experience", x="environment steps", y=told)
    said = ["## Curves", f"![{told} against environment steps]({place(path)})"]
    hours = {group.label: [r.curve_over_hours(metric) for r in group.results] for group in groups}
    path = folder / "time.png"
    group_curves(hours, path, title="against time", x="hours", y=told)
    said.append(f"![{told} against hours of training]({place(path)})")
    if len(axes) == 1 and len(groups) > 1:
        points = []
        for group in groups:
            runs = group.scores(metric)
            if len(runs):
                points.append((group.choices[axes[0]], *interval(runs), runs.tolist()))
        if points:
            path = folder / "scores.png"
            name = axes[0].replace("_", " ")
            scores(points, path, title="last evaluations", x=name, y=told)
            said.append(f"![{told} against {name}, every run a dot]({place(path)})")
    for network in ("sa_encoder", "q_0", "v", "actor"):
        key = f"health/{network}_block_grad_norms"
        maps = {}
        for group in groups:
            rows = [row for row in group.results[0].rows if key in row]
            if len(rows) > 1:
                norms = np.array([row[key] for row in rows], float)
                maps[group.label] = ([row["env_steps"] for row in rows], norms)
        if maps:
            path = gradient_map(maps, folder / "gradients.png")
            said += [
                "## Gradients along depth",
                f"Of `{network}`, first seed. A block far darker than the others learns next to "
                f"nothing.",
                f"![gradient norms of the blocks over training]({place(path)})",
            ]
            break
    return said


def _commands(sweep: Sweep, run_dir: Path) -> list[str]:
    runs = sweep.runs
    base = next(iter(runs.values()))
    lines = [
        f"{name}: {', '.join(differences(base, config))}"
        for name, config in runs.items()
        if config != base
    ]
    command = shlex.join(["crl-eqx", "train", *experiment_flags(base)])
    return [
        "The first run's choices, as a command:",
        f"```\n{command}\n```",
        *(["What the others change:", "```\n" + "\n".join(lines) + "\n```"] if lines else []),
    ]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 52rem; margin: 2rem auto;
       padding: 0 1rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
td, th { border-bottom: 1px solid #e4e7eb; padding: 0.3rem 0.6rem; text-align: left; }
.wide { overflow-x: auto; }
pre { background: #f5f7fa; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
"""


def _page(text: str, run_dir: Path) -> str:
    """The Markdown that `_sections` writes, as a page with its pictures inside."""
    parts = [_block(block, run_dir) for block in text.strip().split("\n\n")]
    title = html.escape(text.splitlines()[0].removeprefix("# "))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _block(block: str, run_dir: Path) -> str:
    if heading := re.fullmatch(r"(#+) (.*)", block):
        level = len(heading[1])
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if picture := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
        data = base64.b64encode((run_dir / picture[2]).read_bytes()).decode()
        said = html.escape(picture[1], quote=True)
        return f'<p><img alt="{said}" src="data:image/png;base64,{data}"></p>'
    if block.startswith("```"):
        return f"<pre>{html.escape(block.strip('`').strip())}</pre>"
    if block.startswith("|"):
        return f'<div class="wide">{_rows(block)}</div>'
    if block.startswith("- "):
        return f"<ul><li>{_inline(block[2:])}</li></ul>"
    return f"<p>{_inline(block)}</p>"


def _rows(block: str) -> str:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    row = lambda kind, line: "".join(f"<{kind}>{_inline(cell)}</{kind}>" for cell in line)
    head, _, *rest = cells
    return (
        f"<table><tr>{row('th', head)}</tr>"
        + "".join(f"<tr>{row('td', line)}</tr>" for line in rest)
        + "</table>"
    )


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
