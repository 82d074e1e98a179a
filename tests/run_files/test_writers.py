"""Where metrics go besides `metrics.jsonl`."""

import resource
import sys
import types

import pytest

from crl_eqx import UserError
from crl_eqx.run_files._writers import Writers

from ..run.conftest import tiny


class FakeRun:
    def __init__(self, **settings):
        self.settings, self.rows, self.finished = settings, [], False
        self.summary = {}

    def log(self, scalars, step):
        self.rows.append((step, scalars))

    def finish(self):
        self.finished = True


def test_weights_and_biases_gets_the_configuration_the_rows_and_the_same_id_again(
    tmp_path, monkeypatch
):
    begun = []
    init = lambda **settings: begun.append(FakeRun(**settings)) or begun[-1]
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, Histogram=tuple))
    config = tiny(wandb=True, run_dir=tmp_path)
    for after, step in ((-1, 0), (0, 160)):
        writers = Writers(tmp_path, config, after=after)
        writers.write(
            {"env_steps": step, "a": 1.5, "health/verdict": "healthy", "health/norms": [1.0, 3.0]}
        )
        writers.close()
    first, second = begun
    assert first.settings["config"]["network"]["width"] == 16
    assert first.settings["config"]["run_dir"] == str(tmp_path)
    assert first.settings["id"] == second.settings["id"] != ""
    norms = {"health/norms/min": 1.0, "health/norms/max": 3.0, "health/norms/blocks": (1.0, 3.0)}
    assert first.rows == [(0, {"env_steps": 0.0, "a": 1.5} | norms)]
    assert first.summary == {"health/verdict": "healthy: "}
    assert first.finished and second.finished
    assert first.settings["project"] == "crl-eqx" and first.settings["group"] is None

    monkeypatch.setenv("WANDB_PROJECT", "legs")
    (tmp_path / "sweep.json").write_text("{}")
    for name, group in (("one", None), ("two", "mine")):
        (tmp_path / name).mkdir()
        Writers(tmp_path / name, tiny(wandb=True, wandb_group=group), after=-1).close()
    assert [run.settings["project"] for run in begun[2:]] == ["legs", "legs"]
    assert [run.settings["group"] for run in begun[2:]] == [tmp_path.name, "mine"]


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_full_disk_is_one_sentence_whoever_writes(tensorboard, tmp_path, capfd):
    writers = Writers(tmp_path, tiny(tensorboard=tensorboard), after=-1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # JSON is shorter than as many events, so that with TensorBoard it is that which fails first.
    row = {f"metric_{i}": float(i) for i in range(50)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(UserError, match=r"The metrics of .* could not be written: File too"):
            for step in range(1000):
                writers.write({"env_steps": step} | row)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writers.close()
    assert capfd.readouterr().err == ""
