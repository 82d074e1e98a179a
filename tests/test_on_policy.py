"""PPO: its advantages and losses against loops, and where the right value is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crl_eqx import adam_optimizers, Agent, Batch, EnvState, OnPolicyStep, UserError
from crl_eqx.objectives import CRL, PPO
from crl_eqx.objectives._ppo import generalized_advantage, RolloutBatch

from .probes import Box


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def agent_for(env, seed=0):
    make = lambda key: Agent.create(env, critic="value", depth=4, width=16, key=key)
    return eqx.filter_jit(make)(jax.random.key(seed))


def step_for(env, **options):
    usual = dict(num_envs=4, unroll_length=6, batch_size=7, epochs=2)
    objective = options.pop("objective", PPO(env.success))
    return OnPolicyStep(env, objective, adam_optimizers(3e-3), **usual | options)


class Wide(Box):
    """Whose states are far from those of a unit normal."""

    def reset(self, *, key):
        found = super().reset(key=key)
        return eqx.tree_at(lambda s: s.state, found, 30.0 * found.state + 5.0)


def test_training_may_end_episodes_earlier_than_the_environment():
    step = step_for(Box(), train_episode_length=3)
    state, _ = eqx.filter_jit(OnPolicyStep.__call__)(
        step, step.init(agent_for(Box()), key=jax.random.key(1))
    )
    np.testing.assert_array_equal(state.buffer.steps.episode[:, 0], np.arange(6) // 3)


def test_the_advantage_is_that_of_a_loop():
    time, envs, discount, lam = 9, 3, 0.9, 0.8
    reward, value, next_value = (np.asarray(draw(seed, time, envs)) for seed in range(3))
    terminated = np.asarray(draw(3, time, envs) > 0.8)
    ends = terminated | np.asarray(draw(4, time, envs) > 0.8)
    ends[-1] = True
    expected = np.zeros((time, envs))
    for env in range(envs):
        for start in range(time):
            weight = 1.0
            for t in range(start, time):
                later = 0.0 if terminated[t, env] else discount * next_value[t, env]
                expected[start, env] += weight * (reward[t, env] + later - value[t, env])
                weight *= discount * lam
                if ends[t, env]:
                    break
    arrays = map(jnp.asarray, (reward, value, next_value, terminated, ends))
    found = generalized_advantage(*arrays, discount=discount, gae_lambda=lam)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def log_prob(policy, u):
    return jnp.asarray(stats.norm(policy.mean, jnp.exp(policy.log_std)).logpdf(u).sum(axis=-1))


def test_the_loss_is_that_of_a_loop():
    n, agent = 8, agent_for(Box())
    state, goal, action = draw(0, n, 2), draw(1, n, 2), draw(2, n, 2)
    old = log_prob(agent.policy(state, goal), action) + 0.3 * draw(3, n)
    batch = RolloutBatch(state, action, goal, old, draw(4, n), draw(5, n))
    objective = PPO(Box().success, clip_range=0.2, entropy_weight=0.0)
    _, metrics = eqx.filter_jit(objective)(agent, None, batch, key=jax.random.key(0))
    new, value = log_prob(agent.policy(state, goal), action), agent.value(state, action, goal)
    advantage = np.asarray(batch.advantage, np.float64)
    advantage = (advantage - advantage.mean()) / advantage.std()
    gain, clipped = 0.0, 0
    for i in range(n):
        ratio = np.exp(float(new[i] - old[i]))
        limited = min(max(ratio, 0.8), 1.2)
        gain += min(ratio * advantage[i], limited * advantage[i]) / n
        clipped += ratio != limited
    assert 0 < clipped < n
    np.testing.assert_allclose(metrics["actor_loss"], -gain, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(metrics["clipped_fraction"], clipped / n, rtol=1e-6)
    error = np.mean((np.asarray(value) - np.asarray(batch.value_target)) ** 2)
    np.testing.assert_allclose(metrics["critic_loss"], error, rtol=1e-4)


class Rewarding(Box):
    """Always at the goal; either the world or the clock ends each episode after one step."""

    dies: bool = False
    episode_length: int = 2

    def step(self, env_state, action):
        moment = super().step(env_state, action)
        return EnvState(None, moment.state, moment.goal, terminated=jnp.asarray(self.dies))

    def success(self, state, goal):
        return jnp.ones(state.shape[:-1], bool)


@pytest.mark.parametrize(("dies", "worth"), [(True, 1.0), (False, 2.0)])
def test_the_end_of_a_world_has_no_value_and_the_end_of_time_has(dies, worth):
    env = Rewarding(dies=dies)
    objective = PPO(env.success, discount=0.5)
    step = step_for(env, objective=objective, num_envs=16, batch_size=48, epochs=4)
    state, train = step.start(agent_for(env), key=jax.random.key(1)), step.compiled()
    for _ in range(60):
        state, metrics = train(state)
    assert metrics["reward"] == 1.0
    assert metrics["value"] == pytest.approx(worth, abs=0.15)


def test_whole_batches_of_every_unroll_are_gone_through_in_each_epoch():
    step = step_for(Box())  # 24 steps: 3 batches of 7
    state = step.start(agent_for(Box()), key=jax.random.key(0))
    assert int(state.env_steps) == 0 == int(state.gradient_steps)
    train = step.compiled()
    for number in (1, 2):
        state, metrics = train(state)
        assert int(state.env_steps) == 24 * number and int(state.gradient_steps) == 6 * number
    assert metrics["nonfinite_from"] == -1 and metrics["nonfinite"] == 0
    # What it learns from is the latest unroll, of the agent that made it.
    assert int(state.buffer.inserted) == 12 and state.buffer.steps.state.shape[:2] == (6, 4)


def test_the_policy_that_learns_is_the_one_that_acted():
    """Also where its observations are normalized, by moments that the unroll has changed."""
    make = lambda key: Agent.create(
        Wide(), critic="value", depth=4, width=16, normalize=True, key=key
    )
    step = step_for(Wide(), batch_size=24, epochs=1)
    state = step.start(eqx.filter_jit(make)(jax.random.key(0)), key=jax.random.key(1))
    train = step.compiled()
    for unrolls in (1, 2, 3):
        state, metrics = train(state)
        assert metrics["clipped_fraction"] == 0 and abs(metrics["kl"]) < 1e-4
        moments = state.agent.state_normalizer
        assert moments is not None and moments.count == 24 * unrolls


def test_it_learns_to_reach_a_point():
    objective = PPO(Box().success, discount=0.9)
    step = step_for(Box(), objective=objective, num_envs=64, unroll_length=20, batch_size=320)
    state, train = step.start(agent_for(Box()), key=jax.random.key(1)), step.compiled()
    rewards = []
    for _ in range(150):
        state, metrics = train(state)
        rewards.append(float(metrics["reward"]))
    assert np.mean(rewards[:5]) < 0.15 and np.mean(rewards[-5:]) > 0.5


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: step_for(Box(), batch_size=25), r"batch_size=25\)` is more than the 24 steps"),
        (lambda: step_for(Box(), epochs=0), r"OnPolicyStep\(epochs=0\)` must be at least 1"),
        (lambda: step_for(Box(), batch_size=1), r"batch_size=1\)` must be at least 2"),
        (lambda: PPO(Box().success, clip_range=0.0), r"`PPO\(clip_range=0.0\)` must be positive"),
        (lambda: PPO(Box().success, gae_lambda=1.5), r"`PPO\(gae_lambda=1.5\)` must lie in"),
        (
            lambda: step_for(Box()).init(
                Agent.create(Box(), depth=4, width=8, key=jax.random.key(0)), key=jax.random.key(0)
            ),
            r"`PPO` trains a ValueFunction, and this agent has a Critic: .*critic='value'",
        ),
        (
            lambda: PPO(Box().success)(
                agent_for(Box()), None, Batch(*[jnp.zeros((2, 2))] * 4), key=jax.random.key(0)
            ),
            "`PPO` learns from a policy's own latest steps.*`OnPolicyStep`",
        ),
        (
            lambda: agent_for(Box()).act(
                jnp.zeros(2), jnp.zeros(2), key=jax.random.key(0), candidates=3
            ),
            r"candidates=3\)` asks the critic, and a ValueFunction does not tell actions apart",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(call, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        call()
    assert ". " not in str(caught.value)


def test_an_off_policy_objective_is_refused():
    with pytest.raises(Exception, match="OnPolicyStep|PPO"):
        step_for(Box(), objective=CRL())
