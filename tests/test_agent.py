"""The agent's face: acting, judging, normalising."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import Agent, Critic, UserError
from crl_eqx.energy import Dot, MRN
from crl_eqx.nn import Normalizer, TanhNormal

from .probes import Box


@pytest.fixture(scope="module")
def agent():
    make = lambda key: Agent.create(Box(), depth=4, width=8, repr_size=6, key=key)
    return eqx.filter_jit(make)(jax.random.key(0))


@eqx.filter_jit
def act(agent, state, goal, key=None, candidates=1):
    return agent.act(state, goal, key=key, candidates=candidates)


judge = eqx.filter_jit(lambda agent, state, action, goal: agent.value(state, action, goal))


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_without_a_key_the_action_is_deterministic_and_inside_the_box(agent):
    state, goal = draw(5, 2), draw(5, 2, seed=1)
    action = act(agent, state, goal)
    assert action.shape == (5, 2) and (jnp.abs(action) <= 1).all()
    assert jnp.array_equal(action, act(agent, state, goal))
    np.testing.assert_allclose(action[0], act(agent, state[0], goal[0]), atol=1e-6)


def test_with_a_key_it_is_a_sample(agent):
    state, goal = jnp.zeros((5, 2)), jnp.ones((5, 2))
    first, again, other = (act(agent, state, goal, jax.random.key(s)) for s in (0, 0, 1))
    assert jnp.array_equal(first, again)
    assert not jnp.isin(first, other).any()
    assert len(np.unique(first)) == first.size  # rows draw apart although they see the same


class Choice(eqx.Module):
    """Parts whose best action is the goal itself, whatever the state: φ = a, ψ = g."""

    def actor(self, state, goal):
        return TanhNormal(jnp.zeros_like(goal), jnp.zeros_like(goal))

    def sa_encoder(self, state, action):
        return action

    def g_encoder(self, goal):
        return goal


def test_the_best_of_many_samples_is_the_critic_s_favourite_row_by_row():
    parts = Choice()
    agent = Agent(parts.actor, Critic(parts.sa_encoder, parts.g_encoder, Dot()), jnp.zeros(()))
    goal = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    state = jnp.zeros((3, 2))
    action = act(agent, state, goal, jax.random.key(0), 64)
    value = jnp.sum(action * goal, axis=-1)
    assert action.shape == (3, 2) and (value > 0.85).all()
    one = act(agent, state[0], goal[0], jax.random.key(0), 64)
    assert one.shape == (2,) and one[0] > 0.85
    energies = agent.value(state, action, goal)
    np.testing.assert_allclose(energies, value, rtol=1e-6)


@pytest.mark.parametrize(("candidates", "key"), [(8, None), (0, jax.random.key(0))])
def test_candidates_are_not_accepted_and_ignored(agent, candidates, key):
    with pytest.raises(UserError, match=rf"candidates={candidates}\)` (needs a|must be)"):
        agent.act(jnp.zeros(2), jnp.zeros(2), key=key, candidates=candidates)


def test_the_critic_is_the_energy_of_the_two_representations(agent):
    state, action, goal = (draw(5, 2, seed=s) for s in range(3))
    sa_repr, g_repr = eqx.filter_jit(lambda c: (c.sa_repr(state, action), c.g_repr(goal)))(
        agent.critic
    )
    assert sa_repr.shape == g_repr.shape == (5, 6)
    expected = -np.linalg.norm(np.asarray(sa_repr - g_repr, np.float64), axis=-1)
    np.testing.assert_allclose(judge(agent, state, action, goal), expected, rtol=1e-5)


def test_depths_can_differ_between_policy_and_critic():
    def shape(**depths):
        make = lambda key: Agent.create(Box(), width=8, energy=MRN(), key=key, **depths)
        return eqx.filter_eval_shape(make, jax.random.key(0))

    assert shape().state_normalizer is None
    assert shape(normalize=True).goal_normalizer.mean.shape == (2,)
    depths = lambda a: [n.network.depth for n in (a.actor, a.critic.sa_encoder, a.critic.g_encoder)]
    assert depths(shape()) == [16, 16, 16]
    assert depths(shape(depth=8)) == [8, 8, 8]
    assert depths(shape(depth=8, actor_depth=4)) == [4, 8, 8]
    assert depths(shape(actor_depth=512, critic_depth=1024)) == [512, 1024, 1024]
    for wrong in ({"critic_depth": 0}, {"actor_depth": 0}, {"depth": 6}):
        with pytest.raises(UserError, match="multiple of 4"):
            shape(**wrong)


@pytest.mark.parametrize("alpha", [0.0, 0.02, 1.0, 30.0])
def test_the_temperature_starts_where_it_is_told_to(alpha):
    agent = Agent.create(Box(), depth=4, width=8, initial_alpha=alpha, key=jax.random.key(0))
    assert agent.log_alpha.dtype == jnp.float32 and agent.log_alpha.shape == ()
    assert jnp.exp(agent.log_alpha) == pytest.approx(alpha, rel=1e-6)
    if alpha == 0:
        assert agent.log_alpha == -jnp.inf


@pytest.mark.parametrize("alpha", [-0.1, float("inf"), float("nan")])
def test_a_temperature_below_zero_or_without_end_is_refused(alpha):
    sentence = rf"`Agent.create\(initial_alpha={alpha}\)` must be 0 or positive, and a finite"
    with pytest.raises(UserError, match=sentence):
        Agent.create(Box(), initial_alpha=alpha, key=jax.random.key(0))


def test_normalisation_lets_shifted_and_scaled_worlds_look_alike(agent):
    moments = Normalizer(2), Normalizer(2)
    parts = agent.actor, agent.critic, agent.log_alpha
    observe = eqx.filter_jit(Agent(*parts, *moments).observe)
    states, goals = draw(500, 2), draw(500, 2, seed=1)
    plain, moved = observe(states, goals), observe(5 + 3 * states, 100 * goals - 7)
    state, action, goal = states[:9], draw(9, 2, seed=2), goals[:9]
    np.testing.assert_allclose(
        act(moved, 5 + 3 * state, 100 * goal - 7), act(plain, state, goal), atol=1e-3
    )
    np.testing.assert_allclose(
        judge(moved, 5 + 3 * state, action, 100 * goal - 7),
        judge(plain, state, action, goal),
        rtol=1e-3,
    )


def test_without_normalisation_observing_changes_nothing(agent):
    assert agent.observe(draw(3, 2), draw(3, 2)) is agent
