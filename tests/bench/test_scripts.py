"""Every script runs at a tiny size, and its checks can fail."""

import argparse
import dataclasses
import json
import os
import platform
import runpy
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crl_eqx as crl
from crl_eqx import envs
from crl_eqx.config import save_config
from crl_eqx.run._deterministic import XLA_FLAG

from ..run.conftest import tiny
from .conftest import BENCH


def test_both_updates_compute_the_same_gradients(bench):
    update = bench("update")
    distances = update.check_gradients(depth=4, width=16, batch_size=8)
    assert set(distances) == {"actor", "critic", "alpha"}
    assert max(distances.values()) < update.TOLERANCE


def test_an_update_is_timed(bench):
    (row,) = bench("update").measure(
        depth=4, width=8, batch_size=4, rounds=1, remat="none", published=False
    )
    assert row["wall_seconds"] > 0 and row["compile_seconds"] > 0 and row["program_lines"] > 0


def test_ratios_are_ours_over_published_where_both_were_measured(bench):
    names = "cpu_seconds", "wall_seconds", "compile_seconds", "compile_cpu_seconds", "temp_mib"
    row = lambda depth, update, x: {"depth": depth, "update": update} | dict.fromkeys(names, x)
    rows = [row(4, "ours", 1.0), row(4, "published", 2.0), row(8, "ours", 1.0)]
    assert bench("update").ratios(rows) == [{"depth": 4} | dict.fromkeys(names, 0.5)]


def test_gradients_that_differ_are_seen(bench):
    distance = bench("update")._distance
    assert distance({"w": np.ones(4)}, {"w": np.ones(4)}) == 0
    assert distance({"w": 1.01 * np.ones(4)}, {"w": np.ones(4)}) == pytest.approx(0.01)


def test_samplers_draw_goals_at_the_same_distances(bench):
    replay = bench("replay")
    sizes = dict(envs=16, steps=100, batches=20, batch_size=64, rounds=1)
    rows = [replay.job(sampler=sampler, **sizes) for sampler in replay.SAMPLERS]
    theirs, mine, _ = (row["mean_goal_distance"] for row in rows)
    assert mine == pytest.approx(theirs, rel=0.2)
    assert rows[0]["extra_mib"] > rows[1]["extra_mib"] > rows[2]["extra_mib"]


def test_a_goal_of_another_episode_is_refused(bench):
    replay = bench("replay")
    state = np.zeros((4, 3), np.float32)
    future = state + np.array([5, 0, 0], np.float32)
    assert replay.check(state, future) == 5
    with pytest.raises(SystemExit, match="another episode"):
        replay.check(state, future + np.array([0, 1, 0], np.float32))
    with pytest.raises(SystemExit, match="the past"):
        replay.check(state, state - np.array([1, 0, 0], np.float32))


@pytest.mark.parametrize("how", ["--cores=1", "--at-once"])
def test_scan_vs_unrolled_writes_a_table_results_and_a_plot(how, tmp_path):
    tiny = "--depths=4 --width=8 --batch-size=4 --seconds=0.01 --processes=1"
    command = [sys.executable, str(BENCH / "scan_vs_unrolled.py"), *tiny.split(" "), how]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "unrolled" in done.stdout
    (results,) = tmp_path.glob("scan_vs_unrolled-*.json")
    assert results.with_suffix(".png").stat().st_size > 1000
    rows = json.loads(results.read_text())["rows"]
    assert [row["variant"] for row in rows] == ["scan, auto", "unrolled"]
    assert all(row["compile_seconds"] > 0 and row["temp_mib"] > 0 for row in rows)


TAKES_TURNS = """
import argparse, json, sys, time
sys.path.insert(0, {bench!r})
from _measure import answer, turn

def job(fails, meeting):
    if fails:
        raise SystemExit(1)
    with turn(meeting):
        came = time.time()
        time.sleep(0.1)
        return [came, time.time()]

answer(job, **json.loads(sys.argv[2]))
"""


