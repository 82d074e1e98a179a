"""One update: every gradient is the right one, taken at the old parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from crl_eqx import (
    adam,
    adam_optimizers,
    Agent,
    Batch,
    Critic,
    init_optimizers,
    losses,
    update,
    UserError,
)
from crl_eqx._update import trainable, with_trainable
from crl_eqx.energy import Cosine, Dot
from crl_eqx.nn import Compute, Encoder, Linear, Normalizer
from crl_eqx.objectives import CRL, Goals
from crl_eqx.objectives._crl import temperature_loss

from .probes import Box


STATE, ACTION, GOAL, BATCH = 3, 2, 2, 6


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def achieved(state):
    """The goal is a part of the state, so that forgetting to take it is an error."""
    return state[..., :GOAL]


BATCHES = Batch(draw(0, BATCH, STATE), draw(1, BATCH, ACTION), draw(2, BATCH, GOAL),
                achieved(draw(3, BATCH, STATE)))  # fmt: skip


class Certain(eqx.Module):
    """A distribution whose 'samples' are always tanh(mean), with a made-up log-density."""

    mean: jax.Array

    def sample_and_log_prob(self, *, key):
        del key
        return jnp.tanh(self.mean), -jnp.sum(jnp.square(self.mean), axis=-1)


class CertainActor(eqx.Module):
    linear: Linear

    def __call__(self, state, goal):
        return Certain(self.linear(jnp.concatenate([state, goal], axis=-1)))


@eqx.filter_jit
def make(actor=None, energy=None):
    keys = jax.random.split(jax.random.key(0), 3)
    small = dict(depth=4, width=8, repr_size=5)
    return Agent(
        CertainActor(Linear(STATE + GOAL, ACTION, key=keys[0])) if actor is None else actor,
        Critic(
            Encoder(STATE + ACTION, key=keys[1], **small),
            Encoder(GOAL, key=keys[2], **small),
            Cosine(0.5) if energy is None else energy,
        ),
        jnp.asarray(-0.7),
    )


@pytest.fixture(scope="module")
def agent():
    return make()


SGD = {name: optax.sgd(1.0) for name in ("actor", "critic", "alpha")}


def parameters(agent):
    return trainable(agent, CRL())


def unjitted_sgd(agent, objective, batch=BATCHES, key=None):
    """(gradients, metrics): a step of size 1 subtracts exactly the gradient."""
    new, _, _, metrics = update(
        agent,
        init_optimizers(SGD, agent, objective),
        objective.init(agent),
        batch,
        objective=objective,
        optimizers=SGD,
        key=jax.random.key(0) if key is None else key,
    )
    grads = jax.tree.map(lambda old, new: old - new, parameters(agent), parameters(new))
    return grads, metrics


sgd = eqx.filter_jit(unjitted_sgd)


@eqx.filter_jit
def separate(agent, goals):
    """The three losses written out, each differentiated alone with respect to its own group."""
    s, a, g = BATCHES.state, BATCHES.action, BATCHES.future_goal

    def critic(group):
        critic = eqx.combine(group, agent.critic)
        logits = critic.energy.pairwise(critic.sa_encoder(s, a), critic.g_encoder(g))
        lse = jax.nn.logsumexp(logits, axis=1)
        return jnp.mean(lse - jnp.diag(logits)) + 0.1 * jnp.mean(lse**2)

    def policy(group):
        distribution = eqx.combine(group, agent.actor)(s, goals)
        action, log_prob = distribution.sample_and_log_prob(key=None)
        value = agent.value(s, action, goals)
        return jnp.mean(jnp.exp(-0.7) * log_prob - value)

    def temperature(log_alpha):
        _, log_prob = agent.actor(s, goals).sample_and_log_prob(key=None)
        return jnp.exp(log_alpha) * jnp.mean(-log_prob - (-0.5 * ACTION))

    groups = parameters(agent)
    losses = {"critic": critic, "actor": policy, "alpha": temperature}
    both = {name: jax.value_and_grad(loss)(groups[name]) for name, loss in losses.items()}
    return {n: v for n, (v, _) in both.items()}, {n: g for n, (_, g) in both.items()}


ROLLED = jnp.roll(BATCHES.future_goal, 1, axis=0)


@pytest.mark.parametrize(
    ("options", "goals"),
    [
        ({}, BATCHES.future_goal),
        ({"goals": Goals(commanded=1.0)}, BATCHES.goal),
        ({"goals": Goals(random=1.0)}, ROLLED),
    ],
    ids=["future", "commanded", "rolled"],
)
def test_an_update_makes_the_three_separate_gradients_at_the_old_parameters(agent, options, goals):
    grads, metrics = sgd(agent, CRL(**options))
    values, expected = separate(agent, goals)
    for name, group in expected.items():
        np.testing.assert_allclose(metrics[f"{name}_loss"], values[name], rtol=1e-4)
        norm = optax.tree.norm(group)
        np.testing.assert_allclose(metrics[f"{name}_grad_norm"], norm, rtol=1e-3)
        assert norm > 0
        for ours, theirs in zip(jax.tree.leaves(grads[name]), jax.tree.leaves(group), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


class Sizes(Box):
    state_size: int = STATE
    action_size: int = ACTION
    goal_size: int = GOAL


def test_kernels_change_no_gradient():
    """`packed` runs the three networks together, and the policy's critic without its weights."""

    def grads(kernel):
        build = lambda key: Agent.create(
            Sizes(), depth=8, width=8, compute=Compute(kernel), key=key
        )
        objective = CRL(goals=Goals(future=0.5, random=0.5))
        return sgd(eqx.filter_jit(build)(jax.random.key(0)), objective)[0]

    ours, theirs = grads("packed"), grads("xla")
    for name in theirs:
        leaves, others = jax.tree.leaves(ours[name]), jax.tree.leaves(theirs[name])
        difference = optax.tree.norm([a - b for a, b in zip(leaves, others, strict=True)])
        assert difference < 2e-5 * optax.tree.norm(others), name


