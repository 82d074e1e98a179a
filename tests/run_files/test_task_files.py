"""A run of a task of one's own keeps what it needs."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from crl_eqx import envs, UserError
from crl_eqx.run import copy_task_files, load_run, Run, train
from crl_eqx.run_files import has_changed, trusting

from ..run.conftest import console as console, tiny


MODEL = """
<mujoco>
  <compiler meshdir="meshes"/>
  <include file="parts/options.xml"/>
  <asset><mesh name="wedge" file="wedge.obj"/></asset>
  <worldbody>
    <body name="hand">
      <joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <geom type="mesh" mesh="wedge" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" gear="10" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
WEDGE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
TASK = """
from pathlib import Path

import jax
import numpy as np
from helper import THRESHOLD

from crl_eqx.envs import MujocoGoalEnv


def slide(physics: str | None = None, model: str = {model!r}):
    reach = float(np.load(Path(__file__).parent / "reach.npy"))
    return MujocoGoalEnv(
        model,
        joints=["x"],
        draw_goal=lambda key: jax.random.uniform(key, (1,), minval=-reach, maxval=reach),
        threshold=THRESHOLD,
        episode_length=50,
        physics=physics,
    )
"""


def write_project(root: Path) -> Path:
    """A task beside a helper and a table, and its model in another folder."""
    for folder in ("tasks", "robots/parts", "robots/meshes"):
        (root / folder).mkdir(parents=True)
    (root / "robots/slide.xml").write_text(MODEL)
    (root / "robots/parts/options.xml").write_text('<mujoco><option timestep="0.02"/></mujoco>')
    (root / "robots/meshes/wedge.obj").write_text(WEDGE)
    (root / "tasks/helper.py").write_text("THRESHOLD = 0.2\n")
    np.save(root / "tasks/reach.npy", 0.5)
    (root / "tasks/own.py").write_text(TASK.format(model="../robots/slide.xml"))
    return root


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return write_project(tmp_path / "project")


def choices(project, **changes):
    config = dataclasses.replace(tiny(total_env_steps=320), **changes)
    return dataclasses.replace(config, env=f"{project / 'tasks' / 'own.py'}:slide")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project and a finished run of it; made once, as it takes seconds to compile."""
    sys.modules.pop("helper", None)
    folder = tmp_path_factory.mktemp("own")
    with (folder / "console.txt").open("w") as file:
        project = write_project(folder / "project")
        train(choices(project), folder / "run", Console(file=file, width=200))
    return folder


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of it whose project is gone."""
    with trusting(True):
        yield shutil.copytree(trained / "run", tmp_path / "run")


def test_a_run_keeps_its_task_and_is_the_same_without_the_original(trained, run_dir, tmp_path):
    listed = json.loads((run_dir / "task/files.json").read_text())
    assert listed["entry"] == "tasks/own.py"
    assert set(listed["sha256"]) == {
        "tasks/own.py",
        "tasks/helper.py",
        "tasks/reach.npy",
        "robots/slide.xml",
        "robots/parts/options.xml",
        "robots/meshes/wedge.obj",
    }
    script = (
        "import sys; from crl_eqx.cli import run; "
        "sys.exit(run(['evaluate', sys.argv[1], '--trust', '--episodes', '2', '--json']))"
    )
    command = [sys.executable, "-c", script, str(run_dir)]
    (trained / "project").rename(trained / "gone")
    try:
        told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    finally:
        (trained / "gone").rename(trained / "project")
    assert told.returncode == 0, told.stderr
    assert "success_rate" in told.stdout


def test_resuming_goes_on_with_the_copy_and_tells_that_the_original_has_changed(
    trained, tmp_path, console
):
    file, run_dir = trained / "project/tasks/own.py", trained / "run"
    file.write_text(file.read_text().replace("episode_length=50", "episode_length=20"))
    more = choices(trained / "project", total_env_steps=480)
    assert train(more, run_dir, console, resume=True).env_steps == 480
    console.file.flush()
    said = (tmp_path / "console.txt").read_text()
    assert "own.py` or a file that it uses has changed: the run goes on with its own" in said
    assert load_run(run_dir)[0].env.episode_length == 50


@pytest.mark.parametrize("file", ["tasks/helper.py", "robots/parts/options.xml"])
def test_each_file_of_the_original_is_looked_at(file, project, tmp_path):
    copy_task_files(choices(project), tmp_path, print)
    name = choices(project).env
    assert not has_changed(name, tmp_path)
    with (project / file).open("a") as original:
        original.write("\n")
    assert has_changed(name, tmp_path)
    (project / file).unlink()
    assert not has_changed(name, tmp_path), "what is gone has no successor"


