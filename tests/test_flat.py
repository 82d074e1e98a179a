"""Updates whose small arrays are moved as one are the same updates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

from crl_eqx import adam, Agent, Batch, init_optimizers
from crl_eqx._flat import Elementwise, Flat, LARGE, Layout
from crl_eqx._update import Moving
from crl_eqx.objectives import CRL, SAC, TD3

from .probes import Box


TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(()), "large": jnp.zeros(LARGE)}


def test_small_arrays_lie_one_after_the_other():
    layout = Layout(TREE)
    flat = layout.flat(TREE)
    assert flat.small.tolist() == [0, 1, 2, 3, 4, 5, 1] and flat.large == (TREE["large"],)
    assert eqx.tree_equal(layout.tree(flat), TREE)


def test_arrays_of_two_kinds_are_not_joined():
    assert Layout(TREE).gains
    assert not Layout(TREE | {"b": jnp.ones((), jnp.bfloat16)}).gains
    assert not Layout({"a": TREE["a"], "large": TREE["large"]}).gains


def test_only_trees_of_that_structure_are_made_flat_within_a_state():
    layout = Layout(TREE)
    state = optax.chain(optax.adam(1e-3), optax.trace(0.9)).init(TREE)
    flat = layout.flat_within(state)
    count, mu, nu = flat[0][0]
    assert count.shape == () and isinstance(mu, Flat) and isinstance(nu, Flat)
    assert eqx.tree_equal(layout.trees_within(flat), state)


def reached(state, goal):
    return jnp.linalg.norm(state - goal, axis=-1) < 0.5


def batches(env, number, size=8):
    draw = lambda seed, width: jax.random.normal(jax.random.key(seed), (number, size, width))
    state, goal = draw(0, env.state_size), draw(1, env.goal_size)
    return Batch(
        state,
        jnp.tanh(draw(2, env.action_size)),
        goal,
        draw(3, env.goal_size),
        next_state=state + 0.1,
        terminated=jnp.zeros((number, size), bool),
    )


OBJECTIVES = {
    "crl": (CRL(), "contrastive"),
    "sac": (SAC(reached), "twin-q"),
    # Whose policy moves at every other step only, and whose targets follow.
    "td3": (TD3(reached, policy_delay=2), "twin-q"),
}
OPTIMIZERS = {
    "adam": adam(1e-2),
    "scheduled": adam(optax.linear_schedule(1e-2, 0.0, 10), weight_decay=0.1),
    "clipped": adam(1e-2, max_grad_norm=0.1),
}


@pytest.mark.parametrize(
    "objective, optimizer",
    [("crl", name) for name in OPTIMIZERS] + [("sac", "adam"), ("td3", "adam")],
)
def test_flat_steps_are_the_same_steps(objective, optimizer):
    env = Box()
    objective, critic = OBJECTIVES[objective]
    optimizers = {name: OPTIMIZERS[optimizer] for name in ("actor", "critic", "alpha")}
    agent = Agent.create(env, critic=critic, depth=4, width=8, key=jax.random.key(4))
    begun = agent, init_optimizers(optimizers, agent, objective), objective.init(agent)
    data = batches(env, 5)

    def run(flat):
        moving = Moving(objective, optimizers, agent, flat=flat)
        state, seen = moving.begin(*begun), []
        step = eqx.filter_jit(lambda state, batch, key: moving(state, batch, key=key))
        for i in range(5):
            batch = jax.tree.map(lambda leaf, i=i: leaf[i], data)
            state, metrics = step(state, batch, jax.random.key(i))
            seen.append(metrics)
        return state, moving.end(state), seen

    state, *plain = run(False)
    assert not any(isinstance(group, Flat) for group in state.groups.values())
    state, *flat = run(True)
    assert {name for name, group in state.groups.items() if isinstance(group, Flat)} >= {"critic"}
    arrays = lambda found: eqx.filter(found, eqx.is_array)
    assert eqx.tree_equal(arrays(flat), arrays(plain), rtol=1e-4, atol=1e-5)
    assert not eqx.tree_equal(arrays(flat[0][0]), arrays(agent), rtol=1e-4, atol=1e-5)


def test_another_optimiser_moves_the_arrays_as_they_are():
    """LAMB scales each array's step by that array's norm."""
    agent = Agent.create(Box(), depth=4, width=8, key=jax.random.key(4))
    optimizers = {"actor": optax.lamb(1e-2), "critic": adam(), "alpha": adam()}
    moving = Moving(CRL(), optimizers, agent, flat=True)
    state = moving.begin(agent, init_optimizers(optimizers, agent, CRL()), None)
    is_flat = {name: isinstance(group, Flat) for name, group in state.groups.items()}
    assert is_flat == {"actor": False, "critic": True, "alpha": False}
    assert isinstance(optimizers["critic"], Elementwise)
