"""One sheet shows every metric that it knows, for one run and for several."""

import shutil

import pytest
from PIL import Image

from crl_eqx import cli
from crl_eqx.pictures import _monitors
from crl_eqx.pictures._monitors import monitors, PANELS
from crl_eqx.run import train
from crl_eqx.run_files import read_metrics

from ..run.conftest import console as console, tiny


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    from rich.console import Console

    place = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(total_env_steps=800, diagnostics=True, eval_split=True), place, Console(quiet=True))
    return place


def test_every_panel_has_metrics_that_a_run_writes(run_dir):
    written = {name for row in read_metrics(run_dir / "metrics.jsonl") for name in row}
    for panel in PANELS:
        assert {*panel.metrics} <= written, panel


def test_a_sheet_grows_with_what_it_shows(run_dir, tmp_path):
    rows = read_metrics(run_dir / "metrics.jsonl")

    def size(runs):
        with Image.open(monitors(runs, tmp_path / "sheet.png")) as sheet:
            return sheet.size

    alone, together = size({"a": rows}), size({"a": rows, "b": rows})
    assert alone[0] == together[0] and alone[1] > together[1]  # maps are for one run alone
    bare = size({"a": [{"env_steps": 0, "eval/success_rate": 0.0}]})
    assert bare[1] < together[1]


def test_from_the_command_line(run_dir, tmp_path, capsys, monkeypatch):
    assert cli.run(["plot", str(run_dir)]) == 0
    assert (run_dir / "plots" / "monitors.png").stat().st_size > 10_000
    out = tmp_path / "here.png"
    assert cli.run(["plot", str(run_dir), str(run_dir), "--out", str(out)]) == 0
    assert out.exists()
    other = tmp_path / "other" / run_dir.name
    shutil.copytree(run_dir, other)
    drawn = []
    monkeypatch.setattr(_monitors, "monitors", lambda runs, path: drawn.append(runs) or path)
    assert cli.run(["plot", str(run_dir), str(other), "--out", str(out)]) == 0
    assert [*drawn[0]] == [run_dir.as_posix(), other.as_posix()], "of one name, and two runs"
    capsys.readouterr()
    for words, sentence in (
        (["plot"], "needs the directory of a run or a sweep"),
        (["plot", str(tmp_path)], "holds neither a run"),
        (["plot", str(run_dir), "--out", str(tmp_path)], "must be a file that ends in .png"),
        (["plot", str(run_dir), "--out", "sheet.jpg"], "must be a file that ends in .png"),
    ):
        assert cli.run(words) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
