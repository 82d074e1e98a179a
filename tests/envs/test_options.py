"""A task's options in the words of the command line."""

import inspect
import math

import jax
import pytest

from crl_eqx import envs, UserError
from crl_eqx.envs import options_from_words as read, task_options


@pytest.mark.parametrize(
    "name, word, option, value",
    [
        ("ant", "torque=gym", "torque", "gym"),
        ("ant", 'torque="gym"', "torque", "gym"),
        ("ant", "torque=45", "torque", 45.0),
        ("ant", "torque=4.5e1", "torque", 45.0),
        ("ant", "ends=never", "ends", "never"),
        ("ant", "control_dt=0.05", "control_dt", 0.05),
        ("ant", "control_dt=1", "control_dt", 1.0),
        ("ant", "control_dt=null", "control_dt", None),
        ("ant", "episode_length=500", "episode_length", 500),
        ("humanoid", "torque=brax", "torque", "brax"),
        ("humanoid_u_maze", "random_starts=1", "random_starts", 1.0),
        ("point_u_maze", "episode_length=500", "episode_length", 500),
        ("ant_ball", "object_velocity=true", "object_velocity", True),
        ("ant_ball", "object_velocity=false", "object_velocity", False),
        ("ant_ball", "object_velocity=True", "object_velocity", True),
        ("ant_u_maze", "without_goals=[[2, 5]]", "without_goals", [(2, 5)]),
        ("ant_u_maze", "without_goals=[[1,2],[3,1]]", "without_goals", [(1, 2), (3, 1)]),
        ("ant_u_maze", "without_goals=[]", "without_goals", []),
        ("cheetah", "goals=[-2, 8]", "goals", (-2.0, 8.0)),
        ("ant_u_maze_gen_1f", "torque=gym", "torque", "gym"),
    ],
)
def test_a_word_becomes_what_the_constructor_wants(name, word, option, value):
    (found,) = read(name, [word]).items()
    assert found == (option, value)
    given = found[1]
    assert type(given) is type(value)
    if isinstance(given, list):
        assert all(type(cell) is tuple for cell in given)


def test_several_words_make_several_options_which_build_the_task():
    words = ["torque=45", "control_dt=0.05", "ends=flipped", "without_goals=[[1, 2]]"]
    options = read("ant_u_maze", [*words, "random_starts=0.5", "episode_length=7"])
    env = envs.make("ant_u_maze", physics="native", **options)
    assert (env.model.actuator_gear[:, 0] == 45).all()
    assert env.control_dt == pytest.approx(0.05) and env.episode_length == 7
    assert env.maze.random_starts == 0.5 and (1, 2) not in env.maze.cells("G")
    assert env.body.ends == "flipped"
    assert read("ant_u_maze", []) == {}


@pytest.mark.parametrize(
    "name, words, sentence",
    [
        (
            "ant",
            "torque=strong",
            "`--env-option torque=strong` must be d4rl or gym or brax or a number.",
        ),
        ("ant", "torque=true", "must be d4rl or gym or brax or a number."),
        ("ant", "torque=", "`--env-option torque=` must be d4rl or gym or brax or a number."),
        ("ant", "torque=gym=brax", "must be d4rl or gym or brax or a number."),
        ("ant", "control_dt=fast", "`--env-option control_dt=fast` must be a number or null."),
        (
            "ant",
            "episode_length=10.5",
            "`--env-option episode_length=10.5` must be a whole number.",
        ),
        (
            "ant",
            "ends=fallen",
            "`--env-option ends=fallen` must be flipped or height or never or null.",
        ),
        ("humanoid", "torque=30", "`--env-option torque=30` must be gym or brax."),
        ("ant_ball", "object_velocity=yes", "`... =yes` must be true or false."),
        ("cheetah", "goals=[1]", "`--env-option goals=[1]` must be [a number, a number]."),
        (
            "ant_u_maze",
            "without_goals=[2,5]",
            "`--env-option without_goals=[2,5]` must be a list of [a whole number, a whole number]",
        ),
        (
            "ant",
            "tork=gym",
            "`--env-option tork=gym` with `--env ant`: no such option. This task knows "
            "episode_length, torque, control_dt, ends. Did you mean torque?",
        ),
        (
            "reacher",
            "torque=gym",
            "`--env-option torque=gym` with `--env reacher`: no such option. This task knows "
            "episode_length.",
        ),
        (
            "ant_u_maze",
            "layout=u2_maze",
            "no such option. This task knows without_goals, random_starts, episode_length, torque, "
            "control_dt, ends.",
        ),
        (
            "ant",
            "torque",
            "`--env-option torque` must be an option's name and its value, as in torque=gym.",
        ),
        ("ant", "=gym", "`--env-option =gym` must be an option's name and its value, as in"),
        ("ant", "torque=gym torque=gym", "`--env-option torque=gym`: `torque` is given twice."),
        ("ant", "torque=gym torque=45", "`--env-option torque=45`: `torque` is given twice."),
        ("ant", "physics=mjx", "`--env-option physics=mjx`: say `--physics mjx`."),
        ("ant_umaze", "torque=gym", "`make('ant_umaze')`: no such task. Did you mean ant_u_maze"),
        ("ant_umaze", "", "`make('ant_umaze')`: no such task. Did you mean ant_u_maze"),
    ],
)
def test_a_mistake_gets_a_sentence_in_the_users_words(name, words, sentence):
    with pytest.raises(UserError) as caught:
        read(name, words.split())
    told = str(caught.value)
    assert sentence.removeprefix("`... ") in told
    assert "\n" not in told and "--train" not in told


