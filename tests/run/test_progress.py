"""What is on the screen while a run works."""

import pytest
from rich.console import Console

from crl_eqx.run import _progress
from crl_eqx.run._progress import Reporter


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def told(tmp_path):
    """A plain reporter of a run of 1000 steps, and its lines so far."""
    file = (tmp_path / "console.txt").open("w+")

    def lines():
        file.seek(0)
        return file.read().splitlines()

    yield Reporter(Console(file=file, width=200), total=1000, done=0), lines
    file.close()


def test_a_compilation_is_announced_before_it_begins(told, clock):
    reporter, lines = told
    reporter.phase("compiling")
    assert lines() == ["compiling   0/1,000 steps"]


def test_one_compilation_after_another_begins_anew(told, clock):
    """All first phases are called so: an evaluation that is over is told no more."""
    reporter, lines = told
    reporter.phase("compiling")
    reporter.update(10)
    clock[0] += 50
    reporter.part(0.98)
    assert lines()[-1].endswith("evaluation 98%")
    reporter.phase("compiling")
    clock[0] += 50
    reporter.update(20)
    assert lines()[-1] == "compiling   20/1,000 steps"


def test_the_pace_is_that_of_the_last_minute_and_leaves_compiling_out(told, clock):
    reporter, lines = told
    reporter.phase("compiling")
    clock[0] += 500
    reporter.update(10)
    reporter.phase("training")
    for env_steps in (100, 200, 300):
        clock[0] += 20
        reporter.update(env_steps)
    assert "5 steps/s  ETA 0:02:20" in lines()[-1]
    reporter.success(0.25)
    clock[0] += 100
    reporter.update(400)
    assert lines()[-1].startswith("training    400/1,000 steps")
    assert lines()[-1].endswith("success 0.25")


def test_lines_do_not_come_faster_than_one_can_read(told, clock):
    reporter, lines = told
    for env_steps in range(0, 500, 10):
        clock[0] += 1
        reporter.update(env_steps)
    assert 3 <= len(lines()) <= 6


def test_a_terminal_shows_a_bar_with_the_phase(clock):
    console = Console(force_terminal=True, width=120, record=True)
    reporter = Reporter(console, total=1000, done=0)
    reporter.phase("evaluating")
    reporter.update(500)
    reporter.close()
    text = console.export_text()
    assert "evaluating" in text and "500/1,000 steps" in text and "50%" in text


def test_a_run_whose_unrolls_take_minutes_has_a_pace_too(told, clock):
    reporter, lines = told
    reporter.phase("training")
    for env_steps in (100, 200, 300):
        clock[0] += 120
        reporter.update(env_steps)
    assert "300/1,000 steps  1 steps/s  ETA 0:14:00" in lines()[-1]
