"""Gymnasium, both ways: its environments as tasks, and tasks as its environments."""

import subprocess
import sys

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_checks
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import crl_eqx
from crl_eqx import collect, envs, start_episodes, UserError
from crl_eqx._check_env import check_env
from crl_eqx.envs.gym import GymnasiumGoalEnv, ToGymnasium, ToGymnasiumVector
from crl_eqx.envs.gym._host import KEPT


class Diary(gymnasium.Env):
    """Observes (nonce, age, last action, what it was told to be); writes down what is done to it.

    The nonce is drawn at every reset. Ends after `life` steps, and observes NaN from age `breaks`.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(np.array([-2.0], np.float32), np.array([4.0], np.float32))

    def __init__(self, life=1000, breaks=1000):
        self.life, self.breaks = life, breaks
        self.resets = self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets, self.age = self.resets + 1, 0
        self.nonce = self.np_random.uniform()
        return self._seen(0.0), {}

    def step(self, action):
        assert self.age < self.life, "stepped beyond its end"
        assert action in self.action_space
        self.steps, self.age = self.steps + 1, self.age + 1
        return self._seen(action[0]), 0.0, self.age >= self.life, False, {}

    def _seen(self, action):
        age = np.nan if self.age >= self.breaks else self.age
        return np.array([self.nonce, age, action], np.float32)


class GoalDiary(Diary):
    """The same as a goal environment, which wants what it draws, and observes where it is."""

    def __init__(self, hidden=False, tells=False, **options):
        super().__init__(**options)
        self.hidden, self.tells = hidden, tells
        size = 3 - hidden + tells
        box = lambda size: spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.observation_space = spaces.Dict(
            observation=box(size), achieved_goal=box(1), desired_goal=box(1)
        )

    def _seen(self, action):
        seen = super()._seen(action).astype(float)
        goal = np.array([self.nonce * 7])
        told = np.concatenate([seen[self.hidden :], goal if self.tells else []])
        return dict(observation=told, achieved_goal=seen[:1], desired_goal=goal)


def diary(kind=Diary, *, episode_length=5, **options):
    """The task, and the instances that it makes."""
    made = []

    def make():
        made.append(kind(**options))
        return made[-1]

    own = {} if kind is GoalDiary else dict(achieved_goal=[0], draw_goal=draw_goal)
    task = GymnasiumGoalEnv(make, threshold=0.1, episode_length=episode_length, **own)
    return task, made


def draw_goal(key):
    return jax.random.uniform(key, (1,))


def wander(state, goal, key):
    return jax.random.uniform(key, (*state.shape[:-1], 1), minval=-1)


@eqx.filter_jit
def roll(env, episodes, key, length=12):
    return collect(wander, env, episodes, length=length, key=key)


def fetch(**options):
    pytest.importorskip("gymnasium_robotics")
    return envs.make("gym:FetchReach-v4", **options)


# ---- Gymnasium's environments as tasks


@pytest.mark.parametrize("life", [1000, 3], ids=["time limit", "termination"])
def test_only_what_has_ended_is_reset_and_every_step_is_made_once(life):
    env, made = diary(life=life)
    episodes = start_episodes(env, 3, key=jax.random.key(0))
    before = sum(one.steps for one in made), sum(one.resets for one in made)
    episodes, steps, counts = roll(env, episodes, jax.random.key(1))
    length = min(life, 5)
    assert sum(one.steps for one in made) - before[0] == 3 * 12
    assert sum(one.resets for one in made) - before[1] == 3 * (12 // length) == counts.episodes
    np.testing.assert_array_equal(steps.state[:, 0, 1], np.arange(12) % length)
    assert len(np.unique(steps.state[..., 0])) == 3 * (12 // length + (12 % length > 0))
    np.testing.assert_array_equal(steps.episode[:, 1], np.arange(12) // length)
    goals = [np.unique(steps.goal[rows : rows + length, 0]) for rows in range(0, 12, length)]
    assert all(len(goal) == 1 for goal in goals) and len(np.unique(goals)) == len(goals)


def test_an_episode_that_has_ended_stands_still_among_those_that_go_on():
    env, made = diary(life=2)
    evaluation = crl_eqx.evaluate(wander, env, 4, key=jax.random.key(0))
    np.testing.assert_array_equal(evaluation.per_episode["episode_length"], np.full(4, 2.0))


def test_actions_are_spread_over_the_bounds_and_what_is_no_number_counts_as_zero():
    env, _ = diary()
    for action, expected in ((-1.0, -2.0), (1.0, 4.0), (0.5, 2.5), (9.0, 4.0), (np.nan, 1.0)):
        moment = env.reset(key=jax.random.key(0))
        assert env.step(moment, jnp.full(1, action)).state[2] == expected


def test_a_step_that_jax_makes_twice_is_made_once():
    env, made = diary()
    moment = env.reset(key=jax.random.key(0))
    steps = sum(one.steps for one in made)
    first, again = (env.step(moment, jnp.ones(1)) for _ in range(2))
    assert eqx.tree_equal(first, again)
    assert sum(one.steps for one in made) == steps + 1


def test_an_older_moment_is_refused():
    env, _ = diary()
    first = env.reset(key=jax.random.key(0))
    env.step(env.step(first, jnp.ones(1)), jnp.ones(1))
    with pytest.raises(Exception, match="cannot go back to an earlier moment"):
        jax.block_until_ready(env.step(first, jnp.ones(1)))


def test_evaluations_share_their_simulators_and_leave_a_rollout_its_own():
    env, made = diary()
    episodes = start_episodes(env, 3, key=jax.random.key(0))
    episodes, *_ = roll(env, episodes, jax.random.key(1))
    evaluate = jax.jit(lambda key: crl_eqx.evaluate(wander, env, 4, key=key))
    for seed in range(2 * KEPT):
        evaluate(jax.random.key(seed)).summary()
    assert len(made) <= 3 + 2 * 4 + 1
    episodes, steps, _ = roll(env, episodes, jax.random.key(2))
    np.testing.assert_array_equal(steps.state[:, 0, 1], np.arange(12, 24) % 5)


def test_episodes_that_were_let_go_say_so():
    env, _ = diary()
    first = env.reset(key=jax.random.key(0))
    for seed in range(KEPT):
        env.reset(key=jax.random.key(seed))
    with pytest.raises(Exception, match="simulators of this EnvState are gone"):
        jax.block_until_ready(env.step(first, jnp.ones(1)))


def test_a_step_that_is_no_number_is_undone_ends_the_episode_and_is_counted():
    env, _ = diary(breaks=3)
    begun = start_episodes(env, 2, key=jax.random.key(0))
    episodes, steps, counts = roll(env, begun, jax.random.key(1))
    assert np.isfinite(steps.state).all()
    np.testing.assert_array_equal(steps.state[:, 0, 1], np.arange(12) % 3)
    assert counts.failures == counts.episodes == 2 * 4


def test_the_same_key_gives_the_same_episodes():
    env, _ = diary(life=4)

    def play(seed):
        episodes = start_episodes(env, 3, key=jax.random.key(seed))
        return roll(env, episodes, jax.random.key(seed))[1]

    one, same, other = play(0), play(0), play(1)
    assert eqx.tree_equal(one, same)
    assert not np.isin(one.state[..., 0], other.state[..., 0]).any()


def test_a_vector_environment_does_the_same_as_single_ones():
    def make(count):
        return SyncVectorEnv([lambda: Diary(life=4)] * count, autoreset_mode=AutoresetMode.DISABLED)

    own = dict(achieved_goal=[0], draw_goal=draw_goal, threshold=0.1, episode_length=5)
    together = GymnasiumGoalEnv(vector=make, **own)
    singles, _ = diary(life=4)

    def play(env):
        return roll(env, start_episodes(env, 3, key=jax.random.key(0)), jax.random.key(1))[1]

    assert eqx.tree_equal(play(together), play(singles))
    lengths = crl_eqx.evaluate(wander, together, 3, key=jax.random.key(0)).per_episode
    np.testing.assert_array_equal(lengths["episode_length"], np.full(3, 4.0))
    wrong = lambda count: SyncVectorEnv([Diary] * count)
    with pytest.raises(UserError, match="AutoresetMode.DISABLED"):
        GymnasiumGoalEnv(vector=wrong, **own)


@pytest.mark.parametrize("hidden", [False, True])
def test_the_achieved_goal_joins_the_state_only_where_it_is_not_there(hidden):
    env, _ = diary(GoalDiary, hidden=hidden)
    check_env(env)
    assert (env.state_size, env.goal_size) == (3, 1)
    moment = env.reset(key=jax.random.key(0))
    then = env.step(moment, jnp.ones(1))
    nonce = then.state[2:] if hidden else then.state[:1]
    np.testing.assert_array_equal(env.achieved_goal(then.state), nonce)
    np.testing.assert_array_equal(env.achieved_goal(moment.state), nonce)
    np.testing.assert_allclose(then.goal, 7 * nonce, rtol=1e-6)
    assert env.success(then.state, nonce + 0.09)
    assert not env.success(then.state, nonce + 0.11)


class Puck(gymnasium.Env):
    """Observes (robot, where the puck started, where it is); the robot pushes it from age 12 on."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, tells=True):
        self.tells = tells
        box = lambda size: spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.observation_space = spaces.Dict(
            observation=box(2 + tells), achieved_goal=box(1), desired_goal=box(1)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.robot, self.age = 0.0, 0
        self.started = self.puck = self.np_random.uniform()
        return self._seen(), {}

    def step(self, action):
        self.age += 1
        self.robot += float(action[0])
        self.puck += 0.1 * (self.age > 12)
        return self._seen(), 0.0, False, False, {}

    def _seen(self):
        seen = [self.robot, self.started, self.puck][: 2 + self.tells]
        return dict(
            observation=np.array(seen),
            achieved_goal=np.array([self.puck]),
            desired_goal=np.array([self.puck + 1]),
        )


def test_of_several_places_that_look_like_the_achieved_goal_none_is_trusted():
    env = GymnasiumGoalEnv(Puck, threshold=0.1, episode_length=20)
    assert env.state_size == 4
    moment = env.reset(key=jax.random.key(0))
    for _ in range(14):
        moment = env.step(moment, jnp.ones(1))
    assert env.achieved_goal(moment.state) == moment.state[2] != moment.state[1]


def test_a_coincidence_that_ends_is_told_at_once():
    env = GymnasiumGoalEnv(lambda: Puck(tells=False), threshold=0.1, episode_length=20)
    assert env.state_size == 2, "so far the starting place is the puck's"
    moment = env.reset(key=jax.random.key(0))
    for _ in range(12):
        moment = env.step(moment, jnp.ones(1))
    with pytest.raises(Exception, match=r"the numbers \[1\] of the observation were taken for"):
        jax.block_until_ready(env.step(moment, jnp.ones(1)))
    env = GymnasiumGoalEnv(lambda: Puck(tells=False), state=[0], threshold=0.1, episode_length=20)
    assert env.state_size == 2, "the achieved goal itself, beside the robot"


def test_a_module_before_the_name_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_envs.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Theirs-v0', entry_point='gymnasium.envs.classic_control:PendulumEnv',"
        " max_episode_steps=7)\n"
    )
    (tmp_path / "broken_envs.py").write_text("1 / 0")
    own = dict(achieved_goal=[0], draw_goal=draw_goal, threshold=0.1)
    env = envs.make("gym:their_envs:Theirs-v0", **own)
    assert (env.state_size, env.episode_length) == (3, 7)
    for name, sentence in {
        "their_envs:Nobodys-v0": "`Nobodys` doesn't exist",
        "no_such_module:X-v0": "importing `no_such_module` raised ModuleNotFoundError",
        "broken_envs:X-v0": "importing `broken_envs` raised ZeroDivisionError",
    }.items():
        with pytest.raises(UserError, match=sentence):
            envs.make(f"gym:{name}", **own)


