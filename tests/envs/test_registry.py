import subprocess
import sys
from pathlib import Path

import pytest

from crl_eqx import envs, UserError


LEVELS = [
    f"{task}_{level}"
    for task in ("pusher", "arm_push", "arm_binpick")
    for level in ("easy", "hard")
]
SPLIT = [f"{body}_{maze}_maze" for body in ("point", "ant", "humanoid") for maze in ("u", "big")]
SPLIT += ["point_u4_maze", *(f"ant_u{number}_maze" for number in range(2, 8))]
WHOLE = [f"{body}_hardest_maze" for body in ("point", "ant", "humanoid")]
SINGLE = [f"ant_{maze}_maze_single_eval" for maze in ("u", "u3", "u5")]
NEAR = [f"ant_{maze}_maze_gen_1f2f3f" for maze in ("u", "u2", "u3", "u4", "u5")]
OTHERS = "reacher cheetah ant ant_ball ant_push humanoid arm_reach arm_grasp".split()


def test_the_tasks_of_the_field_are_all_there():
    far = [f"{name}_eval" for name in SPLIT]
    expected = [*OTHERS, *LEVELS, *SPLIT, *far, *WHOLE, *SINGLE, *NEAR]
    assert sorted(envs.names()) == sorted(expected)


def test_mazes_have_a_far_split_where_the_field_has_one():
    plain = [name for name in envs.names() if name not in NEAR]
    assert {name: envs.eval_split(name) for name in plain} == {
        name: f"{name}_eval" if name in SPLIT else None for name in plain
    }


def test_the_table_tells_sizes_and_times():
    rows = {task.name: task for task in envs.tasks()}
    assert tuple(rows) == envs.names()
    ant = rows["ant"]
    assert (ant.state_size, ant.action_size, ant.goal_size) == (29, 8, 2)
    assert (ant.episode_length, ant.threshold) == (1000, 0.5)
    assert ant.control_dt == pytest.approx(0.1)
    reacher = rows["reacher"]
    assert (reacher.state_size, reacher.action_size, reacher.goal_size) == (10, 2, 3)
    assert reacher.control_dt == pytest.approx(0.02) and reacher.threshold == 0.05
    assert all(task.description.endswith((".", "?")) for task in rows.values())


def test_an_unknown_task_suggests_the_nearest():
    message = r"`make\('ant_umaze'\)`: no such task. Did you mean ant_u_maze"
    with pytest.raises(UserError, match=message):
        envs.make("ant_umaze")
    with pytest.raises(UserError, match=r"`crl-eqx envs` and `names\(\)` list all"):
        envs.make("qqq")


def test_an_unknown_option_names_the_known_ones():
    message = r"`make\('ant', wind=3\)`.*knows episode_length, torque, control_dt, ends\.$"
    with pytest.raises(UserError, match=message):
        envs.make("ant", wind=3)
    with pytest.raises(UserError, match=r"`make\('ant', tork='gym'\)`.* Did you mean torque\?$"):
        envs.make("ant", tork="gym")


def test_the_paper_s_own_split_of_the_big_maze_can_be_had():
    env = envs.make("ant_big_maze_eval", without_goals=[(2, 5)], episode_length=7)
    whole = envs.make("ant_big_maze_eval")
    assert env.maze is not None and whole.maze is not None and env.episode_length == 7
    assert set(whole.maze.goals) - set(env.maze.goals) == {(8.0, 20.0)}


def test_models_load_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("point_u_maze", "reacher", "ant"):
        envs.make(name)


def run_python(code, cwd=None):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)


def test_mujoco_is_imported_late_and_mjx_later(tmp_path):
    code = (
        "import sys, crl_eqx; assert 'mujoco' not in sys.modules; "
        "import crl_eqx.envs as e; e.make('ant', physics='native'); "
        "assert 'mujoco.mjx' not in sys.modules"
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_second_copy_of_the_room_is_refused():
    done = run_python("import envs", Path(__file__).parents[2])
    assert "Write `import crl_eqx.envs`" in done.stderr
