"""SAC, TD3, C-learning and behaviour cloning: against loops, and where the right value is known."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_eqx import (
    adam_optimizers,
    Agent,
    Batch,
    init_optimizers,
    QFunctions,
    TrainStep,
    update,
    UserError,
)
from crl_eqx.nn import TanhNormal
from crl_eqx.objectives import CLearning, CRL, GCBC, Goals, SAC, TD3
from crl_eqx.run import resolved, Run

from .probes import Box, Corridor
from .run.conftest import tiny


N, STATE, ACTION, GOAL = 6, 3, 2, 2
GAMMA = 0.9


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


class Certain(eqx.Module):
    """A distribution whose sample is tanh(mean), with the density -Σ mean²."""

    mean: jax.Array

    def mode(self):
        return jnp.tanh(self.mean)

    def sample_and_log_prob(self, *, key):
        del key
        return self.mode(), -jnp.sum(self.mean**2, axis=-1)

    def sample(self, *, key):
        return self.sample_and_log_prob(key=key)[0]


class CertainActor(eqx.Module):
    weight: jax.Array

    def __call__(self, state, goal):
        return Certain(jnp.concatenate([state, goal], axis=-1) @ self.weight)


class Bilinear(eqx.Module):
    """A critic that a loop can compute."""

    weight: jax.Array

    def __call__(self, state, action, goal):
        return jnp.concatenate([state, action, goal], axis=-1) @ self.weight


class Table(eqx.Module):
    """A critic with a number of its own for every pair of places, whatever is done."""

    weight: jax.Array

    def __call__(self, state, action, goal):
        return jnp.sum((state @ self.weight) * goal, axis=-1, keepdims=True) + 0 * action[..., :1]


def make_agent(seed=0, critics=2) -> Agent:
    return Agent(
        CertainActor(0.4 * draw(seed + 10, STATE + GOAL, ACTION)),
        QFunctions(
            tuple(Bilinear(draw(seed + i, STATE + ACTION + GOAL, 1)) for i in range(critics))
        ),
        jnp.asarray(-0.7),
    )


TERMINATED = jnp.array([True, False, False, True, False, False])
BATCH = Batch(
    draw(0, N, STATE),
    jnp.tanh(draw(1, N, ACTION)),
    draw(2, N, GOAL),
    draw(3, N, GOAL),
    draw(4, N, STATE),
    TERMINATED,
)
achieved = lambda state: state[..., :GOAL]
near = lambda state, goal: jnp.linalg.norm(achieved(state) - goal, axis=-1) < 1.5
ALL_FUTURE = Goals(future=1.0)


def numbers(x):
    return np.asarray(x, np.float64)


def policy(agent, state, goal):
    mean = np.concatenate([state, goal]) @ numbers(agent.actor.weight)
    return np.tanh(mean), -np.sum(mean**2)


def value(critic, state, action, goal):
    return float((np.concatenate([state, action, goal]) @ numbers(critic.weight))[0])


def rows():
    return zip(
        *(numbers(getattr(BATCH, n)) for n in ("state", "action", "next_state")), strict=True
    )


@pytest.mark.parametrize("mixture", [ALL_FUTURE, Goals(commanded=1.0)])
def test_the_losses_of_sac_are_those_of_a_loop(mixture):
    agent, slow = make_agent(), make_agent(5).critic
    objective = SAC(near, discount=GAMMA, goals=mixture)
    goals = numbers(BATCH.future_goal if mixture.future else BATCH.goal)
    critic_loss = actor_loss = 0.0
    alpha = np.exp(-0.7)
    for i, (state, action, following) in enumerate(rows()):
        reward = float(np.linalg.norm(following[:GOAL] - goals[i]) < 1.5)
        then, log_prob = policy(agent, following, goals[i])
        later = min(value(q, following, then, goals[i]) for q in slow.q) - alpha * log_prob
        target = reward + (0.0 if TERMINATED[i] else GAMMA * later)
        critic_loss += sum(
            (value(q, state, action, goals[i]) - target) ** 2 for q in agent.critic.q
        )
        now, log_prob = policy(agent, state, goals[i])
        actor_loss += alpha * log_prob - min(value(q, state, now, goals[i]) for q in agent.critic.q)
    _, metrics = objective(agent, slow, BATCH, key=jax.random.key(0))
    assert 0 < metrics["reward"] < 1
    np.testing.assert_allclose(metrics["critic_loss"], critic_loss / (2 * N), rtol=1e-4)
    np.testing.assert_allclose(metrics["actor_loss"], actor_loss / N, rtol=1e-4)


def test_the_losses_of_td3_are_those_of_a_loop():
    agent, other = make_agent(), make_agent(5)
    objective = TD3(near, discount=GAMMA, target_noise=0.0, goals=ALL_FUTURE)
    where = lambda s: (s.actor, s.critic)
    state = eqx.tree_at(where, objective.init(agent), where(other))
    goals, critic_loss, actor_loss = numbers(BATCH.future_goal), 0.0, 0.0
    for i, (here, action, following) in enumerate(rows()):
        reward = float(np.linalg.norm(following[:GOAL] - goals[i]) < 1.5)
        then, _ = policy(other, following, goals[i])
        later = min(value(q, following, then, goals[i]) for q in other.critic.q)
        target = reward + (0.0 if TERMINATED[i] else GAMMA * later)
        critic_loss += sum((value(q, here, action, goals[i]) - target) ** 2 for q in agent.critic.q)
        actor_loss -= value(agent.critic.q[0], here, policy(agent, here, goals[i])[0], goals[i])
    _, metrics = objective(agent, state, BATCH, key=jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"], critic_loss / (2 * N), rtol=1e-4)
    np.testing.assert_allclose(metrics["actor_loss"], actor_loss / N, rtol=1e-4)


@pytest.mark.parametrize("variant", ["td", "nce"])
def test_the_loss_of_c_learning_is_that_of_a_loop(variant):
    agent, slow = make_agent(), make_agent(5).critic
    objective = CLearning(achieved, variant=variant, discount=GAMMA, max_weight=3.0)
    goals, loss = numbers(BATCH.future_goal), 0.0
    entropy = lambda logit, label: -np.log(1 / (1 + np.exp(-logit if label else logit)))
    for i, (state, action, following) in enumerate(rows()):
        other = goals[i - 1]  # rolled by one
        then, _ = policy(agent, following, other)
        weight = min(np.exp(min(value(q, following, then, other) for q in slow.q)), 3.0)
        for q in agent.critic.q:
            negative = value(q, state, action, other)
            if variant == "nce":
                loss += entropy(value(q, state, action, goals[i]), 1) + entropy(negative, 0)
                continue
            positive = value(q, state, action, following[:GOAL])
            now, later = (1.0, 0.0) if TERMINATED[i] else (1 - GAMMA, GAMMA * weight)
            loss += now * entropy(positive, 1) + later * entropy(negative, 1) + entropy(negative, 0)
    _, metrics = objective(agent, slow, BATCH, key=jax.random.key(0))
    np.testing.assert_allclose(metrics["critic_loss"], loss / (2 * N), rtol=1e-4)


def test_the_density_of_an_action_is_that_of_its_sample():
    distribution = TanhNormal(draw(0, 50, ACTION), 0.3 * draw(1, 50, ACTION))
    action, log_prob = distribution.sample_and_log_prob(key=jax.random.key(0))
    np.testing.assert_allclose(distribution.log_prob(action), log_prob, rtol=1e-3, atol=1e-3)
    assert np.isfinite(distribution.log_prob(jnp.ones((50, ACTION)))).all()


def test_behaviour_cloning_moves_the_policy_alone_and_towards_what_was_done():
    agent = Agent.create(Box(), critic="twin-q", depth=4, width=16, key=jax.random.key(0))
    batch = Batch(draw(0, N, 2), jnp.full((N, 2), 0.5), draw(2, N, 2), draw(3, N, 2))
    new, losses = trained(agent, GCBC(), batch, 300)
    assert eqx.tree_equal(new.critic, agent.critic) and new.log_alpha == agent.log_alpha
    assert losses[-1] < losses[0]
    action = new.policy(batch.state, batch.future_goal).mode()
    np.testing.assert_allclose(action, batch.action, atol=0.05)


def trained(agent, objective, batch, updates, rate=3e-3):
    optimizers = adam_optimizers(rate)
    carry = agent, init_optimizers(optimizers, agent, objective), objective.init(agent)
    arrays, static = eqx.partition(carry, eqx.is_array)

    def body(arrays, key):
        *carry, metrics = update(
            *eqx.combine(arrays, static),
            batch,
            objective=objective,
            optimizers=optimizers,
            key=key,
        )
        loss = metrics.get("critic_loss", metrics["actor_loss"])
        return eqx.filter(tuple(carry), eqx.is_array), loss

    run = jax.jit(
        lambda arrays: jax.lax.scan(body, arrays, jax.random.split(jax.random.key(1), updates))
    )
    arrays, losses = run(arrays)
    return eqx.combine(arrays, static)[0], losses


def known_ends() -> Batch:
    """At the goal for ever, but that the first row's world ends there, and the second row's clock:
    values 1 and 1 / (1 - γ). The third leads from outside to the second's: γ / (1 - γ)."""
    outside, ended, running = jnp.eye(3)
    state = jnp.stack([ended, running, outside])
    arrives = jnp.stack([ended, running, running])
    goal = jnp.ones((3, 2))
    return Batch(state, jnp.zeros((3, 2)), goal, goal, arrives, jnp.array([True, False, False]))


