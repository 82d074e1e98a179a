import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st

from crl_eqx.nn import Normalizer


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 7]), min_size=1, max_size=5),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 2**16),
)
def test_running_moments_are_those_of_all_batches_together(sizes, offset, seed):
    rng = np.random.default_rng(seed)
    batches = [(offset + rng.normal(size=(n, 2, 3)) * [1, 5, 20]).astype("f4") for n in sizes]
    normalizer = Normalizer(3)
    for batch in batches:
        normalizer = normalizer.update(jnp.asarray(batch))
    rows = np.concatenate(batches).reshape(-1, 3).astype(np.float64)
    mean, std = rows.mean(0), np.sqrt(rows.var(0) + 1e-6)
    assert normalizer.count == len(rows)
    np.testing.assert_allclose(normalizer.mean, mean, rtol=1e-4, atol=1e-3)
    x = rows[:1]
    expected = np.clip((x - mean) / std, -10, 10)
    np.testing.assert_allclose(normalizer(jnp.asarray(x, jnp.float32)), expected, atol=1e-2)


def test_before_the_first_batch_nothing_is_changed():
    x = jnp.array([[1e5, -3.0]])
    assert (Normalizer(2)(x) == x).all()


def test_outliers_are_clipped_to_ten_and_constants_stay_finite():
    normalizer = Normalizer(2).update(jnp.array([[0.0, 5.0], [1.0, 5.0]]))
    assert normalizer(jnp.array([1e9, 5.0])).tolist() == [10.0, 0.0]


def test_training_does_not_move_the_moments():
    slope = jax.grad(lambda x: jnp.sum(Normalizer(2).update(x).mean))(jnp.ones((3, 2)))
    assert not slope.any()
