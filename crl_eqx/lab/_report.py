"""What some runs say: a page that needs nothing else, the same as Markdown, a table, a figure."""

import csv
import io
import math
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .._errors import UserError
from .._verdict import GOOD_VERDICTS, VERDICTS
from ..config import differences, experiment_flags, OTHER_RUNS, PRESETS, replaced
from ..parts import idle
from ..store._files import replace_file
from ._conclusions import conclusions, span
from ._generalize import Measured, read_generalization
from ._page import as_page
from ._results import differing, direction, Group, METRIC, read_results, Result, Results
from ._statistics import Band, band, ENOUGH, interval


NETWORKS = ("sa_encoder", "q_0", "v", "actor")
"""Whose gradients are shown: the first of these that the runs have."""


def report(
    *run_dirs: Path, out: Path | None = None, metric: str = METRIC, price_per_hour: float = 0.0
) -> Path:
    """Writes `report.html` and `report.md`, and what they show under `report/`, into `out`, by
    default the directory itself if there is one alone, and returns the page.

    **Arguments:**

    - `run_dirs`: sweeps, or runs that were made separately.
    - `metric`: any number that evaluations write.
    - `price_per_hour`: of the machine; with it the report says what each run cost.

    **Raises:** `UserError` if a directory holds no run, runs are of different tasks, or none has
    the metric yet.
    """
    results, out = _read(run_dirs, out, metric)
    folder = out / "report"
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(_sections(results, folder, metric, price_per_hour)) + "\n"
    replace_file(out / "report.md", text.encode())
    page = out / "report.html"
    replace_file(page, as_page(text, out).encode())
    return page


def compare(*run_dirs: Path, out: Path, metric: str = METRIC) -> tuple[Path, Path]:
    """Writes `compare.csv`, a line for every run, and `compare.pdf`, a figure for a paper, into
    `out`, and returns both.

    **Raises:** `UserError` as `report` does.
    """
    from ..pictures._sweep import comparison  # slow to import

    results, out = _read(run_dirs, out, metric)
    out.mkdir(parents=True, exist_ok=True)
    table, figure = out / "compare.csv", out / "compare.pdf"
    replace_file(table, _csv(results, metric).encode())
    curves = _bands(results.groups, lambda run: run.curve(metric))
    points = _points(results.groups, metric)
    comparison(curves, points, figure, x=_told(results.axes), y=_name(metric))
    return table, figure


def _read(run_dirs: Sequence[Path], out: Path | None, metric: str) -> tuple[Results, Path]:
    if not metric.startswith(("eval/", "eval_")) or metric.endswith("_se"):
        raise UserError(
            f"`{metric}` is nothing that evaluations measure: choose one such as "
            f"`eval/success_rate` or `eval_split/final_distance`."
        )
    results = read_results(*run_dirs)
    _require_distinct_seeds(results)
    if not any(metric in row for run in results.runs for row in run.rows):
        raise UserError(f"`{run_dirs[0]}`: no run has measured `{metric}` yet.")
    if out is None and len(run_dirs) > 1:
        raise UserError("`report(out=None)` goes with one directory; say where to write it.")
    return results, run_dirs[0] if out is None else out


def _require_distinct_seeds(results: Results) -> None:
    """On a CPU two runs of a seed are one and the same; nowhere are they two draws."""
    for group in results.groups:
        of_seed: dict[int, Result] = {}
        for run in group.results:
            if other := of_seed.get(run.config.seed):
                raise UserError(
                    f"`{other.run_dir}` and `{run.run_dir}` are both seed {run.config.seed} of "
                    f"{group.label}, and would count as two runs: leave one out."
                )
            of_seed[run.config.seed] = run


def _name(metric: str) -> str:
    return metric.removeprefix("eval/").replace("_", " ")


def _told(axes: Sequence[str]) -> str:
    return " and ".join(axis.replace("_", " ") for axis in axes) or "the seed"


def _sections(results: Results, folder: Path, metric: str, price: float) -> Iterator[str]:
    begun = results.runs
    done = sum(run.done for run in begun)
    episodes = span([run.eval_episodes for run in begun])
    yield f"# {results.config.env}: {_name(metric)} by {_told(results.axes)}"
    yield (
        f"{done} of {len(results.planned)} runs are complete, {len(begun)} were begun. Scores are "
        f"of the last evaluation of each complete run ({episodes} episodes): the interquartile "
        f"mean over seeds with a 95 % bootstrap interval, or of fewer than {ENOUGH} runs their "
        f"range."
    )
    yield "## What to conclude"
    yield from _mixed(results)
    yield from conclusions(results, metric)
    yield "## Scores"
    yield _table(results.groups, metric, price)
    yield from _figures(results, folder, metric)
    yield from _videos(results.groups, folder)
    yield from _generalization(results.groups)
    yield "## How each run was made"
    yield from _commands(results)


