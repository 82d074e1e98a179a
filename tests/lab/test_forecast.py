"""What a run would take, said before it is made."""

import dataclasses
import time
from pathlib import Path

import pytest

from crl_eqx import cli
from crl_eqx.config import replaced
from crl_eqx.lab import Forecast, forecast
from crl_eqx.run import estimate, Run, train

from ..run.conftest import console as console, tiny


def test_hours_are_those_of_the_run_within_a_factor_of_two(tmp_path, console):
    config = tiny(
        total_env_steps=32_000, num_envs=32, width=64, eval_every=8_000, log_every=8_000,
        checkpoint_every=32_000, replay_capacity=300, updates_per_env_step=0.02,
    )  # fmt: skip
    found = forecast(config, seconds=2.0)
    begun = time.monotonic()
    train(config, tmp_path / "run", console)
    took = time.monotonic() - begun
    without_compiling = found.seconds() - found.compiling
    assert without_compiling / 2 < took < 2 * found.seconds()
    assert (found.env_steps_per_unroll, found.updates_per_unroll) == (320, 6.4)
    assert found.low <= found.unroll <= found.high


def plain(**changes) -> Forecast:
    config = tiny(total_env_steps=1_000_000, eval_every=100_000)
    run = Run(config, Path("nowhere"))
    needs = estimate(config, run.step, run.abstract())
    usual = dict(unroll=2.0, low=1.5, high=3.0, evaluation=10.0, compiling=20.0)
    return dataclasses.replace(Forecast(config, 10_000, 50.0, **usual, needs=needs), **changes)


def test_times_add_up():
    found = plain()
    assert found.evaluations == 11 and found.update_ms == pytest.approx(40.0)
    assert found.seconds() == pytest.approx(20 + 100 * 2 + 11 * 10)
    assert found.seconds(found.high) == pytest.approx(20 + 100 * 3 + 11 * 10)
    # An hour, less compiling and the first evaluation, at 3 s for 10,000 steps.
    assert found.steps_within(1.0) == (3600 - 30) // 3 * 10_000
    assert found.steps_within(0.001) == 0
    told = str(found)
    assert "1,000,000 environment steps would take 5.5 min (4.67 min to 7.17 min), 33% of" in told
    late = plain(config=dataclasses.replace(found.config, max_hours=0.05))
    assert "`--max-hours 0.05` allows 500,000 of the steps" in str(late)


def test_there_is_at_most_one_evaluation_an_unroll():
    often = plain(config=replaced(plain().config, eval_every=100))  # in unrolls of 10,000 steps
    assert often.evaluations == 101
    # Each unroll of 2 s and its evaluation of 10 s, of an hour less compiling and the first one.
    assert often.steps_within(1.0) == (3600 - 30) // 12 * 10_000


def test_what_would_take_too_long_is_timed_in_part_and_the_rest_in_proportion(monkeypatch):
    from crl_eqx.lab import _forecast

    config = tiny(width=64, updates_per_env_step=0.5, num_envs=16)
    run = Run(config, Path("nowhere"))
    whole = forecast(config, seconds=1.0)
    # Several updates a call: of one alone the call itself would be a good part of the time.
    monkeypatch.setattr(_forecast, "SECONDS", 1.0)
    monkeypatch.setattr(_forecast, "SLOW", 1e9)
    part = forecast(config)
    assert _forecast._updates_to_time(run, run.initial()) in range(4, 80)
    assert part.updates_per_unroll == whole.updates_per_unroll == 80
    assert whole.unroll / 2 < part.unroll < 2 * whole.unroll
    deeper = dataclasses.replace(config, network=dataclasses.replace(config.network, depth=64))
    scaled = part.scaled(deeper)
    assert 10 < scaled.unroll / part.unroll < 16 and scaled.needs.memory > part.needs.memory
    assert not _forecast.too_slow(config)
    monkeypatch.setattr(_forecast, "SLOW", 1e3)
    assert _forecast.too_slow(config)


def test_memory_that_is_short_is_told_with_what_would_make_it_fit(monkeypatch):
    from crl_eqx.lab import shortage
    from crl_eqx.run import _resources

    deep = dict(depth=64, width=64, batch_size=512, num_envs=64, total_env_steps=12_000)
    config = tiny(**deep)
    run = Run(config, Path("nowhere"))
    needs = estimate(run.config, run.step, run.abstract())
    assert shortage(config) is None
    monkeypatch.setattr(_resources, "free_memory", lambda: needs.memory - 1)
    told = shortage(config) or ""
    assert "`--remat block` or `--replay-capacity " in told and told.endswith("would fit")
    # What is advised is true.
    flags = dict(remat="block"), dict(replay_capacity=int(told.split("capacity ")[1].split("`")[0]))
    for flag in flags:
        assert shortage(tiny(**deep | flag)) is None
    monkeypatch.setattr(_resources, "free_memory", lambda: needs.parameters)
    assert "a smaller `--depth`, `--width` or `--batch-size` is needed" in (shortage(config) or "")


def test_a_dry_run_leaves_nothing_behind_and_the_doctor_names_its_price(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    small = (
        "--preset cpu-demo --width 16 --batch-size 32 --num-envs 8 --unroll-length 10 "
        "--prefill-length 20 --replay-capacity 60 --total-env-steps 4000 --eval-every 2000 "
        "--eval-episodes 4 --no-eval-split"
    ).split()
    monkeypatch.setattr("crl_eqx.lab._forecast.SECONDS", 0.1)
    assert cli.run(["train", *small, "--dry-run"]) == 0
    assert "4,000 environment steps would take" in " ".join(capsys.readouterr().out.split())
    words = ["doctor", "--depths", "4,8", "--price-per-hour", "2.5", *small]
    assert cli.run(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "cores for this process" in told and "depth 8: 4,000" in told and "Cost: " in told
    assert "physics native: " in told and "environment steps/s without updates" in told
    assert "careful: 4,000 environment steps are few" in told
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("doctor --depths 4,6", "`--depth 6` must be a positive multiple of 4"),
        ("doctor --depths four", "`--depths four` must be a whole number"),
        ("doctor --price-per-hour much", "`--price-per-hour much` must be a number"),
        ("train --dry-run --depth 6", "`--depth 6` must be a positive multiple of 4"),
        ("train --resume runs/ant --dry-run", "`--dry-run` times a new run"),
        ("resume runs/ant --dry-run", "`--dry-run` times a new run"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys):
    assert cli.run(words.split()) == 2
    told = capsys.readouterr().err.strip()
    assert sentence in told and "\n" not in told
