import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import UserError
from crl_eqx.envs import make, modules_beside, MujocoGoalEnv, own_files
from crl_eqx.envs._mj import MjSpec


ARM = """
<mujoco><worldbody><body name="upper"><joint name="shoulder" axis="0 0 1" damping="0.1"/>
<geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" contype="0"/>
<body name="hand" pos="0.3 0 0"><joint name="wrist" axis="0 0 1" damping="0.1"/>
<geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" contype="0"/></body></body></worldbody>
<actuator><motor joint="shoulder"/><motor joint="wrist" ctrlrange="-0.1 0.3"/></actuator></mujoco>
"""


def build(goal_size, **options):
    draw_goal = lambda key: jax.random.uniform(key, (goal_size,))
    defaults: dict[str, Any] = dict(
        draw_goal=draw_goal, threshold=0.1, episode_length=50, substeps=5
    )
    return MujocoGoalEnv(MjSpec.from_string(ARM), **(defaults | options))


def test_a_goal_for_a_body_follows_that_body():
    env = build(3, body="hand")
    s = env.reset(key=jax.random.key(0))
    np.testing.assert_allclose(env.achieved_goal(s.state), [0.3, 0, 0], atol=1e-6)
    step = jax.jit(env.step)
    for _ in range(5):
        s = step(s, jnp.ones(2))
    angle = s.state[0]
    expected = [0.3 * jnp.cos(angle), 0.3 * jnp.sin(angle), 0.0]
    np.testing.assert_allclose(env.achieved_goal(s.state), expected, atol=1e-6)
    assert angle > 0.01 and env.success(s.state, env.achieved_goal(s.state))


def test_a_goal_for_joints_is_read_in_the_order_of_the_names():
    env = build(2, joints=["wrist", "shoulder"])
    assert (env.state_size, env.goal_size, env.action_size) == (4, 2, 2)
    np.testing.assert_array_equal(env.achieved_goal(jnp.arange(4.0)), [1, 0])


def test_a_goal_can_be_any_numbers_of_the_state():
    env = build(2, goal_indices=[0, 3])
    np.testing.assert_array_equal(env.achieved_goal(jnp.arange(4.0)), [0, 3])
    assert [row.goal for row in env.describe_state()] == ["0", "3"]


OWN = Path(__file__).parents[2] / "examples" / "own_task.py"


def test_a_function_in_a_file_is_a_task_by_name():
    env = make(f"{OWN}:crane", physics="native")
    s = jax.jit(env.step)(env.reset(key=jax.random.key(0)), jnp.ones(1))
    assert s.state[0] > 0 and s.goal[1] == 0 and env.goal_indices == (0, 1)


ENDS = """
import jax.numpy as jnp
from crl_eqx.envs import MujocoGoalEnv

def f(physics=None):
    return MujocoGoalEnv(
        "ends_model.xml", joints=["wrist"], draw_goal=lambda key: jnp.zeros(1), threshold=0.1,
        episode_length=5, ends=lambda state: state[..., 0], physics=physics,
    )
"""


def test_what_is_wrong_with_a_task_of_ones_own_is_said(tmp_path):
    broken, odd = tmp_path / "broken.py", tmp_path / "odd.py"
    broken.write_text("one = 1\none / 0")
    leaving, wrong, ends = (tmp_path / f"{name}.py" for name in ("leaving", "wrong", "ends"))
    leaving.write_text("import sys\nsys.exit(3)")
    wrong.write_text("one = 1\ndef f(physics=None)\n    return 3")
    (tmp_path / "ends_model.xml").write_text(ARM)
    ends.write_text(ENDS)
    odd.write_text("def bare(): ...\n\ndef three(physics=None):\n    return 3")
    for name, sentence in {
        "nowhere.py:f": "there is no file `nowhere.py`",
        f"{OWN}:cranes": "has no function `cranes`",
        f"{broken}:f": f"running `{broken}:2` raised ZeroDivisionError: division by zero",
        f"{wrong}:f": f"running `{wrong}:2` raised SyntaxError",
        f"{leaving}:f": r"its code called `sys.exit\(3\)`",
        f"{ends}:f": "`ends` of `MujocoGoalEnv` gives .* it must give one bool",
        f"{odd}:bare": "`bare` must take `physics: str | None = None`",
        f"{odd}:three": "gives a int, and must give a `MujocoGoalEnv`",
    }.items():
        with pytest.raises(UserError, match=sentence):
            make(name)


def test_an_action_spans_the_range_of_its_actuator():
    env = build(3, body="hand")
    np.testing.assert_allclose(env.controls(jnp.asarray([0.5, -1.0])), [0.5, -0.1])
    np.testing.assert_allclose(env.controls(jnp.asarray([1.0, 1.0])), [1.0, 0.3])
    np.testing.assert_allclose(env.controls(jnp.asarray([0.0, 0.0])), [0.0, 0.1])