def test_processes_that_start_together_are_timed_one_after_the_other(bench, tmp_path):
    script = tmp_path / "takes_turns.py"
    script.write_text(TAKES_TURNS.format(bench=str(BENCH)))
    measure = bench("_measure")
    spans = list(measure.in_fresh_processes(str(script), [{"fails": False}] * 3))
    assert all(left < came for (_, left), (came, _) in zip(spans, spans[1:], strict=False))
    with_one_that_fails = [{"fails": number == 1} for number in range(3)]
    results = measure.in_fresh_processes(str(script), with_one_that_fails)
    assert len([next(results), next(results)]) == 2
    with pytest.raises(SystemExit, match="ended with code 1"):
        next(results)


def test_a_save_is_a_share_of_the_time_between_two(bench, tmp_path):
    script = bench("checkpoints")
    config = script.configuration("point_u_maze", 4, every=2000)
    small = dataclasses.replace(config.data, prefill_length=200, replay_capacity=500)
    config = dataclasses.replace(config, data=small)
    first, second = script.measure(config, tmp_path, saves=2)
    assert second["env_steps"] - first["env_steps"] == 8 * 4 * 62  # unrolls that make about 2000
    assert 0 < first["share"] < 1 and first["written_mib"] > 0


def test_a_prediction_is_held_against_the_run(bench, tmp_path, monkeypatch, capsys):
    forecast = bench("forecast")
    monkeypatch.setattr("crl_eqx.lab._forecast.SECONDS", 0.1)
    row = forecast.measure("tiny", tiny(total_env_steps=2_000, eval_every=1_000))
    assert row["seconds"] > 0 and row["off"] == row["predicted_seconds"] / row["seconds"] - 1
    assert row["low_seconds"] <= row["predicted_seconds"] <= row["high_seconds"]
    forecast.show([row | {"seconds": row["high_seconds"] + 1}], forecast.wide_console())
    assert "tiny" in (told := capsys.readouterr().out) and "no" in told


def test_steps_of_environments_are_counted(bench):
    row = bench("env_steps").measure("point_u_maze", "native", 2, seconds=0.01)
    assert row["steps_per_second"] > 0 and row["steps_per_cpu_second"] > 0
    assert row["spread"][0] <= row["steps_per_second"] <= row["spread"][1]


def test_a_planner_reaches_a_goal_that_is_near(bench):
    script = bench("attain")
    words = dict(tries=1, seed=0, samples=16, horizon=0.3, hold=0.06, spread=None, keep=None)
    (row,) = script.tries("reacher", argparse.Namespace(**words))
    assert row["reached"] and row["nearest_distance"] < 0.05 and row["steps"] < 1000


def test_an_agent_that_does_not_move_stands_still(bench):
    env = envs.make("point_u_maze", physics="native", episode_length=20)
    agent = crl.Agent.create(env, depth=4, width=8, key=jax.random.key(0))
    (_, moving), *_ = bench("standstills").measure(agent, env, 4, seed=0)
    assert moving == {"arrive": 0, "end early": 0, "stand still": 0, "other": 1}
    idle = jax.tree.map(lambda x: 0 * x if eqx.is_inexact_array(x) else x, agent)
    (_, shares), (where, told) = bench("standstills").measure(idle, env, 4, seed=0)
    assert shares == {"arrive": 0, "end early": 0, "stand still": 1, "other": 0}
    assert where == "standing still" and told["policy_std"] > 0.1
    assert told["uniform_beyond_own"] == pytest.approx(0, abs=1e-9)
    assert told["energy_std_over_actions"] == pytest.approx(0, abs=1e-9)


def test_random_steps_and_births_in_success_are_counted(bench):
    script = bench("sanity")
    env = envs.make("reacher", physics="native", episode_length=3)
    row = script.play(env, 512 * 7)
    assert row["episodes_ended"] == 512 * 2 and row["failures"] == 0
    assert 0.2 < row["largest_number"] < 2
    assert 0.005 < script.resets(env)["born_in_success"] < 0.03