def test_the_policy_s_loss_does_not_touch_the_critic_or_the_temperature(agent):
    objective, goal = CRL(), BATCHES.future_goal

    gradient = eqx.filter_jit(
        eqx.filter_grad(
            lambda agent: objective.actor_loss(
                agent,
                BATCHES.state,
                agent.policy(BATCHES.state, goal),
                agent.critic.g_repr(goal),
                key=jax.random.key(0),
            )[0]
        )
    )
    norms = {n: optax.tree.norm(g) for n, g in parameters(gradient(agent)).items()}
    assert norms["actor"] > 0 and norms["critic"] == norms["alpha"] == 0


def test_rolling_takes_about_the_share_of_goals_that_was_asked_for():
    goal = jnp.arange(4000.0)[:, None]
    objective = CRL(goals=Goals(future=0.75, random=0.25))
    batch = Batch(goal, goal, goal, goal)
    picked, of_policy = objective._policy_goals(batch, goal, key=jax.random.key(0))
    rolled = np.asarray(picked != goal)
    np.testing.assert_array_equal(np.asarray(picked)[rolled], (np.asarray(goal)[rolled] - 1) % 4000)
    np.testing.assert_array_equal(of_policy(make(), 2 * goal), 2 * picked)
    assert abs(rolled.mean() - 0.25) < 0.03


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.3), (0.0, 0.4, 0.6), (0.7, 0.0, 0.3)], ids=str)
def test_a_mixture_takes_its_shares_and_goals_and_representations_agree(agent, shares):
    n = 20_000
    own, other = draw(10, n, GOAL), draw(11, n, GOAL)
    objective = CRL(goals=Goals(*shares))
    batch = Batch(draw(12, n, STATE), draw(13, n, ACTION), other, achieved(draw(14, n, STATE)))

    @eqx.filter_jit
    def picked_and_seen(agent):
        picked, of_policy = objective._policy_goals(batch, own, key=jax.random.key(0))
        return picked, of_policy(agent, agent.critic.g_repr(own)), agent.critic.g_repr(picked)

    picked, representation, expected = picked_and_seen(agent)
    sources = own, jnp.roll(own, 1, axis=0), other
    found = np.stack([(picked == source).all(axis=1) for source in sources])
    assert (found.sum(axis=0) == 1).all()
    np.testing.assert_allclose(found.mean(axis=1), shares, atol=0.012)  # 3.4 standard errors
    np.testing.assert_allclose(representation, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        (
            dict(future=1.0, random=0.5),
            r"commanded=0.0\)` must add up to 1, and add up to 1.5",
        ),
        (dict(future=0.2, random=0.3), "must add up to 1, and add up to 0.5"),
        ({}, "must add up to 1, and add up to 0"),
        (dict(future=1.5, random=-0.5), r"`Goals\(future=1.5\)` must lie in"),
        (
            dict(future=0.5, random=-0.5, commanded=1.0),
            r"`Goals\(random=-0.5\)` must lie in \[0, 1\]",
        ),
        (dict(future=float("nan")), r"`Goals\(future=nan\)` must lie in"),
    ],
)
def test_shares_of_goals_that_make_no_whole_are_refused(shares, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        Goals(**shares)
    assert "\n" not in str(caught.value)


def test_shares_may_be_written_in_decimals_that_no_float_holds():
    assert Goals(future=0.1, random=0.2, commanded=0.7).random == 0.2


class Counting(eqx.Module):
    """An encoder that remembers how often it was asked."""

    size: int
    calls: list = eqx.field(static=True, default_factory=list)

    def __call__(self, *inputs):
        self.calls.append(inputs)
        return jnp.concatenate(inputs, axis=-1)[..., : self.size]


@pytest.mark.parametrize(
    ("shares", "times"),
    [((1.0, 0.0, 0.0), 1), ((0.5, 0.5, 0.0), 1), ((0.0, 0.0, 1.0), 2), ((0.5, 0.3, 0.2), 2)],
    ids=["future", "random too", "commanded", "all three"],
)
def test_goals_are_encoded_once_and_shared_by_both_losses(shares, times):
    sa_encoder, g_encoder = Counting(2), Counting(2)
    plain = make()
    agent = Agent(plain.actor, Critic(sa_encoder, g_encoder, Dot()), plain.log_alpha)
    objective = CRL(goals=Goals(*shares))
    jax.eval_shape(lambda key: objective(agent, None, BATCHES, key=key), jax.random.key(0))
    assert len(g_encoder.calls) == times
    assert len(sa_encoder.calls) == 2  # the batch's actions, and the policy's


def accuracy_of(goal_order):
    """With φ = s and ψ = g one-hot, the critic is right where a goal stands in its own row."""
    eye = jnp.eye(4)
    agent = Agent(
        CertainActor(Linear(8, 2, key=jax.random.key(0))),
        Critic(Counting(4), Counting(4), Dot()),
        jnp.zeros(()),
    )
    batch = Batch(eye, jnp.zeros((4, 2)), eye, eye[jnp.array(goal_order)])
    _, metrics = CRL()(agent, None, batch, key=jax.random.key(0))
    return metrics


def test_the_diagnostics_are_real():
    right, half, wrong = (accuracy_of(o) for o in ([0, 1, 2, 3], [0, 1, 3, 2], [1, 2, 3, 0]))
    assert [m["categorical_accuracy"] for m in (right, half, wrong)] == [1.0, 0.5, 0.0]
    assert [m["logits_positive"] for m in (right, half, wrong)] == [1.0, 0.5, 0.0]
    np.testing.assert_allclose(
        [m["logits_negative"] for m in (right, half, wrong)], [0, 2 / 12, 4 / 12], atol=1e-6
    )
    np.testing.assert_allclose(right["logsumexp"], np.log(np.e + 3), rtol=1e-6)


@pytest.mark.parametrize("name", losses.ALL)
def test_the_critic_s_loss_is_the_chosen_one_and_its_weighted_penalty(name):
    loss = losses.ALL[name]
    sa_repr, g_repr = BATCHES.state[:, :2], BATCHES.future_goal
    logits = sa_repr @ g_repr.T
    value, _ = CRL(loss, logsumexp_penalty=0.3).critic_loss(Dot(), sa_repr, g_repr)
    expected = loss(logits) + 0.3 * losses.logsumexp_penalty(logits, loss)
    assert value == pytest.approx(float(expected), rel=1e-5)
    default, _ = CRL(loss).critic_loss(Dot(), sa_repr, g_repr)
    assert (value - default) / 2 == pytest.approx(float(default - loss(logits)), rel=1e-3, abs=1e-6)


def temperature_gradient(mean):
    """The actor's log-density is -Σ mean²: an entropy of ACTION · mean² against -0.5 · ACTION."""
    actor = CertainActor(Linear(STATE + GOAL, ACTION, key=jax.random.key(0)))
    flat = eqx.tree_at(
        lambda a: (a.linear.weight, a.linear.bias),
        actor,
        (jnp.zeros((STATE + GOAL, ACTION)), jnp.full(ACTION, mean)),
    )
    _, log_prob = flat(BATCHES.state, BATCHES.goal).sample_and_log_prob(key=None)
    return jax.grad(temperature_loss)(jnp.asarray(-0.7), log_prob, 0.25 * ACTION)


def test_the_temperature_rises_below_the_target_entropy_and_falls_above():
    assert temperature_gradient(0.1) < 0 < temperature_gradient(0.9)
    assert temperature_gradient(0.5) == pytest.approx(0, abs=1e-6)


def test_a_temperature_of_zero_stays_zero_and_nothing_else_becomes_infinite():
    build = lambda key: Agent.create(Sizes(), depth=4, width=8, initial_alpha=0.0, key=key)
    agent = eqx.filter_jit(build)(jax.random.key(0))
    state, step = init_optimizers(adam_optimizers(0.1), agent, CRL()), eqx.filter_jit(update)
    words = dict(objective=CRL(), optimizers=adam_optimizers(0.1))
    for number in range(3):
        words["key"] = jax.random.key(number)
        agent, state, _, metrics = step(agent, state, None, BATCHES, **words)
        assert [name for name, value in metrics.items() if not np.isfinite(value)] == []
        assert metrics["alpha"] == metrics["alpha_grad_norm"] == metrics["alpha_update_norm"] == 0
    assert agent.log_alpha == -jnp.inf
    rest = eqx.tree_at(lambda a: a.log_alpha, agent, jnp.zeros(()))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((parameters(rest), state)))


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adagrad", "clipped"])
def test_no_optimiser_moves_a_temperature_of_zero(name):
    optimizer = adam(0.1, max_grad_norm=1.0) if name == "clipped" else getattr(optax, name)(0.1)
    assert after(optimizer, [0.0, 0.0], parameter=-jnp.inf) == -jnp.inf