@pytest.mark.parametrize("kind", [SAC, TD3])
def test_the_end_of_a_world_has_no_value_and_the_end_of_time_has(kind):
    class Three(Box):
        state_size: int = 3

    agent = Agent.create(
        Three(), critic="twin-q", depth=4, width=32, initial_alpha=0.0, key=jax.random.key(0)
    )
    at_goal = lambda state, goal: jnp.where(goal[..., 0] > 0, state[..., 0] < 0.5, False)
    batch = known_ends()
    # Outside counts as no success until it has arrived: the reward is of the state that follows.
    batch = eqx.tree_at(lambda b: b.next_state, batch, batch.next_state.at[2].set(batch.state[1]))
    objective = kind(at_goal, discount=0.5, polyak_rate=0.1, goals=ALL_FUTURE)
    agent, _ = trained(agent, objective, batch, 1_500)
    values = agent.value(batch.state, batch.action, batch.goal)
    # The policy's own action is not the batch's, so that the values of both must agree there.
    np.testing.assert_allclose(values[0], 1.0, atol=0.1)
    assert values[1] == pytest.approx(2.0, abs=0.3) and values[2] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("variant", ["td", "nce"])
def test_c_learning_finds_the_ratio_of_densities_where_it_is_known(variant):
    """Two places that nobody leaves: each is twice as dense in its future as among all goals."""
    n = 64
    place = jnp.arange(n) // 2 % 2
    state = jax.nn.one_hot(place, 2)
    batch = Batch(state, jnp.zeros((n, 2)), state, state, state, jnp.zeros(n, bool))
    actor = Agent.create(Box(), depth=4, width=8, key=jax.random.key(0)).actor
    agent = Agent(actor, QFunctions((Table(draw(0, 2, 2)), Table(draw(1, 2, 2)))), jnp.zeros(()))
    objective = CLearning(lambda s: s, variant=variant, discount=0.8, polyak_rate=0.05)
    agent, _ = trained(agent, objective, batch, 3_000, rate=1e-2)
    np.testing.assert_allclose(
        agent.critic.values(state, batch.action, state), np.log(2), atol=0.02
    )
    assert (agent.critic.values(state, batch.action, 1 - state) < -3.0).all()