def test_a_file_a_start_and_an_end_of_ones_own(tmp_path):
    file = tmp_path / "arm.xml"
    file.write_text(ARM)
    env = MujocoGoalEnv(
        file,
        body="hand",
        draw_goal=lambda key: jnp.zeros(3),
        draw_start=lambda key: (jax.random.uniform(key, (2,)), jnp.zeros(2)),
        ends=lambda state: state[..., 0] > 0.5,
        threshold=0.05,
        levels=[("easy", 1.0)],
        episode_length=10,
    )
    s = jax.vmap(lambda key: env.reset(key=key))(jax.random.split(jax.random.key(0), 64))
    s = jax.vmap(env.step)(s, jnp.zeros((64, 2)))
    np.testing.assert_array_equal(s.terminated, s.state[:, 0] > 0.5)
    assert 0 < s.terminated.sum() < 64
    assert env.success_levels(s.state, s.goal)["easy"].all()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(body="foot"), "`body='foot'`: the model has no such body, only world, upper, hand"),
        (dict(joints=["knee"]), "no joint 'knee', only shoulder, wrist"),
        (dict(), "needs one of `joints"),
        (dict(joints=["wrist"], body="hand"), "needs one of `joints"),
        (dict(joints=["wrist"], goal_indices=[0]), "needs one of `joints"),
        (dict(goal_indices=[0, 1, 4]), r"`goal_indices=\[0, 1, 4\]` must lie between 0 and 3"),
        (dict(goal_indices=[0, 1.5, 2]), r"goal_indices=\[0, 1.5, 2\]\)` must be whole numbers"),
        (dict(body="hand", threshold=float("nan")), r"threshold=nan\)` must be positive"),
        (dict(body="hand", threshold=0.0), r"threshold=0.0\)` must be positive"),
        (dict(body="hand", levels=[("easy", -1.0)]), "must be distinct names"),
        (dict(body="hand", levels=[("easy", 1.0), ("easy", 2.0)]), "must be distinct names"),
        (dict(body="hand", substeps=2.0), "`substeps=2.0` must be a whole number"),
        (dict(body="hand", start="sit"), "no such keyframe, only none with a name"),
        (dict(joints=["wrist"]), r"goal of shape \(3,\).*need shape \(1,\) and float32"),
        (
            dict(body="hand", draw_start=lambda key: (jnp.zeros(3), jnp.zeros(2))),
            r"`draw_start`.*qpos of shape \(3,\).*need shape \(2,\)",
        ),
    ],
)
def test_a_mistake_gets_a_sentence(options, message):
    with pytest.raises(UserError, match=message):
        build(3, **options)


KEYED = ARM.replace(
    "</mujoco>",
    '<keyframe><key name="home" qpos="0.4 -0.2" qvel="1 0"/><key qpos="1 1"/></keyframe></mujoco>',
)


def test_a_keyframe_that_says_more_than_pose_and_velocity_is_refused():
    mocap = '<body name="guide" mocap="true"><geom size=".1" contype="0" conaffinity="0"/></body>'
    model = KEYED.replace("</worldbody>", f"{mocap}</worldbody>")
    options: dict[str, Any] = dict(
        joints=["wrist"], draw_goal=lambda key: jnp.zeros(1), threshold=0.1, episode_length=9
    )
    MujocoGoalEnv(MjSpec.from_string(model), start="home", **options)
    elsewhere = model.replace('qvel="1 0"', 'qvel="1 0" mpos="9 9 9"')
    with pytest.raises(UserError, match="sets activations or mocap bodies"):
        MujocoGoalEnv(MjSpec.from_string(elsewhere), start="home", **options)


def test_a_start_can_be_a_keyframe_by_its_name():
    options: dict[str, Any] = dict(
        joints=["wrist"], draw_goal=lambda key: jnp.zeros(1), threshold=0.1, episode_length=9
    )
    env = MujocoGoalEnv(MjSpec.from_string(KEYED), start="home", **options)
    np.testing.assert_allclose(env.reset(key=jax.random.key(0)).state, [0.4, -0.2, 1, 0])
    with pytest.raises(
        UserError, match="`start='away'`: the model has no such keyframe, only home"
    ):
        MujocoGoalEnv(MjSpec.from_string(KEYED), start="away", **options)
    both = dict(start="home", draw_start=lambda key: (jnp.zeros(2), jnp.zeros(2)))
    with pytest.raises(UserError, match="both say how episodes begin"):
        MujocoGoalEnv(MjSpec.from_string(KEYED), **both, **options)


SENSING = ARM.replace(
    "</mujoco>", '<sensor><jointpos name="achieved_goal" joint="wrist"/></sensor></mujoco>'
)


def test_a_sensor_of_any_name_and_a_compiled_model_will_do():
    options: dict[str, Any] = dict(
        draw_goal=lambda key: jnp.zeros(3), threshold=0.1, episode_length=9
    )
    MujocoGoalEnv(MjSpec.from_string(SENSING), body="hand", **options)
    compiled = MjSpec.from_string(ARM).compile()
    options["draw_goal"] = lambda key: jnp.zeros(1)
    assert MujocoGoalEnv(compiled, joints=["wrist"], **options).state_size == 4
    with pytest.raises(UserError, match="a compiled model takes none: give the file"):
        MujocoGoalEnv(compiled, body="hand", **options)