def test_a_temperature_of_zero_leaves_the_policy_the_energy_alone(agent):
    """mean(α log π - f) without its first half: neither loss nor gradient knows of the entropy."""
    cold = eqx.tree_at(lambda a: a.log_alpha, agent, jnp.asarray(-jnp.inf))
    grads, metrics = sgd(cold, CRL())
    goal = BATCHES.future_goal

    def energy(actor):
        action = jnp.tanh(actor(BATCHES.state, goal).mean)
        return -jnp.mean(agent.value(BATCHES.state, action, goal))

    value, expected = eqx.filter_jit(eqx.filter_value_and_grad(energy))(agent.actor)
    assert metrics["alpha_loss"] == 0
    np.testing.assert_allclose(metrics["actor_loss"], value, rtol=1e-4)
    for ours, theirs in zip(
        jax.tree.leaves(grads["actor"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_groups_hold_every_parameter_once_and_no_running_moment(agent):
    moments = Normalizer(STATE), Normalizer(GOAL)
    full = eqx.tree_at(
        lambda a: (a.state_normalizer, a.goal_normalizer),
        agent,
        moments,
        is_leaf=lambda leaf: leaf is None,
    )
    inside = len(jax.tree.leaves(parameters(full)))
    everything = len(jax.tree.leaves(eqx.filter(full, eqx.is_inexact_array)))
    assert inside == everything - len(jax.tree.leaves(moments))
    zeros = jax.tree.map(jnp.zeros_like, parameters(full))
    emptied = with_trainable(full, zeros)
    assert not any(leaf.any() for leaf in jax.tree.leaves(parameters(emptied)))
    assert emptied.state_normalizer is not None
    same = with_trainable(emptied, parameters(full))
    assert eqx.tree_equal(same, full)


def test_each_group_has_its_own_optimiser(agent):
    optimizers = {**adam_optimizers(3e-4), "critic": adam(1e-2), "alpha": optax.sgd(0.0)}
    step = eqx.filter_jit(update)
    new, _, _, metrics = step(
        agent,
        init_optimizers(optimizers, agent, CRL()),
        None,
        BATCHES,
        objective=CRL(),
        optimizers=optimizers,
        key=jax.random.key(0),
    )
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b), parameters(agent), parameters(new))
    largest = {n: max(leaf.max() for leaf in jax.tree.leaves(group)) for n, group in moved.items()}
    # The first step of Adam has the size of its learning rate.
    assert largest["actor"] == pytest.approx(3e-4, rel=1e-2)
    assert largest["critic"] == pytest.approx(1e-2, rel=1e-2)
    assert largest["alpha"] == 0
    for name, group in moved.items():
        assert metrics[f"{name}_update_norm"] == pytest.approx(
            float(optax.tree.norm(group)), rel=1e-2
        )


def after(optimizer, gradients, parameter=1.0):
    """A parameter after some gradients."""
    with jax.numpy_dtype_promotion("standard"):
        parameter, state = jnp.asarray(parameter), optimizer.init(jnp.asarray(parameter))
        for gradient in gradients:
            step, state = optimizer.update(jnp.asarray(gradient), state, parameter)
            parameter = parameter + step
    return float(parameter)


def test_weight_decay_and_clipping_are_not_accepted_and_ignored():
    assert after(adam(0.1), [0.0]) == 1
    assert after(adam(0.1, weight_decay=0.5), [0.0]) == pytest.approx(0.95)
    # Clipped to the same length, two gradients make two full steps; else the first dwarfs the next.
    assert after(adam(0.1, max_grad_norm=1.0), [1e3, 2.0]) == pytest.approx(0.8, abs=1e-4)
    assert after(adam(0.1), [1e3, 2.0]) > 0.82
    assert after(adam(lambda count: 0.1 / (1.0 + count)), [1.0, 1.0]) == pytest.approx(
        0.85, abs=1e-4
    )


def test_a_temperature_that_is_not_learned_is_no_parameter():
    fixed = make(energy=Cosine(0.5, learned=False))
    learned = make(energy=Cosine(0.5))
    count = lambda agent: len(jax.tree.leaves(parameters(agent)["critic"]))
    assert count(learned) == count(fixed) + 1


class Scaled(Agent):
    """An agent of one's own."""

    factor: float = 2.0

    def normalized_state(self, state):
        return self.factor * state


class Unit(Critic):
    """A critic of one's own, whose representations lie on the unit sphere."""

    def sa_repr(self, state, action=None):
        rows = super().sa_repr(state, action)
        return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)

    def g_repr(self, goal):
        rows = super().g_repr(goal)
        return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)


def test_classes_of_one_s_own_stay_and_are_asked_themselves():
    agent = Scaled.create(Box(), depth=4, width=8, key=jax.random.key(0))
    critic = Unit(*jax.tree.leaves(agent.critic, is_leaf=lambda x: isinstance(x, Encoder))[:2])
    agent = eqx.tree_at(lambda a: a.critic, agent, critic)
    batch = Batch(*(draw(seed, BATCH, 2) for seed in range(4)))  # a Box has two of everything
    objective, optimizers = CRL(), adam_optimizers()
    new, *_, metrics = update(
        agent, init_optimizers(optimizers, agent, objective), None, batch,
        objective=objective, optimizers=optimizers, key=jax.random.key(2),
    )  # fmt: skip
    assert type(new) is Scaled and type(new.critic) is Unit and new.factor == 2.0
    assert -2 <= metrics["logits_positive"] <= 0
    own = -jnp.linalg.norm(
        critic.sa_repr(2.0 * batch.state, batch.action) - critic.g_repr(batch.future_goal), axis=-1
    )
    np.testing.assert_allclose(metrics["logits_positive"], jnp.mean(own), rtol=1e-4)
