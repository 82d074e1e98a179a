"""The train step: what it counts, what it refuses, that it repeats, and that it learns."""

import math
from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_eqx import (
    Agent,
    best_of,
    Critic,
    deterministic,
    evaluate,
    objectives,
    partly_deterministic,
    stochastic,
    TrainStep,
    UserError,
)
from crl_eqx.energy import Cosine
from crl_eqx.nn import Normalizer, TanhNormal

from .probes import Box, Corridor, Logbook


train = eqx.filter_jit(TrainStep.__call__, donate="all-except-first")
prefill = eqx.filter_jit(TrainStep.prefill, donate="all-except-first")


class Tally(objectives.AbstractObjective):
    """Every update lowers log α by 1 (with plain gradient descent): an abacus."""

    nan_below: jax.Array = eqx.field(default_factory=lambda: jnp.asarray(-jnp.inf))

    def __call__(self, agent, state, batch, *, key):
        del state, batch, key
        metric = jnp.where(agent.log_alpha < self.nan_below, jnp.nan, agent.log_alpha)
        return agent.log_alpha, {"metric": metric}


SGD = {name: optax.sgd(1.0) for name in ("actor", "critic", "alpha")}
TINY: dict[str, Any] = {
    "num_envs": 3,
    "unroll_length": 7,
    "prefill_length": 20,
    "batch_size": 5,
    "replay_capacity": 30,
}


@eqx.filter_jit
def tiny_agent(key):
    return Agent.create(Box(), depth=4, width=4, repr_size=2, key=key)


class Constant(eqx.Module):
    """A policy of one number, the same everywhere, so that what is not about networks is fast."""

    mean: jax.Array
    size: int

    def __call__(self, state, goal):
        mean = jnp.broadcast_to(self.mean, (*state.shape[:-1], self.size))
        return TanhNormal(mean, jnp.zeros_like(mean))


def light_agent(env, normalizers=(None, None)):
    actor = Constant(jnp.asarray(0.3), env.action_size)
    sa_encoder = lambda state, action: action[..., :1]
    return Agent(
        actor, Critic(sa_encoder, lambda goal: goal[..., :1], Cosine()), jnp.zeros(()), *normalizers
    )


def started(step, seed=0, agent=None):
    agent = light_agent(step.env) if agent is None else agent
    return prefill(step, step.init(agent, key=jax.random.key(seed)))


@pytest.mark.parametrize(
    "ratio",
    [Fraction(1, 50), Fraction(2, 21), 0.06],
    ids=["less than one an unroll", "a whole number an unroll", "a float"],
)
@pytest.mark.parametrize("metrics_of", ["all", "last"])
def test_updates_per_environment_step_are_kept_exactly(ratio, metrics_of):
    step = TrainStep(Box(), Tally(), SGD, updates_per_env_step=ratio, metrics_of=metrics_of, **TINY)
    state = started(step)
    exact = Fraction(6, 100) if ratio == 0.06 else ratio
    for unroll in range(1, 61):
        state, _ = train(step, state)
        assert state.env_steps == step.prefill_env_steps + unroll * 21
        assert state.gradient_steps == math.floor(exact * unroll * 21)
        assert float(state.agent.log_alpha) == -int(state.gradient_steps)


def test_updates_from_what_is_stored_leave_the_environments_alone():
    step = TrainStep(Box(), Tally(), SGD, **TINY)
    before = started(step)
    after, metrics = step.learn_stored(before, 3)
    assert after.gradient_steps == 3 and float(after.agent.log_alpha) == -3
    assert float(metrics["metric"]) == -1.0  # the mean of 0, -1 and -2
    assert eqx.tree_equal(after.episodes, before.episodes)
    assert after.env_steps == before.env_steps