def test_a_tenth_of_the_time_step_changes_little(bench):
    row = bench("accuracy").measure("reacher")
    assert max(row["iterations_velocity_error"]) < 1e-6
    median, high = row["timestep_position_error"]
    assert 0 < median <= high < 0.01


def test_variants_that_disagree_are_refused(bench):
    script = bench("scan_vs_unrolled")
    row = {name: 1.0 for name in script.COMPARED} | {"depth": 4, "variant": "scan, auto"}
    script.check_losses([row, row | {"variant": "unrolled"}], 1e-3)
    with pytest.raises(SystemExit, match="actor_loss"):
        script.check_losses([row, row | {"actor_loss": 1.01}], 1e-3)


def test_results_name_the_machine_but_no_host_and_no_path(bench, tmp_path):
    path = bench("_machine").write("some", [{"x": 1}], directory=tmp_path, cores_used=1)
    text = path.read_text()
    assert json.loads(text)["rows"] == [{"x": 1}]
    assert json.loads(text)["machine"]["versions"]["jax"]
    assert platform.node() not in text and os.getcwd() not in text and "/" not in text


def test_medians_take_the_middle_of_numbers_and_keep_names(bench):
    rows = [{"name": "a", "x": x, "gone": None} for x in (3.0, 1.0, 2.0)]
    assert bench("_measure").medians(rows) == {"name": "a", "x": 2.0, "gone": None}


def test_cells_of_a_gpu_day_are_timed_fail_and_are_left_out(bench):
    day = bench("gpu_day")
    (cell,) = day.smaller([dict(do="published", depth=4), dict(do="published", depth=64)])
    broken = {"do": "published", "depth": "four", "small": True}
    timed, failed = day.answers([cell, broken], time.time() + 300, at_once=2)
    assert timed["update_ms"] > 0 and timed["first_call_seconds"] > 0 and "small" not in timed
    assert failed["failed"].startswith("TypeError: ")
    (late,) = day.answers([cell], time.time() - 1, at_once=1)
    assert late == {"do": "published", "depth": 4, "left_out": "the time was up"}
    rows = [{"part": "updates"} | row for row in (timed, late)]
    heading, _, columns, line, first, second = day.markdown(rows).splitlines()[:6]
    assert heading == "## updates" and columns.startswith("| do | depth | update_ms | ")
    assert {row.count("|") for row in (columns, line, first, second)} == {columns.count("|")}


@pytest.mark.slow
def test_a_gpu_day_can_be_tried_without_a_gpu(bench):
    day = bench("gpu_day")
    cells = [cell for of in day.PARTS.values() for cell in day.smaller(of())]
    rows = [*day.answers(cells, time.time() + 1800, at_once=1)]
    assert {row["do"] for row in rows} == set(day.DOES)
    assert not [row for row in rows if {"failed", "left_out"} & set(row)]
    fingerprints = {row["agent"] for row in rows if row["do"] == "repeated"}
    assert len(fingerprints) == 1  # on a CPU two runs are always the same


def test_every_cell_of_a_gpu_day_is_one_that_can_be_done(bench):
    day = bench("gpu_day")
    assert day.DETERMINISTIC == XLA_FLAG
    for name, cells in day.PARTS.items():
        for cell in cells():
            assert cell["do"] in day.DOES, name
            assert set(cell) <= {"do", "depth", "kernel", "physics", "collect", "metrics_of",
                                 "flags", "xla_flags", "seeds", "run"}  # fmt: skip


def test_a_trace_says_what_ran(bench, tmp_path):
    times = bench("kernel_times")
    with jax.profiler.trace(str(tmp_path)):
        jax.block_until_ready(jax.jit(lambda x: jnp.sin(x @ x))(jnp.ones((64, 64))))
    ran = list(times.events(str(tmp_path)))
    assert ran and all(microseconds >= 0 for _, microseconds in ran)
    rows = times.by_kernel([("dot.1", 2.0), ("dot.27", 4.0), ("sin", 9.0)], updates=2)
    assert rows == [
        {"name": "sin", "per_update": 0.5, "us_per_update": 4.5},
        {"name": "dot", "per_update": 1.0, "us_per_update": 3.0},
    ]


