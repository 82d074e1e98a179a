"""A report says what the runs say, and no more."""

import csv
import dataclasses
import json
import math
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest

from crl_eqx import cli, UserError
from crl_eqx.cli import _train as cli_train
from crl_eqx.config import load_config, PRESETS, replaced, save_config
from crl_eqx.lab import begin_sweep, load_sweep, read_results, report, Sweep, update_sweep
from crl_eqx.lab._report import _commands
from crl_eqx.parts import resolved
from crl_eqx.run_files import read_metrics

from ..run.conftest import console as console, tiny


def written(tmp_path, console, scores, *, verdict="healthy", axes=None, steps=1200):
    """A sweep whose runs ended with the given success rates, by depth."""
    axes = axes or {"depth": tuple(scores), "seed": tuple(range(len(next(iter(scores.values())))))}
    run_dir = tmp_path / "runs"
    sweep = begin_sweep(Sweep(tiny(), axes), run_dir, console)
    for name, config in sweep.runs.items():
        score = scores[config.network.depth][config.seed]
        if score is None:
            continue
        save_config(config, run_dir / name / "config.json")
        rows = [
            {
                "env_steps": at,
                "gradient_steps": at // 10,
                "time/elapsed_seconds": at / 400.0,
                "eval/success_rate": value,
                "health/verdict": verdict,
                "health/sa_encoder_block_grad_norms": [0.1] * (config.network.depth // 4),
            }
            for at, value in ((0, 0.0), (steps // 2, score / 2), (steps, score))
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (run_dir / name / "metrics.jsonl").write_text(lines)
    return run_dir


def test_a_jump_is_found_and_named(tmp_path, console):
    scores = {4: (0.1, 0.2, 0.15, 0.1), 8: (0.1, 0.3, 0.2, 0.1), 16: (0.8, 0.9, 0.85, 0.95)}
    run_dir = written(tmp_path, console, scores)
    page = report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "12 of 12 runs are complete" in text
    assert "**depth 16** is better than depth 4" in text
    assert "**depth 8** is not shown to differ from depth 4" in text
    assert "significantly better than depth 4 is **depth 16**" in text
    assert "at most 1,200 environment steps" in text
    row = next(line for line in text.splitlines() if line.startswith("| depth 16"))
    assert "| 4 of 4 | 0.875 |" in row and "0.95, 0.8 | 1,200 | 120 | 0.05 | healthy |" in row
    assert "depth_16_seed_0: --depth 4 -> 16" in text
    assert page == run_dir / "report.html"


def test_a_flat_ladder_and_few_seeds_are_not_talked_up(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.5, 0.6), 8: (0.55, 0.5)}, verdict="vanishing")
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**Not enough data to conclude**: 2 runs in the smallest group" in text
    assert "is enough" not in text
    assert "vanishing in 6 of 6 rows" in text


def test_without_a_jump_it_says_what_may_still_be(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.5, 0.6, 0.7), 8: (0.65, 0.75, 0.8)})
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**No depth is shown to be better than depth 4**" in text
    assert "+0.133 on average (95 % interval -0.0" in text and " to +0.3" in text
    assert "p-values are one-sided, in the direction in which the two differ." in text
    nothing = written(tmp_path / "other", console, {4: (0.0,) * 3, 8: (0.0,) * 3})
    report(nothing)
    text = (nothing / "report.md").read_text()
    assert "**No depth has learnt the task**" in text and "is enough" not in text


def test_a_depth_that_is_missing_is_not_passed_over(tmp_path, console):
    better = (0.8, 0.9, 0.7)
    for number, scores in enumerate(
        ({4: (0.1, 0.2, 0.3), 8: better, 16: (None,) * 3}, {4: (None,) * 3, 8: better, 16: better})
    ):
        run_dir = written(tmp_path / str(number), console, scores)
        report(run_dir)
        text = (run_dir / "report.md").read_text()
        missing = next(depth for depth, each in scores.items() if None in each)
        assert f"**Not all runs are complete**: depth {missing} (0 of 3)" in text
        assert f"| depth {missing} | 0 of 3 | – |" in text
        assert "The first depth" not in text and "is enough" not in text
        compared = "**depth 8** is better than depth 4" in text
        assert compared == (missing == 16)
        assert ("**Nothing is compared with depth 4**" in text) == (missing == 4)