def test_metrics_of_the_last_update_alone():
    step = TrainStep(Box(), Tally(), SGD, metrics_of="last", **TINY)
    after, metrics = step.learn_stored(started(step), 3)
    assert after.gradient_steps == 3 and float(after.agent.log_alpha) == -3
    assert float(metrics["metric"]) == -2.0

    # 2.5 updates an unroll: 2, then 3. The ninth is the first of a small number.
    step = TrainStep(
        Box(),
        Tally(jnp.asarray(-7.5)),
        SGD,
        updates_per_env_step=Fraction(5, 42),
        metrics_of="last",
        **TINY,
    )
    state, found = started(step), []
    for _ in range(4):
        state, metrics = train(step, state)
        found.append((float(metrics["metric"]), int(metrics["nonfinite_from"])))
    assert found[:3] == [(-1.0, -1), (-4.0, -1), (-6.0, -1)]
    assert np.isnan(found[3][0]) and found[3][1] == 9 and state.gradient_steps == 10


@pytest.mark.parametrize("ratio", [Fraction(5, 42), Fraction(1, 7)], ids=["2.5", "3"])
def test_what_is_measured_changes_no_update(ratio):
    """The same batches and keys, also where one update of an unroll is skipped."""
    found = []
    for metrics_of in ("all", "last"):
        step = TrainStep(Box(), updates_per_env_step=ratio, metrics_of=metrics_of, **TINY)
        state = prefill(step, step.init(tiny_agent(jax.random.key(0)), key=jax.random.key(1)))
        for _ in range(3):
            state, _ = train(step, state)
        found.append(state)
    for ours, theirs in zip(*(jax.tree.leaves(state.agent) for state in found), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert found[0].gradient_steps == found[1].gradient_steps == math.floor(3 * 21 * ratio)


@pytest.mark.parametrize(
    ("ratio", "exact"),
    [(1 / 3, Fraction(1, 3)), (0.1, Fraction(1, 10)), (800 / (512 * 62), Fraction(25, 992))]
    + [(Fraction(1, 300_007), Fraction(1, 300_007))],
)
def test_a_ratio_is_taken_for_the_fraction_that_it_stands_for(ratio, exact):
    step = TrainStep(Box(), updates_per_env_step=ratio, **TINY)
    assert step.updates_per_unroll == 21 * exact


def test_a_ratio_of_zero_collects_without_updates():
    step = TrainStep(Box(), updates_per_env_step=0.0, **TINY)
    state = started(step)
    before = jax.tree.map(jnp.copy, eqx.filter(state.agent, eqx.is_array))
    state, _ = train(step, state)
    assert state.gradient_steps == 0 and state.env_steps == 4 * 21
    assert eqx.tree_equal(eqx.filter(state.agent, eqx.is_array), before)


@pytest.mark.parametrize(("asked", "unrolls"), [(1, 1), (7, 1), (8, 2), (20, 3), (21, 3)])
def test_the_prefill_is_rounded_up_to_whole_unrolls(asked, unrolls):
    step = TrainStep(Box(), Tally(), SGD, **{**TINY, "prefill_length": asked})
    assert step.prefill_unrolls == unrolls
    assert step.prefill_env_steps == unrolls * 7 * 3 >= asked * 3


def test_the_prefill_fills_and_does_not_train():
    step = TrainStep(Box(), Tally(), SGD, **TINY)
    state = started(step)
    assert state.env_steps == step.prefill_env_steps == 63
    assert state.gradient_steps == 0 and state.agent.log_alpha == 0
    assert state.buffer.inserted == 21 and step.buffer.size(state.buffer) == 21
    assert step.buffer.num_samples(state.buffer) == 3 * (21 - 2)  # an episode of 20, and one step


@pytest.mark.parametrize("batch_size", [64, 1, 0])
def test_a_batch_that_the_prefill_cannot_fill_is_refused(batch_size):
    with pytest.raises(UserError, match=rf"`TrainStep\(batch_size={batch_size}\)`.* 63 steps"):
        TrainStep(Box(), **{**TINY, "batch_size": batch_size})


def test_the_replay_capacity_limits_the_batch_too():
    TrainStep(Box(), **{**TINY, "batch_size": 63})
    with pytest.raises(UserError, match="30 steps"):
        TrainStep(Box(), **{**TINY, "replay_capacity": 10, "batch_size": 31})


def test_a_replay_smaller_than_one_unroll_is_refused():
    with pytest.raises(UserError, match=r"replay_capacity=6\)`.*unroll_length=7"):
        TrainStep(Box(), **{**TINY, "replay_capacity": 6})


def test_episodes_without_a_future_are_refused():
    with pytest.raises(UserError, match="episode_length=1.*at least 2"):
        TrainStep(Corridor(episode_length=1), **TINY)


@pytest.mark.parametrize(("asked", "length"), [(None, 5), (3, 3), (50, 5)])
def test_training_may_end_episodes_earlier_than_the_environment_but_never_later(asked, length):
    step = TrainStep(Logbook(), Tally(), SGD, train_episode_length=asked, **TINY)
    state = started(step)
    np.testing.assert_array_equal(state.buffer.steps.episode[:21, 0], np.arange(21) // length)
    episodes = evaluate(deterministic(state.agent), step.env, 3, key=jax.random.key(2)).per_episode
    assert (episodes["episode_length"] == 5).all()


def test_training_s_episodes_need_a_future_too():
    with pytest.raises(
        UserError, match=r"^`TrainStep\(train_episode_length=1\)` must be at least 2"
    ):
        TrainStep(Box(), train_episode_length=1, **TINY)


def numbers(state):
    """Every array of a state as numpy, keys included."""
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return [np.asarray(raw(leaf)) for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_array))]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(numbers(a), numbers(b), strict=True))


