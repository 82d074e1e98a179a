"""Statistics of few runs against values computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from crl_eqx.lab import (
    band,
    difference,
    interquartile_mean,
    interval,
    permutation_test,
    probability_of_improvement,
)


@pytest.mark.parametrize(
    ("values", "middle"),
    [([3.0], 3.0), ([1.0, 3.0], 2.0), ([0.0, 4.0, 5.0, 100.0], 4.5), ([9, 1, 2, 3, 4.0], 3.0)],
)
def test_the_middle_half_is_averaged(values, middle):
    assert interquartile_mean(np.array(values)) == pytest.approx(middle)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-100, 100), min_size=4, max_size=40).filter(lambda v: len(v) % 4 == 0))
def test_it_is_scipys_trimmed_mean(values):
    expected = stats.trim_mean(values, 0.25)
    assert interquartile_mean(np.array(values)) == pytest.approx(expected, abs=1e-9)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    generator, hits = np.random.default_rng(0), 0
    for _ in range(100):
        found = interval(generator.normal(2.0, 1.0, 12))
        hits += found.low <= 2.0 <= found.high
    assert 82 <= hits <= 99  # a bootstrap of twelve values is a little too narrow


def test_of_one_run_there_is_no_interval():
    value, low, high = interval(np.array([0.3]))
    assert (value, low, high) == (0.3, -math.inf, math.inf)


def test_of_few_runs_there_is_their_range():
    assert interval(np.array([0.3, 0.1, 0.5, 0.2])) == (0.25, 0.1, 0.5)
    five = interval(np.array([0.3, 0.1, 0.5, 0.2, 0.4]))
    assert five.value == pytest.approx(0.3) and 0.1 <= five.low < five.high <= 0.5


def test_a_difference_has_welchs_interval():
    generator = np.random.default_rng(3)
    new, old = generator.normal(1, 1, 4), generator.normal(0, 3, 6)
    found = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    assert difference(new, old) == pytest.approx((new.mean() - old.mean(), *found))
    assert difference(np.ones(3), np.zeros(2)) == (1, 1, 1)
    assert difference(np.ones(1), np.zeros(2)) == (1, -math.inf, math.inf)


def test_pairs_that_win_are_counted():
    assert probability_of_improvement(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert probability_of_improvement(np.zeros(3), np.ones(3)) == 0


def test_the_permutation_test_is_exact_for_few_runs_and_scipys():
    # Of the 20 ways to deal six runs to two sides, one is as good as this: p = 1 / 20.
    assert permutation_test(np.array([4.0, 5, 6]), np.array([1.0, 2, 3])) == pytest.approx(1 / 20)
    assert permutation_test(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == 1.0
    generator = np.random.default_rng(1)
    new, old = generator.normal(0.5, 1, 6), generator.normal(0, 1, 5)
    theirs = stats.permutation_test(
        (new, old), lambda x, y: np.mean(x) - np.mean(y), alternative="greater", n_resamples=np.inf
    )
    assert permutation_test(new, old) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_no_p_value_is_zero_and_none_depends_on_the_unit(size):
    apart = permutation_test(size * np.arange(10.0, 20.0), size * np.arange(10.0))
    assert 0 < apart <= 1e-4
    new, old = size * np.array([0.1, 0.7, 0.3]), size * np.array([0.7, 0.1, 0.3])
    assert permutation_test(new, old) == 14 / 20  # six ways have a smaller sum


def test_many_runs_are_dealt_at_random_and_say_nearly_the_same():
    generator = np.random.default_rng(2)
    new, old = generator.normal(0.4, 1, 20), generator.normal(0, 1, 20)
    expected = stats.ttest_ind(new, old, alternative="greater").pvalue
    assert permutation_test(new, old) == pytest.approx(expected, abs=0.02)


def test_a_band_lies_where_all_curves_are_known():
    first = np.array([[0.0, 0.0], [10.0, 1.0], [30.0, 3.0]])
    second = np.array([[5.0, 2.0], [20.0, 5.0]])
    found = band([first, second, np.zeros((0, 2))])
    np.testing.assert_array_equal(found.at, [5, 10, 20])
    np.testing.assert_allclose(found.value, [(0.5 + 2) / 2, (1 + 3) / 2, (2 + 5) / 2])
    np.testing.assert_allclose(found.low, [0.5, 1, 2])  # of two runs it is their range
    np.testing.assert_allclose(found.high, [2, 3, 5])
    alone = band([first])
    np.testing.assert_array_equal(alone.low, alone.value)
    assert not len(band([]).at)


def test_a_band_is_at_each_point_an_interval():
    values = np.random.default_rng(1).normal(size=(9, 1))
    flat = [np.array([[0.0, float(v[0])], [1.0, float(v[0])]]) for v in values]
    found, alone = band(flat), interval(values[:, 0])
    np.testing.assert_allclose(found.value, alone.value)
    np.testing.assert_allclose([found.low[0], found.high[0]], alone[1:], atol=0.05)


def test_they_are_rliables():
    """What rliable 1.2.0 gives for these runs: `aggregate_iqm`, `probability_of_improvement`, and
    `get_interval_estimates` with 50,000 resamples."""
    deep = np.array([0.8984375, 0.8515625, 0.6328125, 0.8515625, 0.734375, 0.78, 0.91, 0.66])
    flat = np.array([0.78125, 0.703125, 0.484375, 0.4609375, 0.5234375, 0.52, 0.61, 0.47])
    assert interval(deep) == pytest.approx((0.804375, 0.6950, 0.8779), abs=2e-3)
    assert interval(flat) == pytest.approx((0.534453125, 0.4772, 0.6740), abs=2e-3)
    assert probability_of_improvement(deep, flat) == 0.90625