def other_rows(run_dir, **changes):
    """Every row of the runs there, changed."""
    for metrics in run_dir.glob("*/metrics.jsonl"):
        rows = [row | changes for row in read_metrics(metrics)]
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_episodes_are_those_that_were_played(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3)})
    other_rows(run_dir, eval_episodes=256)
    report(run_dir)
    assert (
        "last evaluation of each complete run (256 episodes)" in (run_dir / "report.md").read_text()
    )


def test_what_was_never_judged_healthy_is_not_called_so(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2)}, verdict="too early to say")
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "| too early to say |" in text and "healthy |" not in text


@pytest.mark.parametrize("metric", ["train/critic_loss", "eval/success_rate_se", "health/verdict"])
def test_only_what_evaluations_measure_is_compared(tmp_path, console, metric):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2)})
    with pytest.raises(UserError, match=f"`{metric}` is nothing that evaluations measure"):
        report(run_dir, metric=metric)


def test_a_sweep_and_single_runs_of_the_same_choices_are_one_group(tmp_path, console):
    """A sweep leaves the length of the schedule to each run, which writes it down."""
    base = replaced(tiny(), schedule="cosine")
    sweep = begin_sweep(Sweep(base, {"seed": (0, 1)}), tmp_path / "sweep", console)
    places = [tmp_path / "sweep" / name for name in sweep.runs]
    configs = [*sweep.runs.values(), replaced(base, seed=2)]
    for place, config in zip([*places, tmp_path / "single"], configs, strict=True):
        place.mkdir(exist_ok=True)
        save_config(resolved(config), place / "config.json")
    (group,) = read_results(tmp_path / "sweep", tmp_path / "single").groups
    assert len(group.results) == 3 and not group.choices


def test_runs_of_a_group_that_are_not_equal_are_told(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2)})
    place = run_dir / "depth_4_seed_1" / "config.json"
    save_config(replaced(load_config(place), schedule_updates=7), place)
    report(run_dir)
    told = "The runs of **depth 4** differ in more than their seed: schedule updates."
    assert told in (run_dir / "report.md").read_text()


def test_what_sets_groups_apart_is_among_what_others_change(tmp_path, console):
    places = [tmp_path / str(number) for number in range(2)]
    for place, acting in zip(places, ("deterministic", "stochastic"), strict=True):
        place.mkdir()
        save_config(replaced(tiny(), eval_acting=acting), place / "config.json")
        (place / "metrics.jsonl").write_text(
            json.dumps({"env_steps": 0, "gradient_steps": 0, "eval/success_rate": 0.5}) + "\n"
        )
    report(*places, out=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "--eval-acting deterministic -> stochastic" in text


def test_who_failed_is_told_and_no_depth_recommended(tmp_path, console):
    scores = {4: (0.1, 0.2, 0.15, 0.1, 0.1), 16: (0.9, 0.95, 0.9, 0.5, 0.5)}
    run_dir = written(tmp_path, console, scores)
    for seed in (3, 4):
        metrics = run_dir / f"depth_16_seed_{seed}" / "metrics.jsonl"
        rows = read_metrics(metrics)[:-1]
        rows.append({"env_steps": 900, "gradient_steps": 90, "health/failure": "Not finite."})
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**2 of 5 runs of depth 16 failed**: their numbers were not finite" in text
    assert "depth 16 (3 of 5)" in text and "The first depth" not in text
    row = next(line for line in text.splitlines() if line.startswith("| depth 16"))
    assert row.startswith("| depth 16 | 3 of 5 |") and "| 1,200 | 120 | 0.05 |" in row


def test_scores_that_are_no_numbers_are_left_out(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.5, 0.6, 0.55), 16: (0.1, 0.2, math.nan)})
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**1 complete runs of depth 16 have no finite `eval/success_rate`**" in text
    assert "better than depth 4" not in text and "nan" not in text