@pytest.fixture(scope="module")
def crl():
    return TrainStep(Box(), updates_per_env_step=Fraction(3, 21), **TINY)


def test_a_run_is_a_function_of_its_key(crl):
    agent, metrics = tiny_agent(jax.random.key(0)), {}
    one, again, other = (started(crl, seed, agent) for seed in (0, 0, 1))
    for _ in range(3):
        (one, metrics), (again, _), (other, _) = (train(crl, s) for s in (one, again, other))
    assert same(one, again) and not same(one, other)
    assert all(jnp.isfinite(value) for value in metrics.values())
    assert metrics["nonfinite_from"] == -1


def test_the_metrics_say_what_was_asked_for_and_are_not_constant(crl):
    state = started(crl, agent=tiny_agent(jax.random.key(0)))
    rows = []
    for _ in range(8):
        state, metrics = train(crl, state)
        rows.append({name: float(value) for name, value in metrics.items()})
    named = {"critic_loss", "actor_loss", "alpha_loss", "categorical_accuracy", "logsumexp",
             "logits_positive", "logits_negative", "entropy", "alpha", "actor_grad_norm",
             "critic_grad_norm", "alpha_grad_norm", "actor_update_norm", "critic_update_norm",
             "alpha_update_norm"}  # fmt: skip
    assert named <= rows[0].keys()
    for name in named:
        assert len({row[name] for row in rows}) > 1, name
    # 77 steps in all: the episodes end after 20 (still in the prefill), 40 and 60 of them.
    assert sum(row["episodes"] for row in rows) == 3 * 2
    assert all(row["failures"] == 0 for row in rows)


class ArrayBox(Box):
    """A box whose limits are an array of its own, of a shape that the state has too."""

    limit: jax.Array = eqx.field(default_factory=lambda: jnp.ones(()))

    def step(self, env_state, action):
        moved = super().step(env_state, action)
        return eqx.tree_at(lambda s: s.state, moved, jnp.clip(moved.state, -1, self.limit))