FORKED = """
import sys
from gymnasium.vector import AsyncVectorEnv
from crl_eqx.envs import make
from crl_eqx.envs.gym import ToGymnasium

if __name__ == "__main__":
    task = make("point_u_maze")
    how = {"context": "spawn"} if sys.argv[1] == "spawn" else {}
    envs = AsyncVectorEnv([lambda: ToGymnasium(task)] * 2, **how)
    print(envs.reset(seed=0)[0]["observation"].shape)
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_forked_workers_are_told_what_to_do_and_spawned_ones_work(how, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(FORKED)
    done = subprocess.run(
        [sys.executable, str(script), how], capture_output=True, text=True, timeout=120
    )
    if how == "spawn":
        assert done.stdout == "(2, 4)\n", done.stderr
    else:
        assert "AsyncVectorEnv(..., context='spawn')" in done.stderr.splitlines()[-1]


def test_a_desired_goal_in_the_state_is_refused_and_may_be_left_out():
    with pytest.raises(UserError, match="numbers 3 to 3 of its state are the desired goal"):
        diary(GoalDiary, tells=True)
    make = lambda: GoalDiary(tells=True)
    env = GymnasiumGoalEnv(make, state=[0, 1, 2], threshold=0.1, episode_length=5)
    assert env.state_size == 3


def test_functions_say_what_a_state_and_its_goals_are():
    """Reacher's observation holds its goal: the state is what is left, and where the tip is."""
    tip = lambda seen: seen[..., 4:6] + seen[..., 8:10]
    env = GymnasiumGoalEnv(
        "Reacher-v5",
        state=lambda seen: jnp.concatenate([seen[..., :4], seen[..., 6:8], tip(seen)], -1),
        achieved_goal=[6, 7],
        desired_goal=[4, 5],
        threshold=0.02,
    )
    check_env(env)
    assert (env.state_size, env.goal_size, env.episode_length) == (8, 2, 50)
    moment = jax.vmap(lambda key: env.reset(key=key))(jax.random.split(jax.random.key(0), 3))
    then = jax.vmap(env.step)(moment, jnp.ones((3, 2)))
    np.testing.assert_array_equal(moment.goal, then.goal)
    assert len(np.unique(moment.goal, axis=0)) == 3
    with pytest.raises(UserError, match="numbers 4 to 5 of its state are the desired goal"):
        GymnasiumGoalEnv("Reacher-v5", achieved_goal=[4, 5], desired_goal=[4, 5], threshold=1.0)


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("FetchReach-v4", (10, 4, 3, 50, 0.05)),
        ("PointMaze_UMaze-v3", (4, 2, 2, 300, 0.45)),
        ("AntMaze_UMaze-v5", (107, 8, 2, 700, 0.45)),
    ],
)
def test_goal_environments_need_nothing_but_their_name(name, sizes):
    pytest.importorskip("gymnasium_robotics")
    env = envs.make(f"gym:{name}")
    check_env(env)
    found = env.state_size, env.action_size, env.goal_size, env.episode_length, env.threshold
    assert found == sizes
    moment = env.reset(key=jax.random.key(0))
    then = env.step(moment, jnp.ones(env.action_size))
    assert not np.array_equal(moment.state, then.state) and not then.terminated