def test_every_pass_of_a_cut_is_compared_and_timed(bench):
    tiles = bench("tiles")
    cut = tiles.Tiles(16, 64, 4, 2)
    assert cut in tiles.cuts(128, [1, 2])
    case = tiles.Case(4, 128, 16, nets=1)
    x, params = tiles.draw_with_first(case, key=jax.random.key(0))
    ways = tiles.steps(tiles.passes("bf16", tiles=cut, interpret=True), x, params)
    y, (dx, dparams) = tiles.exact(x, params)
    expected = {
        "forward_us": y,
        "backward_us": (dx, None),
        "backward_to_parameters_us": (dx, dparams),
    }
    assert ways.keys() == {*expected, "forward_keeping_us"}
    for name, call in ways.items():
        assert tiles.seconds_each(call, least=tiles.LEAST) > 0
        if name in expected:
            assert 0 < tiles.distance(call(), expected[name]) < tiles.TOLERANCE["bf16"]


def test_the_gpu_suite_measures_until_its_time_is_up(bench, monkeypatch):
    suite = bench("gpu_suite")
    monkeypatch.setattr(suite, "WIDTH", 8)
    job = dict(way="packed", precision="f32", cells=[(4, 4)], passes=[4], checked=[4])
    error, update, passes = suite.work(job | {"until": float("inf")})
    assert 0 < error["gradient_error"] < 1e-5
    assert update["update_ms"] > 0 and update["planned_mib"] > update["temp_mib"] > 0
    assert passes["forward_and_backward_ms"] > 0
    (left,) = suite.work(job | {"checked": [], "until": 0})
    assert left["what"] == "left_out"
    monkeypatch.setattr(suite, "_timed_update", lambda *cell: 1 / 0)
    (failed,) = suite.work(job | {"checked": [], "until": float("inf")})
    assert failed["what"] == "failed" and "ZeroDivisionError" in failed["error"]


def test_the_gpu_suite_shows_what_it_measured_and_what_is_wrong(bench, tmp_path):
    suite = bench("gpu_suite")
    ceiling = dict(bytes_per_second=1e12, f32_operations_per_second=1e13)
    cell = dict(what="update", way="packed", precision="f32", depth=64, batch_size=512)
    cell |= dict(update_ms=2.5, planned_mib=100, compile_seconds=9)
    cell |= suite.roofline(64, 512, "f32", ceiling)
    assert cell["arithmetic_ms"] == pytest.approx(1e3 * 11 * 2 * 512 * 256**2 * 64 / 1e13)
    rest = dict(way="xla", precision="auto", depth=1024, batch_size=2048)
    left = [rest | {"what": "left_out"}, rest | {"what": "failed", "error": "no memory"}]
    result = {"rows": [cell, cell | {"flags": "none", "update_ms": 2.0}, *left]}
    told = suite.markdown(result)
    assert "- xla auto, depth 1024, batch_size 2048: no memory" in told
    assert "| 512 | 64 | packed | f32 | 2.5 |" in told and "| none | 2 |" in told
    suite.plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    error = dict(what="error", way="packed", precision="f32", depth=8)
    right, wrong = (error | dict(value_error=1e-7, gradient_error=e) for e in (1e-7, float("nan")))
    assert suite.too_wrong([right]) == []
    assert "gradient_error nan" in suite.too_wrong([right, wrong])[0]


SEQUENCE = """\
001: kCustomKernel [source | next=002] tower_forward grid: [16, 3, 1] threads: [256, 1, 1]  shared_memory: 2048 bytes
002: kWhile        [prev=001 (1) | next=003 (1)]
condition:
    003: kCustomKernel [source | sink] loop_compare_fusion grid: [1, 1, 1] threads: [1, 1, 1]  shared_memory: 0 bytes
  body:
    004: kAsyncStart   [source | sink] stream=computation_stream[0], async_id=8
        006: kDynamicSliceFusion [source | sink] params=1, results=1
            005: kCopy [source | sink] kCopy
    007: kCustomKernel [source | sink] gemm grid: [16, 3, 1] threads: [64, 1, 1]  shared_memory: 0 bytes
    008: kAsyncDone    [source | sink] async_id=8
009: kCopy         [prev=002 (1) | sink] kCopy
"""  # noqa: E501
PTXAS = """\
ptxas info    : Compiling entry function 'tower_forward' for 'sm_90a'
ptxas info    : Function properties for tower_forward
    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers
"""