def test_donation_consumes_the_state_but_neither_the_agent_nor_the_environment():
    env = ArrayBox()
    step = TrainStep(env, Tally(), SGD, updates_per_env_step=Fraction(2, 21), **TINY)
    agent = light_agent(step.env)
    first = step.init(agent, key=jax.random.key(1))
    state = prefill(step, first)
    before = state.buffer.steps.state
    for _ in range(2):
        state, _ = train(step, state)
    assert first.buffer.steps.state.is_deleted() and before.is_deleted()
    mine = [*jax.tree.leaves(eqx.filter(agent, eqx.is_array)), env.limit]
    assert not any(leaf.is_deleted() for leaf in mine)
    assert agent.log_alpha == 0 and state.agent.log_alpha == -4


def test_the_replay_holds_what_the_environment_did():
    step = TrainStep(Logbook(), Tally(), SGD, **TINY)
    state = started(step)
    for _ in range(2):
        state, _ = train(step, state)
    assert state.buffer.inserted == 35
    time = np.arange(35 - 30, 35)  # what is left of it after going round the ring
    ages = np.asarray(state.buffer.steps.state)[time % 30, :, 1]
    np.testing.assert_array_equal(ages, np.repeat(time[:, None] % 5, 3, axis=1))
    episodes = np.asarray(state.buffer.steps.episode)[time % 30]
    np.testing.assert_array_equal(episodes, np.repeat(time[:, None] // 5, 3, axis=1))


def test_running_moments_see_every_collected_state_and_no_gradient():
    step = TrainStep(Box(), Tally(), SGD, updates_per_env_step=Fraction(1, 21), **TINY)
    state, _ = train(step, started(step, agent=light_agent(Box(), (Normalizer(2), Normalizer(2)))))
    stored = np.asarray(state.buffer.steps.state)[:28].reshape(-1, 2)
    for moments in (state.agent.state_normalizer, state.agent.goal_normalizer):
        assert moments is not None
        assert moments.count == len(stored) == 84
        np.testing.assert_allclose(moments.mean, stored.mean(0), atol=1e-5)
        np.testing.assert_allclose(moments.sum_of_squares / 84, stored.var(0), rtol=1e-4)


@pytest.mark.parametrize(("nan_below", "expected"), [(-7.5, 8), (-100.0, -1), (-3.5, 4)])
def test_the_gradient_step_where_numbers_stop_being_finite_is_named(nan_below, expected):
    ratio = Fraction(5, 42)  # 2.5 updates an unroll
    step = TrainStep(Box(), Tally(jnp.asarray(nan_below)), SGD, updates_per_env_step=ratio, **TINY)
    state, found = started(step), []
    for _ in range(4):
        state, metrics = train(step, state)
        found.append(int(metrics["nonfinite_from"]))
    assert state.gradient_steps == 10
    assert [step for step in found if step >= 0][:1] == ([expected] if expected >= 0 else [])


def test_the_averaged_policy_follows_the_trained_one_and_acts_in_its_place():
    step = TrainStep(Box(), **TINY, updates_per_env_step=2 / 21, policy_average=4)
    state = step.init(tiny_agent(jax.random.key(0)), key=jax.random.key(1))
    state = prefill(step, state)
    weights = lambda actor: np.array(actor.network.head.weight)
    expected = weights(state.agent.actor)
    for _ in range(3):
        state, _ = train(step, state)
        share = 1 - math.exp(-2 / 4)
        expected = expected + share * (weights(state.agent.actor) - expected)
    np.testing.assert_allclose(weights(state.acting_agent.actor), expected, rtol=1e-5)
    assert not np.allclose(weights(state.acting_agent.actor), weights(state.agent.actor))
    assert eqx.tree_equal(state.acting_agent.critic, state.agent.critic)
    plain = TrainStep(Box(), **TINY)
    state = plain.init(tiny_agent(jax.random.key(0)), key=jax.random.key(1))
    assert state.average is None and state.acting_agent is state.agent
    with pytest.raises(UserError, match="policy_average=-1"):
        TrainStep(Box(), **TINY, policy_average=-1)


def test_a_share_of_the_environments_acts_deterministically():
    agent, state, goal = tiny_agent(jax.random.key(0)), jnp.ones((8, 2)), jnp.zeros((8, 2))
    key = jax.random.key(1)
    calm = deterministic(agent)(state, goal, key)
    for share, first in ((0.0, 0), (0.25, 2), (1.0, 8)):
        actions = partly_deterministic(share)(agent)(state, goal, key)
        np.testing.assert_array_equal(jnp.all(actions == calm, axis=1), np.arange(8) < first)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"`partly_deterministic\(1.5\)` must be given a share"):
        partly_deterministic(1.5)


@pytest.mark.parametrize("acting", [stochastic, deterministic, best_of(4)])
def test_the_policy_collects_as_it_is_told_to(acting):
    step = TrainStep(Box(), Tally(), SGD, acting=acting, **TINY)
    state = started(step)
    steps = jax.tree.map(lambda leaf: leaf[:21], state.buffer.steps)
    modes = eqx.filter_jit(lambda agent: agent.act(steps.state, steps.goal))(state.agent)
    as_mode = np.isclose(steps.action, modes, atol=1e-5)
    assert as_mode.all() if acting is deterministic else not as_mode.any()


def operations(depth):
    """Operations in the lowered train step of networks of this depth; nothing is allocated."""
    step = TrainStep(Box(), updates_per_env_step=Fraction(3, 21), **TINY)

    def initial(key):
        return step.init(Agent.create(Box(), depth=depth, width=8, key=key), key=key)

    state = eqx.filter_eval_shape(initial, jax.random.key(0))
    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    shapes, static = eqx.partition(state, is_shape)
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes.agent))

    def run(shapes):
        return eqx.filter(step(eqx.combine(shapes, static)), eqx.is_array)

    lowered = jax.jit(run).lower(shapes)
    return size, sum(" = " in line for line in lowered.as_text().splitlines())