def test_runs_of_other_lengths_are_told_and_why(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.98, 0.99, 0.99)})
    for config in run_dir.glob("*/config.json"):
        save_config(replaced(load_config(config), stop_at_success=0.5), config)
    sweep = load_sweep(run_dir)
    update_sweep(
        dataclasses.replace(sweep, config=replaced(sweep.config, stop_at_success=0.45)), run_dir
    )
    for seed in range(3):
        metrics = run_dir / f"depth_8_seed_{seed}" / "metrics.jsonl"
        rows = [row | {"env_steps": row["env_steps"] // 2} for row in read_metrics(metrics)]
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**Runs ended at different lengths** (two evaluations in a row reached" in text
    assert "depth 4 after 1,200, depth 8 after 600 environment steps" in text
    assert "The first depth" not in text


def test_of_several_tasks_each_is_compared_within_itself(tmp_path, console):
    axes = {"env": ("point_u_maze", "point_u4_maze"), "depth": (4, 8), "seed": (0, 1, 2)}
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.7, 0.8, 0.9)}, axes=axes)
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    for task in axes["env"]:
        assert f"**env {task}, depth 8** is better than env {task}, depth 4:" in text
    assert text.count("on average") == 2 and "not corrected for the 2 comparisons" in text


def test_a_run_in_the_directory_of_another_is_found(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.7, 0.8, 0.9)})
    one, other, aside = run_dir / "depth_4_seed_0", run_dir / "depth_8_seed_0", run_dir / "aside"
    for place, new in ((one, aside), (other, one), (aside, other)):
        place.rename(new)
    with pytest.raises(UserError, match=r"holds a run with `--depth 8`, where `--depth 4` belongs"):
        report(run_dir)


def test_a_seed_counts_once(tmp_path, console):
    first = written(tmp_path / "a", console, {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6)})
    again = written(tmp_path / "b", console, {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6)})
    with pytest.raises(UserError, match="are both seed 0 of depth 4, and would count as two runs"):
        report(first, again, out=tmp_path / "out")
    link = tmp_path / "latest"
    link.symlink_to(first)
    assert len(read_results(first, link).runs) == 6


def test_runs_that_are_not_complete_are_not_compared(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.8, 0.9, 0.7), 8: (0.1, 0.2, 0.3)})
    for seed in range(3):
        path = run_dir / f"depth_8_seed_{seed}" / "metrics.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "3 of 6 runs are complete, 6 were begun" in text
    assert "**Not all runs are complete**: depth 8 (0 of 3)." in text
    assert "worse" not in text and "| depth 8 | 0 of 3 | – |" in text
    for path in run_dir.glob("depth_4*/metrics.jsonl"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    report(run_dir)
    assert "**Nothing can be concluded yet.**" in (run_dir / "report.md").read_text()


def test_what_is_worse_is_called_worse(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.8, 0.9, 0.7), 8: (0.1, 0.2, 0.3)})
    report(run_dir)
    assert (
        "**depth 8** is worse than depth 4: -0.6 on average" in (run_dir / "report.md").read_text()
    )


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.pictures, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.pictures.append(attrs)
        elif tag not in ("meta",):
            self.open.append(tag)
        self.links += [v for k, v in attrs.items() if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_of_distances_the_smaller_is_better(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.15, 0.1), 8: (0.8, 0.9, 0.85, 0.95)})
    for metrics in run_dir.glob("*/metrics.jsonl"):
        rows = read_metrics(metrics)
        rows = [row | {"eval/final_distance": 3 - row["eval/success_rate"]} for row in rows]
        metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report(run_dir, metric="eval/final_distance")
    text = (run_dir / "report.md").read_text()
    assert "**depth 8** is better than depth 4: -0.737 on average" in text
    assert "-0.737 on average (95 % interval -0.8" in text
    assert "better than one of depth 4 in 100% of all pairs (permutation test, p = 0.014)" in text
    row = next(line for line in text.splitlines() if line.startswith("| depth 8"))
    assert "| 2.05, 2.2 |" in row  # the best run comes nearest