def test_what_the_compiler_plans_for_a_gpu_is_counted_and_bounded(bench):
    aot = bench("aot")
    program = '%loop = (f32[]) while(%t), backend_config={"known_trip_count":{"n":"16"}}'
    counted = aot._launches(SEQUENCE, program)
    assert counted == {
        "outside": 2,
        "loops": [{"turns": 16, "launches": 2}],
        "launches": 2 + 16 * 2,
    }
    once = aot._launches(SEQUENCE, "%loop = (f32[]) while(%t), body=%b")  # as long as it takes
    assert once["loops"] == [{"turns": 1, "launches": 2}]
    with pytest.raises(SystemExit, match="1 loops are launched, and 0 are in the program"):
        aot._launches(SEQUENCE, "")
    (kernel,) = aot._kernels(SEQUENCE, PTXAS)
    assert kernel == {
        "kernel": "tower_forward",
        "registers": 128,
        "spilled_bytes": 12,
        "shared_memory": 2048,
    }
    row = {"program": "update, triton, bf16", "temp_mib": 10, "compile_seconds": 1.0}
    row |= counted | {"kernels": [kernel]}
    assert aot._exceeded(row) == ["update, triton, bf16: spilled_bytes is 12, at most 0 is allowed"]
    assert "tower_forward 128, 12, 2" in aot.table([row])


def test_rounding_is_measured_against_float64(bench):
    errors = bench("precision").errors
    exact, rounded = (errors("packed", p, 4, width=8) for p in ("f32", "bf16"))
    assert 0 < exact["gradient_error"] < 1e-5 < rounded["gradient_error"] < 0.1


BARE = """
import json, sys
for name in "beartype imageio mujoco msgspec psutil rich safetensors tyro".split():
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import gpu_suite
gpu_suite.WIDTH = 8
print(json.dumps(list(gpu_suite.work(json.loads(sys.argv[2])))))
"""


def test_the_gpu_suite_needs_little_besides_jax():
    job = dict(way="packed", precision="f32", cells=[(4, 4)], passes=[], checked=[], until=9e99)
    command = [sys.executable, "-c", BARE, str(BENCH), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["update_ms"] > 0


def test_curves_are_drawn_alike_from_runs_and_from_what_is_kept_of_them(bench, tmp_path):
    draw = runpy.run_path(str(BENCH.parent / "docs" / "make_curves.py"))
    for seed in (0, 1):
        run = tmp_path / "far" / f"seed_{seed}"
        run.mkdir(parents=True)
        save_config(dataclasses.replace(tiny(), seed=seed, run_dir=run), run / "config.json")
        rows = [
            {"env_steps": n, "train/x": 1.0, "eval/success_rate": n / (9 + seed)} for n in (0, 8)
        ]
        lines = [*rows, {"env_steps": 9, "train/x": 2.0}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = bench("curves")
    rows = [{"run": "far"} | curves.kept(s) for s in (tmp_path / "far").iterdir()]
    assert "run_dir" not in rows[0]["choices"] and "num_envs" in rows[0]["choices"]
    file = tmp_path / "curves.json"
    file.write_text(json.dumps({"rows": rows}))
    for runs in ([tmp_path / "far"], [file]):
        (read,) = draw["read"](runs)
        assert (read.name, read.task) == ("far", tiny().env)
        rates = [[row.get("eval/success_rate") for row in seed][:2] for seed in read.seeds]
        assert sorted(rates) == [[0, 0.8], [0, pytest.approx(8 / 9, rel=1e-3)]]
        assert draw["draw"]([read], tmp_path / "curves.png", "eval/success_rate").exists()
