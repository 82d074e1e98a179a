"""Collecting and learning at once: the numbers are those of doing one after the other."""

from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import Agent, envs, objectives, Overlap, TrainStep
from crl_eqx._overlap import _keys, _parts
from crl_eqx._rollout import advance

from .probes import Box
from .test_together import copied, plain


SMALL: dict[str, Any] = {
    "num_envs": 3,
    "unroll_length": 7,
    "batch_size": 5,
    "prefill_length": 20,
    "replay_capacity": 30,
}


def started(step, **options):
    agent = Agent.create(step.env, depth=4, width=4, repr_size=2, key=jax.random.key(0), **options)
    return step.start(agent, key=jax.random.key(1))


@eqx.filter_jit
def in_turn(step, state, due):
    """The definition: the unroll first, then the updates without it, then it is stored."""
    keys = _keys(state.key, step.unroll_length)
    parts = _parts(step, state, due, keys.places)
    episodes, played = state.episodes, []
    for now in range(step.unroll_length):
        policy = step.acting(state.agent)
        moment = episodes.env_state
        action = policy(moment.state, moment.goal, keys.action[now])
        episodes, one, _ = advance(
            step.env,
            episodes,
            action,
            keys.reset[now],
            episode_length=step.train_episode_length,
            next_states=step.objective.needs_next_state,
            applied=step.applied,
        )
        played.append(one)
    after = state
    for places, key in zip(parts, keys.update, strict=True):
        if places is not None:
            gather = lambda place: step.buffer.gather(state.buffer, place)
            after, _ = step.learn(after, places, gather, key=key)
    steps = jax.tree.map(lambda *leaves: jnp.stack(leaves), *played)
    agent = after.agent.observe(steps.state, step.env.achieved_goal(steps.state))
    return (
        agent,
        after.opt_state,
        step.buffer.insert(state.buffer, steps),
        episodes,
        after.gradient_steps,
    )


CRL, TD3 = objectives.CRL(), objectives.TD3(Box().success)


@pytest.mark.parametrize(
    ("objective", "ratio"),
    [(CRL, Fraction(2, 21)), (CRL, Fraction(1, 50)), (TD3, Fraction(10, 21))],
    ids=["fewer updates than control steps", "fewer than one", "more"],
)
def test_it_is_the_unroll_and_the_updates_without_it(ratio, objective):
    step = TrainStep(Box(), objective, updates_per_env_step=ratio, **SMALL)
    critic = "contrastive" if isinstance(objective, objectives.CRL) else "twin-q"
    state, train = started(step, critic=critic, normalize=True), Overlap(step)
    debt = Fraction(0)
    for unroll in range(1, 5):
        debt += step.updates_per_unroll
        due, debt = int(debt), debt - int(debt)
        expected = in_turn(step, copied(state), due)
        state, metrics = train(state)
        ours = state.agent, state.opt_state, state.buffer, state.episodes, state.gradient_steps
        for a, b in zip(plain(ours), plain(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert state.env_steps == step.prefill_env_steps + 21 * unroll
        assert ("actor_loss" in metrics) == (due > 0) and "episodes" in metrics


def test_two_runs_are_bit_identical_with_native_physics():
    env = envs.make("point_u_maze", physics="native")
    options = SMALL | dict(num_envs=4, batch_size=8, updates_per_env_step=0.5)
    step = TrainStep(env, **options)
    ends = []
    for _ in range(2):
        state, train = started(step), Overlap(step)
        for _ in range(3):
            state, _ = train(state)
        ends.append(plain(state))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)