def test_fetchs_own_success_is_ours():
    env = fetch()
    inner = gymnasium.make("FetchReach-v4").unwrapped
    goals = jax.random.uniform(jax.random.key(0), (50, 3), minval=-0.05, maxval=0.05)
    state = env.reset(key=jax.random.key(0)).state
    tip = env.achieved_goal(state)
    found = env.success(jnp.tile(state, (50, 1)), tip[None] + goals)
    theirs = [inner._is_success(np.array(tip), np.array(tip + goal)) for goal in goals]
    np.testing.assert_array_equal(found, np.array(theirs, bool))


def test_a_lander_takes_a_function_of_its_state():
    pytest.importorskip("Box2D")
    env = GymnasiumGoalEnv(
        "LunarLanderContinuous-v3",
        achieved_goal=lambda state: state[..., :2],
        draw_goal=lambda key: jnp.zeros(2),
        threshold=0.1,
    )
    assert (env.state_size, env.action_size, env.goal_size) == (8, 2, 2)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: envs.make("gym:CartPole-v1"), r"actions Discrete\(2\): they must be numbers"),
        (lambda: envs.make("gym:NoSuch-v1"), "`NoSuch` doesn't exist"),
        (lambda: envs.make("gym:Pendulum-v1"), "no goal environment: of its 3 observed numbers"),
        (lambda: envs.make("gym:Pendulum-v1", physics="mjx"), "their own physics"),
        (lambda: envs.make("gym:Pendulum-v1", wings=2), "unexpected keyword argument 'wings'"),
        (
            lambda: GymnasiumGoalEnv("Pendulum-v1", achieved_goal=[0], draw_goal=draw_goal),
            "no `threshold` of its own",
        ),
        (
            lambda: GymnasiumGoalEnv("Pendulum-v1", achieved_goal=[0, 1], draw_goal=draw_goal,
                                     threshold=0.1),
            r"achieved goal is float32\[2\], and a desired one float32\[1\]",
        ),
        (
            lambda: GymnasiumGoalEnv("Pendulum-v1", achieved_goal=[7], draw_goal=draw_goal,
                                     threshold=0.1),
            "index 7 is out of bounds",
        ),
        (
            lambda: GymnasiumGoalEnv(Diary, achieved_goal=[0], draw_goal=draw_goal, threshold=0.1),
            "no `episode_length` of its own",
        ),
        (
            lambda: GymnasiumGoalEnv(lambda: GoalDiary(), draw_goal=draw_goal, threshold=0.1),
            "is a goal environment and takes no `draw_goal`",
        ),
        (lambda: GymnasiumGoalEnv(), "needs a name"),
        (lambda: ToGymnasiumVector(diary()[0], 0), "must be at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()


@pytest.mark.parametrize("bound", [np.inf, 3.4e38])
def test_unbounded_actions_are_refused(bound):
    class Unbounded(Diary):
        action_space = spaces.Box(-bound, bound, (1,), np.float32)

    with pytest.raises(UserError, match="must be finite numbers of float32"):
        diary(Unbounded)


def test_gymnasium_is_imported_only_when_it_is_asked_for():
    code = "import sys, crl_eqx, crl_eqx.envs; sys.exit('gymnasium' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = """
import sys; sys.modules['gymnasium'] = None
import crl_eqx.envs
try: crl_eqx.envs.make('gym:Pendulum-v1')
except crl_eqx.UserError as error: sys.exit('pip install' not in str(error))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- tasks as Gymnasium's environments


@pytest.fixture(scope="module")
def point():
    return envs.make("point_u_maze", physics="native", episode_length=6)


CHECKED = pytest.mark.filterwarnings(
    # Positions have no bounds, and an environment that is not registered has no `spec`.
    "ignore:.*A Box observation space m.*imum value is:UserWarning",
    "ignore:.*Not able to test alternative render modes:UserWarning",
)


@CHECKED
@pytest.mark.parametrize("name", ["point_u_maze", "ant"])
def test_gymnasiums_checker_finds_nothing(name):
    gymnasium_checks(ToGymnasium(envs.make(name, physics="native")))


@CHECKED
def test_there_and_back_again():
    env, made = diary(life=3)
    gymnasium_checks(ToGymnasium(env))
    vector = ToGymnasiumVector(env, 2)
    vector.reset(seed=0)
    ages = [vector.step(np.zeros((2, 1), np.float32))[0]["observation"][:, 1] for _ in range(9)]
    np.testing.assert_array_equal(ages, np.array([[1, 2, 3, 0, 1, 2, 3, 0, 1]] * 2).T)


def test_a_single_one_keeps_to_gymnasiums_goal_environment(point):
    env = ToGymnasium(point)
    observation, info = env.reset(seed=1)
    assert observation.keys() == {"observation", "achieved_goal", "desired_goal"}
    for step in range(1, 7):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space and not terminated
        assert truncated == (step == 6)
        assert reward == (0.0 if info["is_success"] else -1.0)
    goals = observation["desired_goal"] + np.array([[0.0, 0.24], [0.26, 0.0]], np.float32)
    np.testing.assert_array_equal(
        env.compute_reward(goals, observation["desired_goal"], {}), [0.0, -1.0]
    )
    dense = ToGymnasium(point, reward_type="dense")
    rewards = dense.compute_reward(goals, observation["desired_goal"], {})
    np.testing.assert_allclose(rewards, [-0.24, -0.26], atol=1e-5)
    with pytest.raises(gymnasium.error.ResetNeeded):
        dense.step(np.zeros(2, np.float32))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_vector_is_gymnasiums_own_vector_of_single_ones(point, mode):
    ours = ToGymnasiumVector(point, 2, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: ToGymnasium(point)] * 2, autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space
    numbers = np.random.default_rng(0)
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)
    same(ours.reset(seed=3), theirs.reset(seed=3))
    ends = 0
    for _ in range(15):
        actions = numbers.uniform(-1, 1, (2, 2)).astype(np.float32)
        (*our_step, our_info), (*their_step, their_info) = ours.step(actions), theirs.step(actions)
        for our_part, their_part in zip(our_step, their_step, strict=True):
            same(our_part, their_part)
        assert our_info.keys() == their_info.keys()
        same(our_info.get("is_success"), their_info.get("is_success"))
        for our_end, their_end in zip(
            our_info.get("final_obs", ()), their_info.get("final_obs", ()), strict=True
        ):
            same(our_end, their_end)
        ends += int(our_step[3].sum())
    assert ends == 4


def test_without_autoreset_a_mask_says_what_begins_anew(point):
    env = ToGymnasiumVector(point, 2, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    push = np.ones((2, 2), np.float32)
    for _ in range(3):
        before, *_ = env.step(push)
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert not np.array_equal(observation["observation"][0], before["observation"][0])
    np.testing.assert_array_equal(observation["observation"][1], before["observation"][1])
    same, _ = env.reset(options={"reset_mask": np.zeros(2, bool)})
    np.testing.assert_array_equal(same["observation"], observation["observation"])
    for _ in range(3):
        *_, truncated, _ = env.step(push)
    np.testing.assert_array_equal(truncated, [False, True])
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(push)


def test_the_package_that_an_environment_comes_from_is_known():
    assert envs.gymnasium_packages("gym:CartPole-v1") == ("gymnasium",)
    assert envs.gymnasium_packages("gym:gymnasium:CartPole-v1") == ("gymnasium",)
    gymnasium.register("crl_eqx_test/Own-v0", entry_point=lambda: None)
    assert envs.gymnasium_packages("gym:crl_eqx_test/Own-v0") == ()
    assert envs.gymnasium_packages("reacher") == ()
