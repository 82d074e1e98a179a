"""What the README and the documents say is run, or held against the code."""

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import tyro
from rich.console import Console

import crl_eqx as crl
from crl_eqx import cli, envs
from crl_eqx.cli._envs import Envs
from crl_eqx.cli._evaluate import Evaluate
from crl_eqx.cli._export import Export
from crl_eqx.cli._generalize import Generalize
from crl_eqx.cli._info import Info
from crl_eqx.cli._plot import Plot
from crl_eqx.cli._render import Render
from crl_eqx.cli._report import Compare, Report
from crl_eqx.cli._sweep import planned
from crl_eqx.cli._train import parse_config, preset_of, take_value
from crl_eqx.config import Compute, Config, EnergyName, flag, flat, LossName
from crl_eqx.run import check, train
from crl_eqx.run_files import read_metrics

from .run.conftest import tiny


ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(document: Path, language: str) -> list[str]:
    fence = rf"^```{language}\n(.*?)^```$"
    return re.findall(fence, document.read_text(), re.DOTALL | re.MULTILINE)


WITH_CODE = [path for path in DOCUMENTS if "```python" in path.read_text()]


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in WITH_CODE])
def test_the_code_runs_in_order(name):
    blocks = _blocks(ROOT / name, "python")
    assert blocks
    namespace = {"__name__": name}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}, block {number}", "exec"), namespace)


def _commands() -> Iterator[list[str]]:
    for document in DOCUMENTS:
        for block in _blocks(document, "sh"):
            lines = block.replace("\\\n", " ").splitlines()
            variables = dict(re.findall(r'^(\w+)="(.*)"$', "\n".join(lines), re.MULTILINE))
            for line in lines:
                for name, value in variables.items():
                    line = line.replace(f"${name}", value)
                words = shlex.split(line, comments=True)
                if words[:2] == ["uv", "run"]:
                    words = words[2:]
                if words and words[0] == "crl-eqx":
                    yield words[1:]


KINDS: dict[str, Any] = {
    "info": Info,
    "evaluate": Evaluate,
    "export": Export,
    "render": Render,
    "envs": Envs,
    "report": Report,
    "compare": Compare,
    "plot": Plot,
    "generalize": Generalize,
}
"""The arguments of each command that has a class for them."""


def _understand(command: str, *words: str):
    """Parses a command as the command line does. Exits, and so fails, on an unknown flag."""
    if command in KINDS:
        return tyro.cli(KINDS[command], args=words)
    if command == "doctor":
        depths, rest = take_value(words, "--depths")
        command, words = "train", (*rest, "--depth", (depths or "4").split(",")[-1])
    words = tuple(word for word in words if word != "--dry-run")
    if command in ("sweep", "ladder", "ablate"):
        runs = planned(command, words).sweep.runs
        for config in runs.values():
            check(config)
        return runs
    assert command in ("train", "resume"), command
    flags = words[1:] if command == "resume" else words
    config = parse_config(flags, preset_of(flags), command)[0]
    # Kernels for cards that this machine may lack are understood all the same.
    here = Compute() if config.compute.kernel == "triton" else config.compute
    check(dataclasses.replace(config, compute=here))
    for options in (config.task.env_option, config.task.train_env_option):
        envs.options_from_words(config.env, options)
    return config


COMMANDS = [*_commands()]


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(words) for words in COMMANDS])
def test_a_command_in_the_documents_is_understood(command):
    assert _understand(*command) is not None


def test_every_command_is_shown_somewhere():
    assert {words[0] for words in COMMANDS} == set(cli.COMMANDS)


def test_flags_named_in_the_documents_exist():
    known = {flag(name) for _, name, _ in flat(Config())}
    known |= {flag(field.name) for kind in KINDS.values() for field in dataclasses.fields(kind)}
    known |= {"--resume", "--debug", "--trust", "--version", "--dry-run", "--over", "--depths"}
    known |= {"--max-cost", "--price-per-hour"}
    known |= {"--seeds", "--together", "--parts", "--on", "--minutes", "--partition"}
    for document in DOCUMENTS:
        for name in re.findall(r"`(--[a-z-]+)", document.read_text()):
            positive = name.replace("--no-", "--", 1)
            assert name in known or positive in known, f"{document.name}: {name}"


def test_uv_installs_the_versions_that_pip_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = (ROOT / "constraints.txt").read_text().split()
    assert project["tool"]["uv"]["constraint-dependencies"] == pinned


def test_make_targets_in_the_documents_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z]+)", "".join(d.read_text() for d in DOCUMENTS), re.M)
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def _rows(document: str) -> list[list[str]]:
    """The cells of every line of a document's tables, code marks removed."""
    lines = (ROOT / document).read_text().splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ]


def _task_row(task: envs.Task) -> str:
    sizes = f"{task.state_size} | {task.action_size} | {task.goal_size} | {task.episode_length}"
    split = f"`{task.eval_split}`" if task.eval_split else "–"
    return f"| `{task.name}` | {sizes} | {task.control_dt:g} | < {task.threshold:g} | {split} |"


def test_the_table_of_tasks_is_the_codes():
    table = "\n".join(_task_row(task) for task in envs.tasks())
    document = (ROOT / "docs/environments.md").read_text()
    assert table in document, f"docs/environments.md should hold:\n{table}"


def test_the_tables_of_energies_and_losses_are_the_codes():
    shown = {row[0].split("`")[0] for row in _rows("docs/algorithm.md")}
    names = lambda kind: set(get_args(kind))
    assert names(EnergyName) | names(LossName) <= shown
    assert names(LossName) == set(crl.losses.ALL)


def test_the_table_of_metrics_is_what_a_run_writes(tmp_path):
    train(tiny(total_env_steps=480, diagnostics=True), tmp_path / "run", Console(quiet=True))
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    written = {name for name in last if re.match(r"(train|health|eval)/", name)}
    written -= {name for name in written if name.endswith("_se")}
    lines = (ROOT / "docs/runs.md").read_text().splitlines()
    shown = {
        name
        for line in lines
        if line.startswith("| `")
        for name in re.findall(r"`((?:train|health|eval)/\w+)`", line.split("|")[1])
    }
    assert shown == written
