"""Bootstrap intervals, gap shares and landmark errors against values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.evaluation.landmarks import target_registration_error
from napari_gemini.evaluation.statistics import paired_bootstrap, share_of_gap_closed


def test_interval_is_near_the_normal_one_for_many_normal_differences():
    rng = np.random.default_rng(1)
    b = rng.normal(0.8, 0.1, 200)
    a = b + rng.normal(0.02, 0.05, 200)
    found = paired_bootstrap(a, b)
    half = 1.96 * np.std(a - b, ddof=1) / np.sqrt(200)
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)
    assert found.better + found.worse == found.pairs == 200
    assert found.excludes_zero


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        difference = rng.normal(0.3, 1.0, 30)
        found = paired_bootstrap(difference, np.zeros(30), resamples=500)
        hits += found.low <= 0.3 <= found.high
    assert 86 <= hits <= 100


def test_pairing_removes_what_both_methods_share():
    b = np.linspace(0.2, 0.9, 20)
    found = paired_bootstrap(b + 0.01 + 0.001 * np.cos(np.arange(20)), b)
    assert 0.009 < found.low < found.high < 0.011


def test_seed_repeats_the_interval_and_swapping_mirrors_it():
    a, b = np.random.default_rng(3).random((2, 25))
    first, again = paired_bootstrap(a, b), paired_bootstrap(a, b)
    swapped = paired_bootstrap(b, a)
    assert first == again
    assert swapped.mean == pytest.approx(-first.mean)
    assert swapped.low == pytest.approx(-first.high, abs=0.01)


def test_degenerate_samples():
    constant = paired_bootstrap([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert constant.low == pytest.approx(0.1)
    assert constant.high == pytest.approx(0.1)
    single = paired_bootstrap([0.9], [0.4])
    assert (single.low, single.high, single.excludes_zero) == (None, None, False)
    equal = paired_bootstrap([0.5, 0.5], [0.5, 0.5])
    assert (equal.mean, equal.low, equal.excludes_zero) == (0.0, 0.0, False)


def test_incomplete_pairs_are_left_out_and_counted():
    found = paired_bootstrap([0.9, np.nan, 0.8, 0.7], [0.8, 0.1, np.nan, 0.5])
    assert found.pairs == 2
    assert found.mean == pytest.approx(0.15)


def test_share_of_gap():
    base = np.array([0.70, 0.80, 0.75, 0.78, 0.81])
    found = share_of_gap_closed(base, base + 0.03, base + 0.05)
    assert found.share == pytest.approx(0.6)
    assert found.low == pytest.approx(0.6)
    assert found.gap == pytest.approx(0.05)
    noise = np.random.default_rng(0).normal(0, 0.005, (2, 50))
    base = np.linspace(0.6, 0.8, 50)
    noisy = share_of_gap_closed(base, base + 0.03 + noise[0], base + 0.05 + noise[1])
    assert noisy.low < noisy.share < noisy.high
    assert noisy.share == pytest.approx(0.6, abs=0.1)


def test_no_gap_has_no_share():
    found = share_of_gap_closed([0.9, 0.8], [0.9, 0.9], [0.8, 0.8])
    assert (found.share, found.low, found.high) == (None, None, None)


def test_unequal_lengths_and_nothing_to_compare():
    with pytest.raises(InputError, match="different numbers of cases"):
        paired_bootstrap([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="nothing to compare"):
        paired_bootstrap([np.nan], [1.0])


def test_target_registration_error():
    true = np.zeros((4, 3))
    mapped = np.array([[3, 4, 0], [0, 0, 1], [0, 0, 0], [0, 2, 0]], float)
    found = target_registration_error(mapped, true)
    assert found == {
        "mean": pytest.approx(2.0),
        "median": pytest.approx(1.5),
        "p95": pytest.approx(2 + 0.85 * 3),
        "max": pytest.approx(5.0),
        "count": 4,
    }
    assert target_registration_error([[1.0, 1.0]], [[1.0, 1.0]])["max"] == 0


@pytest.mark.parametrize(
    ("mapped", "true", "sentence"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "do not pair up"),
        (np.zeros(3), np.zeros(3), "do not pair up"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no landmarks"),
        (np.full((1, 3), np.nan), np.zeros((1, 3)), "not a number"),
    ],
)
def test_bad_landmarks(mapped, true, sentence):
    with pytest.raises(InputError, match=sentence):
        target_registration_error(mapped, true)