def test_the_policy_of_td3_moves_at_every_second_step_and_its_optimiser_too():
    agent = Agent.create(Box(), critic="twin-q", depth=4, width=8, key=jax.random.key(0))
    objective, optimizers = TD3(Box().success, policy_delay=2), adam_optimizers()
    batch = Batch(*(draw(i, N, 2) for i in range(5)), jnp.zeros(N, bool))
    state, opt_state = objective.init(agent), init_optimizers(optimizers, agent, objective)
    step, moved, counts, followed = eqx.filter_jit(update), [], [], []
    for number in range(4):
        words = dict(objective=objective, optimizers=optimizers, key=jax.random.key(number))
        before = state
        new, opt_state, state, _ = step(agent, opt_state, state, batch, **words)
        # Its slow copies follow with it: all three, as in Algorithm 1 of the paper.
        same = [
            eqx.tree_equal(state.actor, before.actor),
            eqx.tree_equal(state.critic, before.critic),
        ]
        followed.append([not each for each in same])
        moved.append(not eqx.tree_equal(new.actor, agent.actor))
        assert not eqx.tree_equal(new.critic, agent.critic)
        counts.append(int(optax.tree.get(opt_state["actor"], "count")))
        agent = new
    assert moved == [False, True, False, True] and counts == [0, 1, 1, 2]
    assert followed == [[each, each] for each in moved]


def test_slow_copies_follow_by_their_rate():
    agent, slow = make_agent(), make_agent(5).critic
    moved = SAC(near, polyak_rate=0.25).after(agent, slow)
    for new, old, fast in zip(moved.q, slow.q, agent.critic.q, strict=True):
        np.testing.assert_allclose(new.weight, 0.75 * old.weight + 0.25 * fast.weight, rtol=1e-5)


def untrained(objective) -> Any:
    critic = objective.critic
    return Agent.create(Box(), critic=critic, depth=4, width=8, key=jax.random.key(0))