def test_compiled_code_in_place_of_what_was_kept_is_refused(run_dir):
    load_run(run_dir)
    assert not [*run_dir.rglob("__pycache__")], "looking at a run leaves nothing in it"
    folder = run_dir / "task/tasks/__pycache__"
    folder.mkdir()
    (folder / f"helper.{sys.implementation.cache_tag}.pyc").write_bytes(b"forged")
    with pytest.raises(UserError, match=r"helper.*pyc` is no file that the run has kept"):
        load_run(run_dir)


def test_code_that_the_run_has_not_kept_is_refused(run_dir):
    (run_dir / "task/tasks/wave.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(UserError, match=r"wave.py` is no file that the run has kept"):
        load_run(run_dir)


@pytest.mark.parametrize("file", ["tasks/own.py", "tasks/helper.py", "robots/slide.xml"])
def test_a_copy_that_was_changed_is_refused(file, run_dir):
    with (run_dir / "task" / file).open("a") as kept:
        kept.write("\n")
    with pytest.raises(UserError, match=f"{file}` is not as the run kept it"):
        load_run(run_dir)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ({"entry": "../evil.py", "sha256": {"../evil.py": "0"}}, "names a file outside of the run"),
        ({"entry": "/evil.py", "sha256": {}}, "names a file outside of the run"),
        ({"entry": "own.py", "sha256": {}}, "has no checksum of"),
        ({"entry": 1}, "is damaged or cannot be read"),
    ],
)
def test_a_list_of_files_that_makes_no_sense_is_refused(content, sentence, run_dir):
    (run_dir / "task/files.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        load_run(run_dir)


def test_a_task_that_needs_its_place_is_not_copied_and_has_another_identity_when_it_changes(
    project, tmp_path
):
    (project / "tasks/own.py").write_text(TASK.format(model=str(project / "robots/slide.xml")))
    config, said = choices(project), []
    copy_task_files(config, tmp_path, said.append)
    assert "The run keeps no copy of its task, and needs it where it is: it reads" in said[0]
    assert not (tmp_path / "task").exists()
    before = Run(config, tmp_path).identity["task"]
    assert Run(config, tmp_path).identity["task"] == before
    (project / "robots/parts/options.xml").write_text('<mujoco><option timestep="0.01"/></mujoco>')
    assert Run(config, tmp_path).identity["task"] != before


def test_several_seeds_share_the_task_that_they_began_with(project, tmp_path):
    several = tmp_path / "runs"
    (several / "seed_1").mkdir(parents=True)
    config = choices(project)
    (several / "sweep.json").write_text("{}")
    copy_task_files(config, several, print)
    (project / "tasks/own.py").write_text("raise SystemExit('the original was run')")
    run = Run(choices(project, seed=1), several / "seed_1")
    assert run.task_config.env == f"{several}/task/tasks/own.py:slide"
    copy_task_files(run.task_config, run.run_dir, print)
    copies = (several / "task", run.run_dir / "task")
    files = [{p.relative_to(c): p.read_bytes() for p in c.rglob("*.*")} for c in copies]
    assert files[0] == files[1] and Path("tasks/helper.py") in files[1]


def test_paths_of_a_task_count_from_its_file(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = envs.make(f"{project / 'tasks' / 'own.py'}:slide", physics="native")
    assert env.model.opt.timestep == 0.02


def test_a_task_whose_copy_fails_in_its_own_way_needs_its_place(project, tmp_path):
    task = project / "tasks/own.py"
    moved = 'assert "robots" in str([*Path(__file__).parents[1].glob("robots/slide.x*")]), "alone"'
    task.write_text(task.read_text().replace("import jax\n", f"import jax\n\n{moved}\n\n", 1))
    task.write_text(
        task.read_text().replace("../robots/slide.xml", str(project / "robots/slide.xml"))
    )
    said = []
    copy_task_files(choices(project), tmp_path, said.append)
    assert "The run keeps no copy of its task" in said[0] and not (tmp_path / "task").exists()


def test_what_a_killed_copy_left_is_no_part_of_the_next(project, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task/.own.py.0123").write_text("half")
    copy_task_files(choices(project), tmp_path, print)
    assert (tmp_path / "task/files.json").is_file()
    assert not (tmp_path / "task/.own.py.0123").exists()
