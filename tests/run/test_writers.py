"""Where metrics go besides `metrics.jsonl`."""

import sys
import types

from crl_eqx.run._writers import open_writers

from .conftest import tiny


class FakeRun:
    def __init__(self, **settings):
        self.settings, self.rows, self.finished = settings, [], False

    def log(self, scalars, step):
        self.rows.append((step, scalars))

    def finish(self):
        self.finished = True


def test_weights_and_biases_gets_the_configuration_the_rows_and_the_same_id_again(
    tmp_path, monkeypatch
):
    begun = []
    init = lambda **settings: begun.append(FakeRun(**settings)) or begun[-1]
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    config = tiny(wandb=True, run_dir=tmp_path)
    for after, step in ((-1, 0), (0, 160)):
        writers = open_writers(tmp_path, config, after=after)
        for writer in writers:
            writer.write({"env_steps": step, "a": 1.5, "verdict": "healthy", "norms": [1.0, 3.0]})
            writer.close()
    first, second = begun
    assert first.settings["config"]["network"]["width"] == 16
    assert first.settings["config"]["run_dir"] == str(tmp_path)
    assert first.settings["id"] == second.settings["id"] != ""
    assert first.rows == [(0, {"env_steps": 0.0, "a": 1.5, "norms/min": 1.0, "norms/max": 3.0})]
    assert first.finished and second.finished