def test_the_sentence_names_the_flag_that_was_used():
    with pytest.raises(UserError, match="^`--train-env-option torque=x` must be d4rl"):
        read("ant", ["torque=x"], flag="--train-env-option")


def test_every_option_of_every_task_has_words_and_its_default_survives_them():
    for name in envs.names():
        for option, parameter in task_options(name).items():
            assert option != "physics" and parameter.default is not inspect.Parameter.empty
            assert "<" not in envs.annotation_in_words(parameter.annotation), (name, option)
            text = str(parameter.default).lower() if parameter.default != () else "[]"
            text = {"none": "null"}.get(text, text).replace("(", "[").replace(")", "]")
            value = read(name, [f"{option}={text}"])[option]
            assert (tuple(value) if isinstance(value, list) else value) == parameter.default


OWN = """
from typing import Literal
import jax
from crl_eqx.envs import MujocoGoalEnv
from crl_eqx.envs._mj import MjSpec

MODEL = '''
<mujoco><worldbody><body><joint name="slide" type="slide" axis="1 0 0"/>
<geom size="0.1" mass="%g"/></body></worldbody>
<actuator><motor joint="slide"/></actuator></mujoco>
'''

def cart(
    mass: float = 1.0,
    steps: int | None = None,
    places: list[tuple[float, float]] = [],
    colour: Literal["red", "blue"] = "red",
    untyped=None,
    physics: str | None = None,
):
    env = MujocoGoalEnv(
        MjSpec.from_string(MODEL % mass),
        joints=["slide"],
        draw_goal=lambda key: jax.random.uniform(key, (1,)),
        threshold=0.1,
        episode_length=steps or 20,
        physics=physics,
    )
    return env

def any_thing(physics=None, **options):
    assert options == {"mass": 2, "label": "text", "many": [1, {"a": None}]}, options
    return cart(mass=2.0, physics=physics)
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return lambda function: f"{path}:{function}"


def test_a_task_of_ones_own_has_the_options_of_its_function(own):
    assert list(task_options(own("cart"))) == ["mass", "steps", "places", "colour", "untyped"]
    words = ["mass=3", "steps=7", "places=[[1, 2]]", "colour=blue", 'untyped={"a": [1]}']
    options = read(own("cart"), words)
    assert options == {
        "mass": 3.0,
        "steps": 7,
        "places": [(1.0, 2.0)],
        "colour": "blue",
        "untyped": {"a": [1]},
    }
    env = envs.make(own("cart"), physics="native", **options)
    assert env.model.body_subtreemass[0] == 3 and env.episode_length == 7
    assert envs.make(own("cart"), physics="native").episode_length == 20
    assert read(own("cart"), ["untyped=some words"]) == {"untyped": "some words"}


def test_a_task_of_ones_own_may_take_any_option(own):
    words = ["mass=2", "label=text", 'many=[1, {"a": null}]']
    options = read(own("any_thing"), words)
    env = envs.make(own("any_thing"), physics="native", **options)
    assert jax.tree.leaves(env) == [] and env.model.body_subtreemass[0] == 2


@pytest.mark.parametrize(
    "word, sentence",
    [
        ("mass=heavy", "`--env-option mass=heavy` must be a number."),
        ("colour=green", "`--env-option colour=green` must be red or blue."),
        ("weight=3", "no such option. This task knows mass, steps, places, colour, untyped."),
        ("places=3", "must be a list of [a number, a number]."),
    ],
)
def test_a_mistake_about_a_task_of_ones_own_gets_a_sentence_too(own, word, sentence):
    with pytest.raises(UserError) as caught:
        read(own("cart"), [word])
    assert sentence in str(caught.value)


def test_an_environment_of_gymnasium_takes_what_its_maker_takes():
    pytest.importorskip("gymnasium")
    words = ["threshold=0.2", "episode_length=7", "g=3.5", "render_mode=rgb_array"]
    options = read("gym:Pendulum-v1", words)
    assert options == dict(threshold=0.2, episode_length=7, g=3.5, render_mode="rgb_array")
    with pytest.raises(UserError, match="`--env-option threshold=x` must be a number or null"):
        read("gym:Pendulum-v1", ["threshold=x"])


def test_a_number_that_is_none_is_no_share_and_no_torque():
    for name, word in (("ant", "torque=nan"), ("ant_u_maze", "random_starts=nan")):
        options = read(name, [word])
        assert math.isnan(*options.values())
        with pytest.raises(UserError, match="=nan` must"):
            envs.make(name, **options)


@pytest.mark.parametrize(
    "name, option, value, kind",
    [
        ("ant", "control_dt", "0.1", "a number or null"),
        ("ant_u_maze", "without_goals", (1, 2), r"a list of \[a whole number, a whole number\]"),
        ("ant_u_maze", "random_starts", "0.5", "a number"),
        ("cheetah", "goals", 5, r"\[a number, a number\]"),
        ("cheetah", "goals", (math.nan, 1.0), r"\[a number, a number\]"),
        ("arm_reach", "within_reach", "no", "true or false"),
    ],
)
def test_a_value_of_another_kind_is_told_in_python_too(name, option, value, kind):
    with pytest.raises(UserError, match=rf"`make\('{name}', {option}=.*\)` must be {kind}\.$"):
        envs.make(name, physics="native", **{option: value})


def test_the_defaults_of_all_tasks_are_of_the_kind_that_they_say():
    from crl_eqx.envs._options import _fits

    options = {
        (name, option): p for name in envs.names() for option, p in task_options(name).items()
    }
    for parameter in options.values():
        if parameter.default is not inspect.Parameter.empty:
            assert _fits(parameter.default, parameter.annotation), parameter
