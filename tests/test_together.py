"""Several seeds in one program: each becomes what it would have become alone."""

from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_eqx import Agent, objectives, OnPolicyStep, Together, TrainStep, UserError

from .probes import Box


SMALL: dict[str, Any] = {"num_envs": 3, "unroll_length": 7, "batch_size": 5}
REPLAY: dict[str, Any] = {"prefill_length": 20, "replay_capacity": 30}


def starts(step, seeds=3, width=4):
    """Fresh states, one for each seed."""
    critic = "value" if isinstance(step, OnPolicyStep) else "contrastive"
    make = lambda key: Agent.create(
        step.env, critic=critic, depth=4, width=width, repr_size=2, key=key
    )
    keys = [jax.random.key(seed) for seed in range(seeds)]
    return [step.start(make(key), key=jax.random.fold_in(key, 1)) for key in keys]


def copied(tree):
    return jax.tree.map(lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf, tree)


def plain(tree):
    leaves = jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in leaves]


def assert_close(ours, theirs, rtol=1e-3, atol=1e-4):
    for a, b in zip(plain(ours), plain(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", ["crl", "an update now and then", "ppo"])
def test_each_seed_becomes_what_it_becomes_alone(kind):
    if kind == "ppo":
        # Few updates: Adam divides by what is next to nothing, and so makes more of rounding.
        step = OnPolicyStep(Box(), objectives.PPO(Box().success), **SMALL, epochs=1)
    else:
        ratio = Fraction(2, 21) if kind == "crl" else Fraction(1, 50)
        step = TrainStep(Box(), updates_per_env_step=ratio, **SMALL, **REPLAY)
    alone, seeds = starts(step), Together(step)
    together = seeds.stack(starts(step))
    train, train_all = step.compiled(), seeds.compiled()
    for _ in range(4):
        results = [train(state) for state in alone]
        alone = [state for state, _ in results]
        together, metrics = train_all(together)
        for index, (_, expected) in enumerate(results):
            own = {name: values[index] for name, values in metrics.items()}
            assert own.keys() == expected.keys()
            assert_close(own, expected)
    for ours, theirs in zip(seeds.unstack(together), alone, strict=True):
        assert_close(ours, theirs)
    # The seeds are not one another's copies.
    first, second, _ = seeds.unstack(together)
    assert not np.array_equal(plain(first.agent)[0], plain(second.agent)[0])


def test_stacking_and_taking_apart_changes_nothing():
    step = TrainStep(Box(), **SMALL, **REPLAY)
    states, seeds = starts(step), Together(step)
    whole = seeds.stack(copied(states))
    assert whole.env_steps.shape == () and whole.episodes.age.shape == (3, 3)
    for ours, theirs in zip(seeds.unstack(whole), states, strict=True):
        assert eqx.tree_equal(ours, theirs)
    some = seeds.only(whole, [2, 0])
    for ours, theirs in zip(seeds.unstack(some), [states[2], states[0]], strict=True):
        assert eqx.tree_equal(ours, theirs)


def test_resets_and_updates_stay_branches_and_slices():
    step = TrainStep(Box(), updates_per_env_step=Fraction(1, 50), **SMALL, **REPLAY)
    seeds = Together(step)
    arrays, static = eqx.partition(seeds.stack(starts(step)), eqx.is_array)
    text = str(
        jax.make_jaxpr(lambda a: eqx.filter(seeds(eqx.combine(a, static)), eqx.is_array))(arrays)
    )
    alone, static = eqx.partition(starts(step, 1)[0], eqx.is_array)
    once = str(
        jax.make_jaxpr(lambda a: eqx.filter(step(eqx.combine(a, static)), eqx.is_array))(alone)
    )
    assert text.count("cond[") == once.count("cond[") > 0


def test_states_that_cannot_be_stacked_are_told():
    step = TrainStep(Box(), **SMALL, **REPLAY)
    seeds = Together(step)
    with pytest.raises(UserError, match="at least one state"):
        seeds.stack([])
    wider = starts(step, 1, width=8)
    with pytest.raises(UserError, match="state 1 is not made as state 0 is"):
        seeds.stack([*starts(step, 1), *wider])
    first, second = starts(step, 2)
    further, _ = step.compiled()(second)
    with pytest.raises(
        UserError, match="state 1 has come to 84 environment steps, with 28 .* 63, with 21"
    ):
        seeds.stack([first, further])