def test_the_lowered_train_step_is_as_long_at_depth_1024_as_at_depth_16():
    (shallow_size, shallow), (deep_size, deep) = operations(16), operations(1024)
    assert deep_size > 20 * shallow_size
    assert deep == shallow > 100


def test_contrastive_rl_learns_to_reach_goals_in_a_box():
    step = TrainStep(
        Box(),
        num_envs=32,
        unroll_length=20,
        prefill_length=60,
        batch_size=128,
        updates_per_env_step=Fraction(40, 640),
        replay_capacity=600,
        discount=0.9,
    )
    make = lambda key: Agent.create(Box(), depth=4, width=64, key=key)
    agent = eqx.filter_jit(make)(jax.random.key(0))
    score = eqx.filter_jit(
        lambda agent, key: evaluate(deterministic(agent), Box(), 128, key=key).summary()
    )
    before = score(agent, jax.random.key(1))
    state = prefill(step, step.init(agent, key=jax.random.key(2)))
    rows = []
    for _ in range(25):
        state, metrics = train(step, state)
        rows.append(metrics)
    after = score(state.agent, jax.random.key(1))
    assert state.gradient_steps == 1000
    assert before["success_rate"] < 0.3
    assert after["success_rate"] >= 0.9
    assert after["final_distance"] < 0.2 < before["final_distance"]
    assert rows[-1]["categorical_accuracy"] > 2 * rows[0]["categorical_accuracy"]


class Gone(Box):
    """Every episode ends with its first step."""

    def step(self, env_state, action):
        return eqx.tree_at(lambda e: e.terminated, super().step(env_state, action), jnp.array(True))


def test_a_run_that_could_never_learn_does_not_begin():
    step = TrainStep(Gone(), num_envs=2, unroll_length=4, prefill_length=8, batch_size=4)
    agent = Agent.create(Gone(), depth=4, width=8, key=jax.random.key(0))
    with pytest.raises(UserError, match="every episode of `Gone` ends at once"):
        step.start(agent, key=jax.random.key(1))