@pytest.mark.parametrize(
    "objective",
    [CRL(), GCBC(), SAC(Box().success), TD3(Box().success), CLearning(Box().achieved_goal)],
    ids=lambda objective: type(objective).__name__,
)
def test_every_objective_trains_in_the_same_step_and_only_some_store_where_actions_led(objective):
    tiny = dict(num_envs=4, unroll_length=5, prefill_length=10, batch_size=8, replay_capacity=40)
    step = TrainStep(Box(), objective, updates_per_env_step=0.1, **tiny)
    state = step.init(untrained(objective), key=jax.random.key(0))
    state = eqx.filter_jit(step.prefill)(state)
    train = eqx.filter_jit(TrainStep.__call__, donate="all-except-first")
    assert (state.buffer.steps.next_state is not None) == objective.needs_next_state
    before = jax.tree.map(jnp.copy, eqx.filter(state.agent.actor, eqx.is_array))
    for _ in range(2):
        state, metrics = train(step, state)
    assert int(state.gradient_steps) == 4 and metrics["nonfinite_from"] == -1
    assert not eqx.tree_equal(before, eqx.filter(state.agent.actor, eqx.is_array))


def test_next_states_are_those_that_were_reached_also_where_an_episode_ended():
    env = Corridor(trap_cell=4, episode_length=3)
    tiny = dict(num_envs=3, unroll_length=9, prefill_length=9, batch_size=4, replay_capacity=18)
    step = TrainStep(env, SAC(env.success), updates_per_env_step=0, **tiny)
    agent = Agent.create(env, critic="twin-q", depth=4, width=8, key=jax.random.key(0))
    state = eqx.filter_jit(step.prefill)(step.init(agent, key=jax.random.key(0)))
    steps = jax.tree.map(lambda leaf: leaf[:9], state.buffer.steps)
    went = np.where(steps.action > 0, 1.0, -1.0)
    np.testing.assert_array_equal(steps.next_state, np.maximum(steps.state + went, 0.0))
    # Every stored step can be drawn, the last of an episode too, and its goal is what it reached.
    assert step.buffer.num_samples(state.buffer) == 27
    drawn = jax.jit(lambda key: step.buffer.stored(state.buffer).sample((2_000,), key=key))
    batch, age = drawn(jax.random.key(1)), np.arange(9) % 3
    last = np.asarray(steps.state)[age == 2].ravel()
    assert {0.0, 2.0} & set(last)
    reached = np.abs(np.asarray(batch.future_goal - batch.state))
    assert reached.max() <= 3.0
    np.testing.assert_array_equal(batch.terminated, batch.next_state[:, 0] == 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: CRL().init(untrained(GCBC())), r"`CRL` trains a Critic, .* no critic"),
        (lambda: SAC(near).init(untrained(CRL())), r"`SAC` trains a QFunc.* Critic: .*'twin-q'"),
        (lambda: SAC(near).init(make_agent(critics=1)), r"`SAC` needs .* at least 2 Q.*has 1"),
        (lambda: CLearning(achieved).init(untrained(GCBC())), r"`CLearning` trains a QFunctions"),
        (lambda: SAC(near, goals=Goals(0.5)), r"`Goals\(future=0.5.*must add up to 1"),
        (lambda: SAC(near, discount=2.0), r"`SAC\(discount=2.0\)` must lie in \[0, 1\]"),
        (lambda: TD3(near, polyak_rate=-1.0), r"`TD3\(polyak_rate=-1.0\)`"),
        (lambda: TD3(near, policy_delay=0), r"`TD3\(policy_delay=0\)`"),
        (
            lambda: SAC(near)(make_agent(), make_agent().critic, Batch(*([jnp.zeros((2, 2))] * 4)),
                              key=jax.random.key(0)),
            r"`SAC` looks one step ahead: it needs data with `next_state`",
        ),
        (lambda: untrained(GCBC()).value(*jnp.zeros((3, 1, 2))), "has no critic"),
        (
            lambda: init_optimizers({"actor": optax.sgd(0.1)}, make_agent(), SAC(near)),
            r"`SAC` trains actor, critic, alpha: an optimiser for `critic` is missing among actor",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_sentence(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


@pytest.mark.parametrize("commanded", [0.0, 0.2])
@pytest.mark.parametrize("objective", ["crl", "gcbc", "sac", "td3", "c-learning"])
def test_arithmetic_is_what_xla_counts(objective, commanded):
    """But for what is not a product, a tenth at this width."""
    shares = {"p_future": 1 - commanded, "p_random": 0.0, "p_commanded": commanded}
    goals = {} if objective == "gcbc" else shares  # which has none of its own
    config = tiny(objective=objective, width=128, batch_size=128, kernel="xla", **goals)
    run = Run(resolved(config), Path("nowhere"))
    step, state = run.step, run.initial()

    def one(state, key):
        batch = step.sample(state, 128, key=key)
        parts = dict(objective=step.objective, optimizers=step.optimizers, key=key)
        return update(state.agent, state.opt_state, state.objective_state, batch, **parts)

    program: Any = eqx.filter_jit(one)
    compiled = program.lower(state, jax.random.key(0)).compile().compiled
    ours = step.audit(state.agent).flops_per_update(128)
    assert 1 < compiled.cost_analysis()["flops"] / ours < 1.2
