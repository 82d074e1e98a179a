"""Copies, pickles and spawned workers get what the original is."""

import copy
import pickle

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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["point_u_maze", "arm_push_easy", "randomized"])
def test_a_copied_task_plays_the_same_episodes(way, name):
    env = envs.make("reacher" if name == "randomized" else name, physics="native")
    if name == "randomized":
        env = envs.randomize(env, masses=(0.5, 2.0), action_delay=(0, 2), variants=3)

    def played(env):
        start = env.reset(key=jax.random.key(0))
        return env.step(start, jax.numpy.ones(env.action_size))

    moments = [jax.jit(lambda env=env: played(env))() for env in (env, WAYS[way](env))]
    assert eqx.tree_equal(*moments)