def test_runs_that_compute_or_act_otherwise_are_no_seeds_of_one_group(tmp_path):
    places = []
    for name, choices in (("a", {}), ("b", {"precision": "bf16"}), ("c", {"keep_checkpoints": 9})):
        places.append(tmp_path / name)
        places[-1].mkdir()
        save_config(tiny(**choices), places[-1] / "config.json")
    found = {group.label: len(group.results) for group in read_results(*places).groups}
    assert found == {"precision auto": 2, "precision bf16": 1}


def test_the_page_holds_all_that_it_needs(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6)})
    page = Page()
    page.feed(report(run_dir).read_text())
    assert page.open == [] and len(page.pictures) == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert all(picture["alt"] for picture in page.pictures)
    assert not re.search(r"https?://", (run_dir / "report.html").read_text())


def test_what_is_not_there_yet_is_told(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, None, 0.3), 8: (None, None, None)})
    groups = {group.label: len(group.results) for group in read_results(run_dir).groups}
    assert groups == {"depth 4": 2, "depth 8": 0}
    report(run_dir)
    assert "2 of 6 runs are complete, 2 were begun" in (run_dir / "report.md").read_text()
    with pytest.raises(UserError, match="no run has measured `eval/wings` yet"):
        report(run_dir, metric="eval/wings")
    with pytest.raises(UserError, match=r"holds neither a run \(config.json\) nor a sweep"):
        report(tmp_path)
    empty = begin_sweep(Sweep(tiny(), {"seed": (0, 1)}), tmp_path / "empty", console)
    with pytest.raises(UserError, match="none of its 2 runs was begun yet"):
        report(tmp_path / "empty")
    assert dataclasses.replace(empty) == empty


def test_runs_that_were_made_separately_are_compared(tmp_path, console, capsys):
    scores = {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6), 16: (0.7, 0.8, 0.9)}
    run_dir = written(tmp_path, console, scores)
    (run_dir / "sweep.json").unlink()
    runs = [str(path) for path in sorted(run_dir.glob("depth_*"))]
    out = tmp_path / "out"
    assert cli.run(["compare", *runs, "--out", str(out)]) == 0
    head, *lines = csv.reader((out / "compare.csv").read_text().splitlines())
    assert head[:4] == ["run", "depth", "seed", "complete"] and len(lines) == 9
    assert [line[1] for line in lines] == ["4"] * 3 + ["8"] * 3 + ["16"] * 3  # by size
    assert [float(line[head.index("eval/success_rate")]) for line in lines[:3]] == [0.1, 0.2, 0.3]
    assert (out / "compare.pdf").read_bytes().startswith(b"%PDF")
    assert cli.run(["report", *runs, "--out", str(out), "--price-per-hour", "36000"]) == 0
    text = (out / "report.md").read_text()
    assert "**depth 16** is better than depth 4" in text and "| cost each |" in text
    assert "| 0.05 | 30 | healthy |" in text  # 3 s of 10 a second
    other = tmp_path / "other"
    other.mkdir()
    save_config(tiny(env="point_big_maze"), other / "config.json")
    capsys.readouterr()
    for words, sentence in (
        ([*runs, str(other)], "of different tasks, point_big_maze and point_u_maze"),
        ([], "needs the directory of a run or a sweep"),
        ([str(tmp_path)], "holds neither a run"),
    ):
        assert cli.run(["compare", *words]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())


def test_unequal_budgets_are_told(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3), 8: (0.4, 0.5, 0.6)})
    longer = run_dir / "depth_8_seed_0" / "config.json"
    save_config(replaced(load_config(longer), total_env_steps=5000), longer)
    report(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "**Budgets differ**, from 1,200 to 5,000 environment steps" in text


def test_arithmetic_is_an_axis_where_it_is_known(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2, 0.3)})
    for run in run_dir.glob("depth_*"):
        facts = {"versions": {}, "hardware": {}, "flop_per_update": 1e9}
        (run / "provenance.json").write_text(json.dumps(facts))
    result = read_results(run_dir).groups[0].results[0]
    np.testing.assert_array_equal(result.curve_over_flop("eval/success_rate")[:, 0],
                                  [0.0, 60e9, 120e9])  # fmt: skip
    report(run_dir)
    assert "FLOP of all updates" in (run_dir / "report.md").read_text()


