"""Paired comparison of methods over the same cases: differences, intervals, share of a gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from napari_gemini.errors import InputError

RESAMPLES = 10_000
Values = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of two methods over the same cases with its confidence interval.

    Attributes
    ----------
    mean
        Mean of ``a - b``.
    low, high
        Ends of the interval; None with fewer than two pairs.
    pairs
        Number of cases that both methods have a value for.
    better, worse
        Cases in which ``a`` is larger, respectively smaller, than ``b``.
    level
        Confidence level of the interval.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int
    better: int
    worse: int
    level: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class GapShare:
    """How much of the way from a baseline to a ceiling a method covers.

    Attributes
    ----------
    share
        ``(method - baseline) / (ceiling - baseline)`` of the means; None without a gap.
    low, high
        Ends of the bootstrap interval; None where it cannot be given.
    gap
        Mean of ``ceiling - baseline``.
    pairs
        Number of cases that all three have a value for.
    """

    share: float | None
    low: float | None
    high: float | None
    gap: float
    pairs: int


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Compare two methods over the same cases.

    Parameters
    ----------
    a, b
        One value per case, in the same order, shape ``(n,)``; pairs with a NaN are left out.
    level
        Confidence level of the bias-corrected and accelerated bootstrap interval (Efron 1987).
    seed
        Seed of the resampling, so that a report can be repeated.
    resamples
        Number of bootstrap resamples.

    Returns
    -------
    PairedDifference
        Of ``a - b``.

    Raises
    ------
    InputError
        If the lengths differ or no pair is complete.
    """
    first, second = _complete_cases(a, b)
    difference = first - second
    low, high = _interval(np.mean, (difference,), level, seed, resamples)
    return PairedDifference(
        mean=float(difference.mean()),
        low=low,
        high=high,
        pairs=difference.size,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        level=level,
    )


def share_of_gap_closed(
    baseline: ArrayLike,
    method: ArrayLike,
    ceiling: ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> GapShare:
    """Return how much of the gap between `baseline` and `ceiling` the `method` closes.

    Parameters
    ----------
    baseline, method, ceiling
        One value per case, in the same order, shape ``(n,)``, larger being better; cases with a
        NaN in any of them are left out.
    level, seed, resamples
        As in `paired_bootstrap`; all three are resampled together, case by case.

    Returns
    -------
    GapShare
        With share None when the ceiling is not above the baseline.
    """
    low_values, values, high_values = _complete_cases(baseline, method, ceiling)
    gained, gap = values - low_values, high_values - low_values
    mean_gap = float(gap.mean())
    if mean_gap <= 0:
        return GapShare(None, None, None, mean_gap, gap.size)

    def ratio(x: Values, y: Values, axis: int = -1) -> Values:
        return np.mean(x, axis=axis) / np.mean(y, axis=axis)

    low, high = _interval(ratio, (gained, gap), level, seed, resamples)
    return GapShare(float(gained.mean()) / mean_gap, low, high, mean_gap, gap.size)


def _complete_cases(*columns: ArrayLike) -> tuple[Values, ...]:
    arrays = [np.asarray(column, dtype=np.float64).ravel() for column in columns]
    if len({array.size for array in arrays}) != 1:
        sizes = ", ".join(str(array.size) for array in arrays)
        raise InputError(f"The methods have different numbers of cases ({sizes}); pair them first.")
    complete = np.isfinite(np.stack(arrays)).all(axis=0)
    if not complete.any():
        raise InputError("No case has a value from every method; there is nothing to compare.")
    return tuple(array[complete] for array in arrays)


def _interval(
    statistic: Callable[..., Values],
    data: Sequence[Values],
    level: float,
    seed: int,
    resamples: int,
) -> tuple[float | None, float | None]:
    """Return the BCa interval, or the percentile one where the data leave BCa undefined."""
    if data[0].size < 2:
        return None, None
    if all(np.ptp(column) == 0 for column in data):
        value = float(statistic(*data))
        return value, value
    for method in ("BCa", "percentile"):
        with np.errstate(all="ignore"):
            found = bootstrap(
                data,
                statistic,
                paired=True,
                vectorized=True,
                confidence_level=level,
                n_resamples=resamples,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            return float(found.low), float(found.high)
    return None, None