def _table(groups: Sequence[Group], metric: str, price: float) -> str:
    columns = ["", "complete", "score", "interval", "best, worst run", "steps", "updates"]
    columns += ["minutes each", *(["cost each"] if price else []), "health"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for group in groups:
        scores, runs = group.scores(metric), group.complete or group.results
        score = ["–", "–", "–"]
        if len(scores):
            value, low, high = interval(scores)
            reach = f"{low:.3g} to {high:.3g}" if math.isfinite(low) else "one run: none"
            best, worst = (scores.max(), scores.min())[:: direction(metric)]
            score = [f"{value:.3g}", reach, f"{best:.3g}, {worst:.3g}"]
        cells = [group.label, f"{len(scores)} of {group.planned}", *score]
        if runs:
            hours = float(np.mean([run.hours() for run in runs]))
            cells += [
                span([getattr(run, n) for run in runs]) for n in ("env_steps", "gradient_steps")
            ]
            cells += [f"{60 * hours:.3g}", *([f"{hours * price:.3g}"] if price else [])]
            cells += [_health(group.results)]
        cells += ["–"] * (len(columns) - len(cells))
        lines.append(f"| {' | '.join(cells)} |")
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
    if bad:
        return ", ".join(f"{v} in {n} of {total} rows" for v, n in bad.items())
    return next(verdict for verdict in VERDICTS if verdict in counts)


def _bands(groups: Sequence[Group], curve: Callable[[Result], np.ndarray]) -> dict[str, Band]:
    """Of complete runs, as scores are; where a group has none, of what there is."""
    runs = {group.label: group.complete or group.results for group in groups}
    return {label: band([curve(run) for run in each]) for label, each in runs.items()}


Point = tuple[object, float, float, float, list[float]]


def _points(groups: Sequence[Group], metric: str) -> list[Point]:
    """What sets a group apart, its score with the interval, and every run's."""
    scored = [(group, group.scores(metric)) for group in groups]
    told = lambda group: ", ".join(str(value) for value in group.choices.values()) or "all"
    found = [(told(group), interval(runs), runs.tolist()) for group, runs in scored if len(runs)]
    return [(label, score.value, score.low, score.high, runs) for label, score, runs in found]


def _figures(results: Results, folder: Path, metric: str) -> Iterator[str]:
    from ..pictures._sweep import group_curves, scores  # slow to import

    place = lambda path: path.relative_to(folder.parent)
    groups, told = results.groups, _name(metric)

    def draw(file: str, curve: Callable[[Result], np.ndarray], x: str, y: str = told) -> str | None:
        curves = _bands(groups, curve)
        if not any(len(each.at) for each in curves.values()):
            return None
        path = group_curves(curves, folder / file, x=x, y=y)
        return f"![{y} against {x}]({place(path)})"

    yield "## Curves"
    yield (
        f"Interquartile means over seeds; shaded: their 95 % bootstrap interval, or of fewer than "
        f"{ENOUGH} runs their range. Equal experience, equal time, and equal arithmetic are three "
        f"questions."
    )
    drawn = (
        draw("curves.png", lambda run: run.curve(metric), "environment steps"),
        draw("time.png", lambda run: run.curve_over_minutes(metric), "minutes of training"),
        draw("flop.png", lambda run: run.curve_over_flop(metric), "FLOP of all updates"),
    )
    yield from (each for each in drawn if each)
    if len(groups) > 1 and (points := _points(groups, metric)):
        x = _told(results.axes)
        path = scores(points, folder / "scores.png", title="last evaluations", x=x, y=told)
        yield f"![{told} against {x}, every run a dot]({place(path)})"
    yield from _gradients(groups, folder)
    rank = "health/sa_repr_rank"
    if drawn := draw(
        "rank.png", lambda run: run.curve(rank), "environment steps", "effective rank"
    ):
        yield "## Rank of the representations"
        yield "Of states and actions. A rank that falls towards 1 is a collapse."
        yield drawn


def _gradients(groups: Sequence[Group], folder: Path) -> Iterator[str]:
    from ..pictures._sweep import gradient_map  # slow to import

    for network in NETWORKS:
        key, maps = f"health/{network}_block_grad_norms", {}
        for group in groups:
            rows = [row for run in group.results[:1] for row in run.rows if key in row]
            if len(rows) > 1:
                norms = np.array([row[key] for row in rows], float)
                maps[group.label] = ([row["env_steps"] for row in rows], norms)
        if maps:
            path = gradient_map(maps, folder / "gradients.png").relative_to(folder.parent)
            yield "## Gradients along depth"
            yield (
                f"Of `{network}`, first seed. A block far darker than the others learns next to "
                f"nothing."
            )
            yield f"![gradient norms of the blocks over training]({path})"
            return


def _videos(groups: Sequence[Group], folder: Path) -> Iterator[str]:
    """One of each group, if its runs were filmed."""
    shown = []
    for number, group in enumerate(groups):
        films = [film for run in group.results for film in sorted(run.run_dir.glob("videos/*.mp4"))]
        if films:
            kept = folder / f"policy_{number}.mp4"
            shutil.copyfile(films[0], kept)
            shown.append(f"[{group.label}]({kept.relative_to(folder.parent)})")
    if shown:
        yield "## Final policies"
        yield from shown


def _generalization(groups: Sequence[Group]) -> Iterator[str]:
    """What `crl-eqx generalize` has found, of each group the mean over its runs."""
    cells: dict[tuple[str, str, str], dict[str, list[Measured]]] = {}
    for group in groups:
        for run in group.results:
            for found in read_generalization(run.run_dir):
                row = cells.setdefault((found.part, found.what, found.value), {})
                row.setdefault(group.label, []).append(found)
    if not cells:
        return
    labels = [g.label for g in groups if any(g.label in row for row in cells.values())]
    yield "## Where it was not trained"
    yield (
        "Success rates, with the standard error over episodes; of several runs the mean (`crl-eqx "
        "generalize`)."
    )
    lines = [f"| part | what | value | {' | '.join(labels)} |", "|---" * (3 + len(labels)) + "|"]
    for place, row in cells.items():
        told = []
        for label in labels:
            found = row.get(label, [])
            error = math.sqrt(sum(x.success_rate_se**2 for x in found)) / max(len(found), 1)
            mean = sum(x.success_rate for x in found) / max(len(found), 1)
            told.append(f"{mean:.2f} ± {error:.2f}" if found else "–")
        lines.append(f"| {' | '.join([*place, *told])} |")
    yield "\n".join(lines)


def _commands(results: Results) -> Iterator[str]:
    runs, base = results.planned, results.config
    changes = {name: differences(base, config, results.axes) for name, config in runs.items()}
    lines = [f"{name}: {', '.join(changed)}" for name, changed in changes.items() if changed]
    # What the first run has for others to differ in, such as a temperature, it does not take alone.
    alone = replaced(base, **idle(base))
    flags = experiment_flags(alone, PRESETS[base.preset])
    command = shlex.join(["crl-eqx", "train", "--preset", base.preset, *flags])
    yield "The first run's choices, as a command:"
    yield f"```\n{command}\n```"
    if lines:
        yield "What the others change:"
        yield "```\n" + "\n".join(lines) + "\n```"


def _mixed(results: Results) -> Iterator[str]:
    """Groups of a sweep that was gone on with, whose runs are not equal but for their seed."""
    for group in results.groups:
        configs = [run.config for run in group.results]
        names = {name for name in differing(configs) if name not in (*results.axes, *OTHER_RUNS)}
        if names:
            told = ", ".join(sorted(name.replace("_", " ") for name in names))
            yield f"The runs of **{group.label}** differ in more than their seed: {told}."


def _csv(results: Results, metric: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["run", *results.axes, "seed", "complete", "env_steps", "gradient_steps", "hours"]
    writer.writerow([*head, metric, "flop"])
    for group in results.groups:
        for run in group.results:
            curve = run.curve(metric)
            flop = run.flop_per_update and run.flop_per_update * run.gradient_steps
            steps = [run.env_steps, run.gradient_steps, f"{run.hours():.4g}"]
            own = [run.name, *group.choices.values(), run.config.seed, run.done, *steps]
            writer.writerow([*own, curve[-1, 1] if len(curve) else "", flop or ""])
    return text.getvalue()