def test_a_film_of_each_group_is_in_the_page(tmp_path, console):
    run_dir = written(tmp_path, console, {4: (0.1, 0.2), 8: (0.4, 0.5)})
    for depth in (4, 8):
        videos = run_dir / f"depth_{depth}_seed_1" / "videos"
        videos.mkdir()
        (videos / "task.mp4").write_bytes(b"film")
    page = Page()
    page.feed(report(run_dir).read_text())
    films = [link for link in page.links if link.startswith("data:video/mp4;base64,")]
    assert len(films) == 2 and page.open == []


def test_a_ladder_from_the_command_line_is_trained_gone_on_with_and_reported(tmp_path, capsys):
    run_dir = str(tmp_path / "runs")
    small = (
        "--preset cpu-demo --width 16 --batch-size 32 --num-envs 8 --unroll-length 10 "
        "--prefill-length 20 --replay-capacity 60 --total-env-steps 400 --eval-every 200 "
        "--eval-episodes 4 --log-every 200 --checkpoint-every 400 --no-eval-split "
        "--no-tensorboard --no-pictures"
    ).split()
    words = ["ladder", "--depths", "4,8", "--seeds", "1", *small, "--run-dir", run_dir]
    assert cli.run(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Not enough data to conclude" in said and "report.html" in said
    assert "depth 8 seed 0 waiting" in said and "depth 8 seed 0 400 of 400" in said
    before = (tmp_path / "runs/depth_8_seed_0/metrics.jsonl").read_bytes()
    assert cli.run(words) == 0  # nothing is repeated
    assert (tmp_path / "runs/depth_8_seed_0/metrics.jsonl").read_bytes() == before
    assert cli.run([*words, "--total-env-steps", "560"]) == 0  # the last one counts
    rows = (tmp_path / "runs/depth_8_seed_0/metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["env_steps"] >= 560
    capsys.readouterr()
    assert cli.run([*words, "--discount", "0.9"]) == 2
    assert "would change the experiment: --discount" in capsys.readouterr().err
    assert cli.run(["ladder", "--depths", "4,12", *words[3:]]) == 2
    assert "holds a sweep of 2 runs, of which" in capsys.readouterr().err
    assert cli.run(["report", run_dir]) == 0
    assert "Not enough data to conclude" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("ladder", "needs to know what differs, such as `--depths 4,16`"),
        ("ladder --depths 4 --max-cost 5", "`--max-cost` and `--price-per-hour` go together"),
        ("ladder --depths 4 --max-cost 5 --price-per-hour 0", "must both be positive"),
        ("ladder --depths 4 --max-cost x --price-per-hour 2", "`--max-cost x` must be a number"),
        ("ladder --depths 4,6", "`--depth 6` must be a positive multiple of 4"),
        ("ladder --depths four", "`--depths four` must be a whole number"),
        ("ladder --depths 4,4", "`--depths 4,4` names a value twice"),
        ("ladder --depths 4,8 --depth 12", "`--depth` is what differs between the runs"),
        ("sweep --over batch_size=4,8 --batch_size 9", "`--batch-size` is what differs"),
        ("sweep --over layer-norm=true,false --no-layer-norm", "`--layer-norm` is what differs"),
        ("ladder --depths 4,8 --width x", "`crl-eqx ladder`: "),
        ("sweep --over depth", "`--over depth` must be a choice and its values"),
        ("sweep --over wings=2", "`wings` is no choice of `crl-eqx train` in which the runs"),
        ("sweep --over learning-rate=1,2", "can differ; there are actor-learning-rate, critic-l"),
        ("sweep --over total-env-steps=1,2", "`total-env-steps` is no choice"),
        ("sweep --over env-option=a=1", "`env-option` is no choice"),
        ("sweep --over depth=4,4", "`--over depth=4,4` names a value twice"),
        ("sweep --over depth=4,8 depth=12", "`--over depth=12`: `depth` is named twice"),
        ("sweep --over depth=4,8 --depth 12", "`--depth` is what differs between the runs"),
        ("sweep --over=depth=4,x", "`--over depth=4,x`: `x` must be a whole number"),
        ("sweep --over schedule=linear", "`linear` must be one of constant, cosine, cooldown"),
        ("sweep --over max-grad-norm=None,x", "`x` must be a number or None"),
        ("sweep --over init_from=x/a,x_a", "two runs whose directory would be `init_from_x_a_seed"),
        ("sweep --over depth=4 --collect overlap --seeds 2 --together", "trains one seed"),
        ("train --seed 0 1 --collect overlap --together", "trains one seed: leave out"),
        ("report --price-per-hour nan x", "`--price-per-hour nan` must be 0 or positive"),
        ("train --resume", "`--resume` needs a value"),
        ("sweep --over depth=4 --seeds 0", "`--seeds 0` must be a number from 1"),
        ("sweep --over depth=4 --seed 3", "counts seeds itself: say `--seeds 3`"),
        ("sweep --over depth=4 -j x", "`-j x` must be a number from 1"),
        ("report somewhere", "sweep.json"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(words.split()) == 2
    told = capsys.readouterr().err.strip()
    assert sentence in " ".join(told.split()) and "\n" not in told
    assert not list(tmp_path.iterdir())


def test_the_command_of_a_run_makes_it_again(console, tmp_path):
    preset = PRESETS["laptop"]
    for objective in ("crl", "ppo", "sac", "gcbc", "td3"):
        run_dir = tmp_path / objective
        asked = replaced(preset, objective=objective, depth=8)
        sweep = begin_sweep(Sweep(asked, {"seed": (0,)}), run_dir, console)
        save_config(sweep.config, run_dir / "seed_0" / "config.json")
        text = "\n".join(_commands(read_results(run_dir)))
        words = shlex.split(next(line for line in text.splitlines() if line.startswith("crl-eqx")))
        config, _ = cli_train.parse_config(words[2:], cli_train.preset_of(words[2:]), "train")
        assert resolved(config) == resolved(asked), objective


def test_the_command_leaves_out_what_its_run_has_for_others_to_use(console, tmp_path):
    asked = replaced(PRESETS["laptop"], temperature=0.2)
    sweep = begin_sweep(Sweep(asked, {"energy": ("neg_l2", "cosine")}), tmp_path / "s", console)
    for name, config in sweep.runs.items():
        save_config(config, tmp_path / "s" / name / "config.json")
    assert "--temperature" not in "\n".join(_commands(read_results(tmp_path / "s")))


def test_what_differs_takes_the_place_of_what_the_preset_says():
    from crl_eqx.cli._sweep import planned

    words = ["--preset", "cpu-demo", "--over", "discount=0.9,0.99", "schedule=cooldown,constant"]
    runs = planned("sweep", words).sweep.runs.values()
    assert {(run.learning.discount, run.learning.horizon) for run in runs} == {
        (0.9, None),
        (0.99, None),
    }
    assert {run.learning.schedule_updates for run in runs} == {None}


def test_of_a_flag_given_twice_the_last_counts_presets_too():
    config = cli_train.preset_of(["--preset", "laptop", "--preset", "cpu-demo"])
    assert config == PRESETS["cpu-demo"]
    cooldown = cli_train.preset_of(["--preset=cpu-demo", "--schedule", "cooldown"])
    assert PRESETS["cpu-demo"].learning.schedule_updates is not None
    assert cooldown.learning.schedule_updates is None


def test_a_budget_of_money_is_one_of_hours():
    from crl_eqx.cli._sweep import planned

    words = ["--depths", "4,8", "--max-cost", "20", "--price-per-hour", "2.5"]
    assert planned("ladder", words).sweep.config.max_hours == 8
    assert planned("ladder", [*words, "--max-hours", "3"]).sweep.config.max_hours == 3
    assert planned("ladder", [*words, "--max-hours", "9"]).sweep.config.max_hours == 8
