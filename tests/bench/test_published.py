"""The baseline must compute what it claims to: a wrong one would flatter us."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


STEPS, CUT = 12, 7


@pytest.fixture
def published(bench):
    return bench("_published")


def draw(published, key, *, discount, draws=2000):
    """Offsets to the goals of one environment with two episodes, `[draws, step]`."""
    time = jnp.arange(STEPS, dtype=jnp.float32)
    rows = jnp.stack([time, jnp.zeros(STEPS), (time >= CUT).astype(jnp.float32)], axis=1)
    sizes = published.Sizes(state=1, action=1, goal=1)
    one = lambda key: published.relabel(
        key, rows, sizes=sizes, goal_indices=(0,), discount=discount
    )
    drawn = jax.vmap(one)(jax.random.split(key, draws))
    return np.asarray(drawn.goal - drawn.state)[..., 0].astype(int)


def test_goals_lie_ahead_in_the_same_episode(published, getkey):
    offset = draw(published, getkey(), discount=0.9)
    step = np.arange(STEPS - 1)
    last = np.where(step < CUT, CUT - 1, STEPS - 1)
    assert (step + offset <= last).all()
    assert (offset[:, step < last] >= 1).mean() > 0.999  # the diagonal has weight 1e-5


def test_the_last_step_of_an_episode_is_its_own_goal(published, getkey):
    assert (draw(published, getkey(), discount=0.9)[:, CUT - 1] == 0).all()


def test_offsets_follow_the_truncated_geometric_law(published, getkey):
    discount = 0.8
    offset = draw(published, getkey(), discount=discount, draws=20_000)[:, 0]
    distribution = discount ** np.arange(1, CUT)
    found = np.bincount(offset, minlength=CUT)[1:CUT] / len(offset)
    np.testing.assert_allclose(found, distribution / distribution.sum(), atol=0.015)


def test_samples_of_all_environments_are_drawn(published, getkey):
    envs, steps, sizes = 4, 20, published.Sizes(state=2, action=1, goal=1)
    data = jnp.zeros((steps, envs, 4)).at[:, :, 0].set(jnp.arange(envs, dtype=jnp.float32)[None, :])
    batches = published.sample(
        published.Storage(data, jnp.asarray(steps)),
        getkey(),
        sizes=sizes,
        goal_indices=(0,),
        window=steps,
        num_batches=19,
        batch_size=4,
    )
    assert batches.state.shape == (19, 4, 2)
    np.testing.assert_array_equal(batches.goal[..., 0], batches.state[..., 0])
    assert (np.bincount(np.asarray(batches.goal).astype(int).ravel()) == steps - 1).all()


def test_an_update_moves_every_network_and_counts(published, getkey):
    sizes = published.Sizes(state=3, action=2, goal=2)
    state = published.init(getkey(), sizes, depth=4, width=8)
    before = jax.tree.map(np.asarray, (state.actor, state.critic, state.alpha))
    batch = published.Transitions(
        *(jax.random.uniform(getkey(), (16, size), minval=-0.9) for size in sizes)
    )
    state, metrics = published.update(state, batch)
    after = (state.actor, state.critic, state.alpha)
    moved = jax.tree.map(lambda old, new: np.any(old != np.asarray(new)), before, after)
    assert all(jax.tree.leaves(moved))
    assert int(state.gradient_steps) == 1
    assert all(np.isfinite(value) for value in metrics.values())
