"""Copies, pickles and spawned workers get what the original is."""

import copy
import pickle
from importlib import resources

import equinox as eqx
import jax
import pytest

import crl_eqx as crl
from crl_eqx import envs


WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_agent_is_equal_and_compiled_no_second_time(way):
    env = envs.make("point_u_maze", physics="native")
    agent = crl.Agent.create(env, depth=4, width=8, key=jax.random.key(0))
    other = WAYS[way](agent)
    assert eqx.tree_equal(agent, other) and crl.nn.audit(other).complete
    traced = []

    @eqx.filter_jit
    def act(agent):
        traced.append(agent)
        return agent.log_alpha

    assert act(agent) == act(other) and len(traced) == 1


def made(name):
    if name == "randomized":
        env = envs.make("reacher", physics="native")
        return envs.randomize(env, masses=(0.5, 2.0), action_delay=(0, 2), variants=3)
    if name == "held out":
        return envs.hold_out(envs.make("ant_u_maze", physics="native"), 0.5)
    if name == "goals anew":
        return envs.resample_goals(envs.make("ant_u_maze", physics="native"), 0.5)
    if name == "own":
        return envs.MujocoGoalEnv(
            str(resources.files("crl_eqx.envs") / "assets" / "reacher.xml"),
            joints=["elbow"],
            draw_goal=somewhere,
            threshold=0.1,
            episode_length=5,
            physics="native",
        )
    return envs.make(name, physics="native")


def somewhere(key):
    return jax.random.uniform(key, (1,))


KINDS = ["point_u_maze", "ant", "ant_u_maze", "ant_ball", "humanoid", "arm_push_easy"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*KINDS, "randomized", "held out", "goals anew", "own"])
def test_a_copied_task_is_equal_plays_the_same_episodes_and_is_compiled_no_second_time(way, name):
    env = made(name)
    other = WAYS[way](env)
    assert eqx.tree_equal(env, other)
    traced = []

    @eqx.filter_jit
    def play(env):
        traced.append(env)
        start = env.reset(key=jax.random.key(0))
        return env.step(start, jax.numpy.ones(env.action_size))

    assert eqx.tree_equal(play(env), play(other)) and len(traced) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_copied_task_of_gymnasium_has_simulators_of_its_own_and_plays_the_same(way):
    GymnasiumGoalEnv = pytest.importorskip("crl_eqx.envs.gym").GymnasiumGoalEnv
    env = GymnasiumGoalEnv("Pendulum-v1", achieved_goal=[0], draw_goal=somewhere, threshold=0.1)
    other = WAYS[way](env)
    moments = []
    for task in (env, other):
        start = task.reset(key=jax.random.key(0))
        moments.append(task.step(start, jax.numpy.ones(1)))
    assert eqx.tree_equal(moments[0].state, moments[1].state)
    assert moments[0].physics[0] != moments[1].physics[0]
