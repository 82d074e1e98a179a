"""`--deterministic`: what it asks of XLA, in time, and what it refuses."""

import dataclasses
import os
import subprocess
import sys

import jax
import pytest
from jax._src import xla_bridge
from rich.console import Console

from crl_eqx import UserError
from crl_eqx.config import Config, replaced
from crl_eqx.run import ask_for_determinism, check, train
from crl_eqx.run._deterministic import check_determinism, XLA_FLAG


WANTED = Config(deterministic=True)
QUIET = Console(quiet=True)


@pytest.mark.parametrize("before", [None, "--xla_cpu_enable_fast_math=false"])
def test_xla_is_asked_once_and_keeps_its_other_flags(monkeypatch, before):
    if before is None:
        monkeypatch.delenv("XLA_FLAGS", raising=False)
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    jax.devices()
    ask_for_determinism(WANTED)  # too late
    assert os.environ.get("XLA_FLAGS") == before
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)
    ask_for_determinism(Config())
    assert os.environ.get("XLA_FLAGS") == before
    for _ in range(2):
        ask_for_determinism(WANTED)
        assert os.environ["XLA_FLAGS"].split() == [*filter(None, [before]), XLA_FLAG]


PROGRAM = """
import os, jax
from jax._src import xla_bridge
from crl_eqx.cli import _train
{how}
assert not xla_bridge.backends_are_initialized()
assert {flag!r} in os.environ["XLA_FLAGS"]
print(jax.jit(lambda x: x + 1)(1.0))  # XLA ends the process for a flag that it does not know
"""
PARSED = '_train.parse_config(["--deterministic"], _train.preset_of([]), "train")'
OF_A_SWEEP = """
import rich.console
from crl_eqx import lab
lab._jobs._train = lambda *args: []
lab.train_runs(__import__("pathlib").Path({path!r}), ["seed_0"], rich.console.Console())
"""


@pytest.mark.parametrize("how", ["command line", "a run of a sweep"])
def test_it_is_asked_before_jax_begins(how, tmp_path):
    if how == "a run of a sweep":
        from crl_eqx.lab import begin_sweep, Sweep

        config = dataclasses.replace(WANTED, total_env_steps=2_000_000)
        begin_sweep(Sweep(config, {"seed": (0,)}), tmp_path / "runs", QUIET)
        how = OF_A_SWEEP.format(path=str(tmp_path / "runs"))
    else:
        how = PARSED
    program = PROGRAM.format(how=how, flag=XLA_FLAG)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout.strip()) == (0, "2.0"), done.stderr[-2000:]


@pytest.mark.parametrize(
    "config, words",
    [
        (dataclasses.replace(WANTED, physics="warp"), "--physics warp"),
        (replaced(WANTED, kernel="mosaic"), "--kernel mosaic"),
    ],
)
def test_what_cannot_be_is_refused(config, words):
    with pytest.raises(UserError, match=f"`--deterministic` .*`{words}`") as found:
        check(config)
    assert "\n" not in str(found.value)


def test_a_program_that_has_not_asked_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.raises(UserError, match=XLA_FLAG):
        train(WANTED, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("XLA_FLAGS", XLA_FLAG)
    check_determinism(WANTED)
