"""Verdicts, and the numbers that they are made of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import crl_eqx as crl
from crl_eqx._diagnose import alignment, coverage, flow, logit_gap, uniformity
from crl_eqx._verdict import better_by, has_settled, MEASURES, VERDICTS
from crl_eqx.nn import ResidualMLP

from .probes import Box


GOOD = {
    "actor_block_grad_norms": [1.0, 0.5],
    "sa_repr_mean_cosine": 0.1,
    "sa_repr_rank": 20.0,
    "actor_update_to_weight": 1e-4,
}


def row(steps, success, distance=10.0, error=0.02):
    return {
        "env_steps": steps,
        "success_rate": success,
        "success_rate_se": error,
        "final_distance": distance,
        "final_distance_se": 5 * error,
    }


FLAT = [row(0, 0.0), row(100, 0.01), row(200, 0.02)]
RISING = [row(0, 0.0), row(100, 0.3), row(200, 0.6)]


@pytest.mark.parametrize(
    "change, evaluations, word, why",
    [
        ({}, RISING, "healthy", "Success rate went from 0 to 0.45."),
        ({}, [row(0, 0.0), row(1, 0.0, 8.0), row(2, 0.0, 8.0)], "healthy", "Final distance"),
        ({}, [row(0, 0.95)] * 3, "healthy", "a success already"),
        ({}, FLAT[:2], "too early to say", "few evaluations"),
        ({}, FLAT, "not learning yet", "success rate 0.02 after 0, final distance 10 after 10. "
         "Expected before 1,000 environment steps."),
        ({}, [*FLAT, row(1000, 0.0)], "not learning", "still those of the beginning"),
        ({}, [row(0, 0.95), row(9, 0.5), row(9, 0.1), row(9, 0.0)], "not learning yet",
         "Evaluations have got worse. Success rate went from 0.95 to 0.05."),
        ({}, [row(0, 0.6), row(1, 0.1), row(1000, 0.0)], "not learning", "have got worse"),
        ({"v_block_grad_norms": [0.0, 0.0]}, RISING, "vanishing", "No gradient comes to any block"),
        ({"g_repr_rank": float("nan")}, RISING, "collapsing", "of goals are not finite"),
        ({"actor_update_to_weight": 0.0}, [*FLAT, row(1000, 0.0)], "not learning", "still those"),
        ({"actor_update_to_weight": 0.0}, RISING, "not learning yet", "The policy stands still"),
        ({"sa_repr_rank": 1.5}, RISING, "collapsing", "states and actions span 1.5 directions"),
        ({"g_repr_mean_cosine": 0.995}, RISING, "collapsing", "goals point the same way"),
        ({"q_0_block_grad_norms": [1e-5, 1.0]}, RISING, "vanishing", "Block 1 of q_0 gets 1.0e-05"),
        ({"v_block_grad_norms": [1.0, 2e4]}, RISING, "exploding", "block 2 of v has norm 2e+04"),
        ({"v_block_grad_norms": [float("nan")]}, RISING, "exploding", "is not finite"),
        ({"v_block_grad_norms": [2e4], "sa_repr_rank": 1.0}, FLAT, "exploding", "v"),
    ],
)  # fmt: skip
def test_a_verdict_names_the_worst_and_its_numbers(change, evaluations, word, why):
    found = crl.verdict(GOOD | change, evaluations, conclusive_steps=1000)
    assert found.word == word and found.word in VERDICTS
    assert why in found.reason and found.reason.endswith(".")


def test_better_is_by_more_than_two_standard_errors_of_the_difference():
    old = row(0, 0.5, error=0.03)
    error = np.hypot(0.03, 0.04)
    assert better_by(old, [row(1, 0.5 + 2.01 * error, error=0.04)]) == "success_rate"
    assert better_by(old, [row(1, 0.5 + 1.99 * error, error=0.04)]) is None
    both = [row(1, 0.58, error=0.03)] * 2  # whose mean has an error of 0.03 / sqrt(2)
    assert better_by(old, both) == "success_rate"
    assert better_by(old, both[:1]) is None
    assert better_by(old, [row(1, 0.5, distance=5.0)]) == "final_distance"
    assert better_by(old, [row(1, 0.5, distance=15.0)]) is None


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
    st.integers(1, 30),
    st.floats(0.001, 0.2),
)
def test_nothing_settles_before_its_time_and_a_riser_never(successes, over, error):
    rows = [row(i, p, error=error) for i, p in enumerate(successes)]
    if has_settled(rows, over=over):
        assert rows[-1]["env_steps"] >= 1.5 * over
        before = [r["success_rate"] for r in rows if r["env_steps"] <= len(rows) - 1 - over]
        assert max(successes) <= max(before) + 2 * np.sqrt(2) * error + 1e-9
    rising = [row(i, i * 3 * error, error=error) for i in range(len(rows))]
    assert not has_settled(rising, over=over)
    falling = [row(i, -i * 3 * error, error=error) for i in range(2 * over + 1)]
    assert has_settled(falling, over=over)
    assert not has_settled(falling[: over + 1], over=over)


def test_a_slow_rise_is_no_plateau():
    """0.075 over as many steps as are looked back on, in evaluations of 128 episodes."""
    generator, over = np.random.default_rng(0), 50
    for _ in range(20):
        rates = [generator.binomial(128, 0.3 + 0.075 * i / over) / 128 for i in range(4 * over)]
        rows = [row(i, p, error=float(np.sqrt(p * (1 - p) / 127))) for i, p in enumerate(rates)]
        assert not any(has_settled(rows[:end], over=over) for end in range(1, len(rows)))
    flat = [row(i, generator.binomial(128, 0.3) / 128, error=0.04) for i in range(4 * over)]
    assert has_settled(flat, over=over)


def test_settling_looks_at_every_measure():
    flat = [row(i, 0.5) for i in range(5)]
    assert has_settled(flat, over=2)
    assert not has_settled([*flat, row(5, 0.5, distance=2.0)], over=2)
    with pytest.raises(crl.UserError, match=r"has_settled\(over=0\)"):
        has_settled(flat, over=0)
    assert set(MEASURES) == {"success_rate", "time_at_goal", "final_distance"}


@pytest.fixture(scope="module")
def rows():
    keys = jax.random.split(jax.random.key(0))
    return tuple(jax.random.normal(key, (20, 8)) for key in keys)


def test_alignment_and_uniformity_are_their_definitions(rows):
    x, y = (np.asarray(r) / np.linalg.norm(r, axis=1, keepdims=True) for r in rows)
    np.testing.assert_allclose(alignment(*rows), np.mean(np.sum((x - y) ** 2, 1)), rtol=1e-5)
    pairs = [np.exp(-2 * np.sum((a - b) ** 2)) for i, a in enumerate(x) for b in x[:i]]
    np.testing.assert_allclose(uniformity(rows[0]), np.log(np.mean(pairs)), rtol=1e-5)
    assert alignment(rows[0], rows[0]) == pytest.approx(0, abs=1e-5)


def test_the_logit_gap_is_between_the_diagonal_and_the_rest():
    logits = jnp.array([[3.0, 1.0], [0.0, 5.0]])
    assert logit_gap(logits) == 4.0 - 0.5


def test_a_batch_is_followed_through_the_blocks():
    network = ResidualMLP(3, 2, depth=12, width=16, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (10, 3))
    h, scales = network.first(x), []
    for block in network.trunk.unstacked():
        h = block(h)
        scales.append(np.sqrt(np.mean(np.square(h))))
    found = flow(network, x)
    np.testing.assert_allclose(found.scales, scales, rtol=1e-5)
    assert found.dead == 0
    broken = eqx.tree_at(lambda n: n.first.linear.weight, network, jnp.zeros((3, 16)))
    assert flow(broken, x).dead == 1


def test_coverage_is_the_share_of_goals_that_some_state_reaches():
    env = Box()
    goals = jax.vmap(lambda key: env.reset(key=key).goal)(jax.random.split(jax.random.key(0), 8))
    start = env.reset(key=jax.random.key(1)).state
    reached = [bool(env.success(start, goal)) for goal in goals]
    assert coverage(env, start[None], goals) == np.mean(reached)


def test_a_diagnosis_takes_target_networks_as_they_are_at_the_start():
    objective = crl.objectives.TD3(Box().success)
    agent = crl.Agent.create(Box(), critic="twin-q", depth=4, width=8, key=jax.random.key(0))
    rows = jax.random.normal(jax.random.key(1), (8, 2))
    batch = crl.Batch(rows, rows, rows, rows, rows, jnp.zeros(8, bool))
    ask = lambda **given: crl.diagnose(
        agent, batch, objective=objective, key=jax.random.key(2), **given
    )
    found, same = ask(), ask(objective_state=objective.init(agent))
    jax.tree.map(np.testing.assert_array_equal, found, same)