@pytest.mark.parametrize(
    "text, message",
    [
        (ARM[:-30], "MuJoCo cannot make a model of it: .*XML"),
        (
            ARM.replace("<worldbody>", '<asset><mesh name="m" file="no.stl"/></asset><worldbody>')
            .replace('<body name="upper">', '<body name="upper"><geom type="mesh" mesh="m"/>'),
            "MuJoCo cannot make a model of it: .*no.stl",
        ),
        ("<mujoco><worldbody><body><joint/></body></worldbody></mujoco>", "mass and inertia"),
        ('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>', "the model has no joints"),
    ],
)  # fmt: skip
def test_a_model_that_is_none_gets_a_sentence_with_its_file(text, message, tmp_path):
    file = tmp_path / "own.xml"
    file.write_text(text)
    with pytest.raises(UserError, match=f"own.xml.*{message}"):
        MujocoGoalEnv(
            file, goal_indices=[0], draw_goal=lambda key: jnp.zeros(1), threshold=1.0,
            episode_length=9,
        )  # fmt: skip


def test_mjx_says_which_integrator_it_lacks():
    text = ARM.replace("<worldbody>", '<option integrator="implicit"/><worldbody>')
    with pytest.raises(UserError, match="`physics='mjx'` cannot compute this model .*native"):
        MujocoGoalEnv(
            MjSpec.from_string(text), goal_indices=[0], draw_goal=lambda key: jnp.zeros(1),
            threshold=1.0, episode_length=9, physics="mjx",
        )  # fmt: skip


LENGTHS = """
from lengths import THRESHOLD

from crl_eqx.envs import MujocoGoalEnv
import jax.numpy as jnp


def task(physics: str | None = None):
    return MujocoGoalEnv(
        "arm.xml", joints=["wrist"], draw_goal=lambda key: jnp.zeros(1), threshold=THRESHOLD,
        episode_length=5, physics="native",
    )
"""


def test_tasks_do_not_get_modules_of_one_another(tmp_path):
    for name, threshold in (("first", 0.1), ("second", 5.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.py").write_text(LENGTHS)
        (tmp_path / name / "lengths.py").write_text(f"THRESHOLD = {threshold}")
        (tmp_path / name / "arm.xml").write_text(ARM)
    found = [make(f"{tmp_path / name}/t.py:task").threshold for name in ("first", "second") * 2]
    assert found == [0.1, 5.0, 0.1, 5.0]


def test_what_is_installed_below_a_task_is_not_the_task_s(tmp_path):
    task = tmp_path / "t.py"
    task.write_text("import inside, helper\n" + LENGTHS.replace("lengths", "helper"))
    (tmp_path / "helper.py").write_text("THRESHOLD = 0.1")
    (tmp_path / "arm.xml").write_text(ARM)
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    other = tmp_path / "other" / "lib"
    for folder in (installed, other):
        folder.mkdir(parents=True)
    (tmp_path / "other" / "pyvenv.cfg").write_text("")
    (installed / "inside.py").write_text("import deeper")
    (other / "deeper.py").write_text(
        f"import pathlib\npathlib.Path({str(other / 'table.txt')!r}).read_text()"
    )
    (other / "table.txt").write_text("1")
    sys.path += [str(installed), str(other)]
    try:
        make(f"{task}:task")
        assert modules_beside(task) == {tmp_path / "helper.py"}
        assert {path.name for path in own_files(f"{task}:task")} >= {"arm.xml"}
        assert not any("lib" in path.parts[-2:] for path in own_files(f"{task}:task"))
    finally:
        del sys.path[-2:]
        for name in ("inside", "deeper"):
            sys.modules.pop(name, None)


def test_physics_that_a_task_does_not_pass_on_is_told(tmp_path):
    (tmp_path / "t.py").write_text(
        LENGTHS.replace("from lengths import THRESHOLD", "THRESHOLD = 1.0")
    )
    (tmp_path / "arm.xml").write_text(ARM)
    make(f"{tmp_path}/t.py:task", physics="native")
    for physics in ("mjx", "bogus"):
        with pytest.raises(UserError, match="gives native physics: `task` must pass `physics` on"):
            make(f"{tmp_path}/t.py:task", physics=physics)


def test_a_goal_with_random_numbers_of_its_own_is_refused():
    """It would be drawn once, while it is compiled, and then be the same for ever."""
    own = np.random.default_rng(0)
    goal = lambda key: jnp.asarray(own.uniform(size=3), jnp.float32)
    with pytest.raises(UserError, match="`draw_goal` of .* gives another goal for the same key"):
        build(3, body="hand", draw_goal=goal)
    start = lambda key: (jnp.asarray(own.uniform(size=2), jnp.float32), jnp.zeros(2))
    with pytest.raises(UserError, match="`draw_start` of .* gives another qpos for the same key"):
        build(3, body="hand", draw_start=start)
