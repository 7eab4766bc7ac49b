"""Rank predicted cases by how doubtful they are, so that a reviewer sees the worst first.

No threshold on a quality measure is agreed on in the field, so nothing here is passed or failed:
each case is compared with its own cohort by robust z-scores (Iglewicz and Hoaglin 1993).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.evaluation.metrics import score_case

OUTLIER_Z = 3.5
FEWEST_FOR_OUTLIERS = 5


@dataclass(frozen=True)
class Evidence:
    """One measure of quality.

    Attributes
    ----------
    title
        What a reader calls it.
    lower_is_worse
        Whether small values raise doubt.
    smallest_spread
        A spread below this is no real difference; keeps a nearly constant cohort from producing
        outliers.
    """

    title: str
    lower_is_worse: bool
    smallest_spread: float


EVIDENCE: dict[str, Evidence] = {
    "agreement": Evidence("Dice of segmentation and propagated labels", True, 0.01),
    "fold_percent": Evidence("folded voxels in percent", False, 0.05),
    "gss_mean": Evidence("semantic similarity of matched voxels (GSS)", True, 0.005),
    "gvs_mean": Evidence("visual similarity of matched voxels (GVS)", True, 0.005),
    "inverse_consistency_mm": Evidence("inverse-consistency error in mm", False, 0.05),
    "sd_log_jacobian": Evidence("spread of local volume change", False, 0.01),
}


@dataclass(frozen=True)
class Doubt:
    """How doubtful one case is among its cohort.

    Attributes
    ----------
    case
        Case id.
    score
        Root sum of squares of the z-scores on the doubtful side; infinite without any evidence.
    z
        Robust z-score per measure, positive meaning worse than the cohort's median.
    values
        The measures themselves; those that were missing are absent.
    outlier
        Whether a z-score exceeds `OUTLIER_Z` (in cohorts of at least `FEWEST_FOR_OUTLIERS`), or the
        case has no evidence at all.
    reasons
        One phrase per measure that makes the case an outlier, worst first.
    """

    case: str
    score: float
    z: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    outlier: bool = False
    reasons: tuple[str, ...] = ()


def label_agreement(segmented: ArrayLike, propagated: ArrayLike) -> float | None:
    """Return how well the segmentation head and the propagated labels agree on one case.

    Parameters
    ----------
    segmented, propagated
        Integer label maps on one grid.

    Returns
    -------
    float or None
        Mean Dice over the labels of either map, a label that only one of them has counting as 0;
        None when neither has any label.
    """
    scores = score_case(segmented, propagated, None)
    if not scores:
        return None
    return float(np.mean([score["dice"] or 0.0 for score in scores.values()]))


def evidence_from_report(
    report: Mapping[str, Any], agreement: float | None = None
) -> dict[str, float | None]:
    """Collect the measures that `rank_by_doubt` wants from a correspondence ``report.json``.

    Parameters
    ----------
    report
        What ``correspond`` or ``propagate`` wrote for one target.
    agreement
        Of `label_agreement`, if known.

    Returns
    -------
    dict
        Keys of `EVIDENCE`; None where the report has no number.
    """
    found: dict[str, float | None] = {"agreement": agreement}
    for key in EVIDENCE.keys() - {"agreement"}:
        value = report.get(key)
        if isinstance(value, Mapping):
            value = value.get("mean")
        found[key] = float(value) if isinstance(value, int | float) else None
    return found


def rank_by_doubt(cases: Mapping[str, Mapping[str, float | None]]) -> list[Doubt]:
    """Order cases from the most to the least doubtful.

    Parameters
    ----------
    cases
        Case id to measures, with keys of `EVIDENCE`; a missing, None or non-finite value counts as
        no evidence. Other keys are not looked at.

    Returns
    -------
    list of Doubt
        Worst first; ties keep the order of ids. A case without any evidence comes before all.
    """
    measured = {case: _usable(values) for case, values in cases.items()}
    z_scores: dict[str, dict[str, float]] = {case: {} for case in cases}
    for key, evidence in EVIDENCE.items():
        having = [case for case, values in measured.items() if key in values]
        column = np.array([measured[case][key] for case in having])
        sign = -1.0 if evidence.lower_is_worse else 1.0
        worse = sign * robust_z(column, evidence.smallest_spread)
        for case, z in zip(having, worse.tolist(), strict=True):
            z_scores[case][key] = z
    judged = [_judge(case, measured[case], z_scores[case], len(cases)) for case in sorted(cases)]
    return sorted(judged, key=lambda doubt: -doubt.score)


def robust_z(values: NDArray[np.float64], smallest_spread: float = 0.0) -> NDArray[np.float64]:
    """Return modified z-scores: distance from the median in units of the scaled median deviation.

    Parameters
    ----------
    values
        Shape ``(n,)``.
    smallest_spread
        Lower limit of the unit.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; all zero where the values do not spread. Where more than half of the values
        are equal the mean absolute deviation stands in for the median one.
    """
    if not values.size:
        return values
    deviation = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(deviation)))
    if spread == 0:
        spread = 1.2533 * float(np.mean(np.abs(deviation)))
    spread = max(spread, smallest_spread)
    return deviation / spread if spread > 0 else np.zeros_like(deviation)


def _usable(values: Mapping[str, float | None]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if key in EVIDENCE and value is not None and np.isfinite(value)
    }


def _judge(case: str, values: dict[str, float], z: dict[str, float], cohort: int) -> Doubt:
    if not values:
        return Doubt(case, float("inf"), outlier=True, reasons=("nothing could be measured",))
    score = float(np.sqrt(sum(max(value, 0.0) ** 2 for value in z.values())))
    striking = sorted(
        (key for key, value in z.items() if value > OUTLIER_Z), key=lambda key: -z[key]
    )
    if cohort < FEWEST_FOR_OUTLIERS:
        striking = []
    reasons = tuple(f"{EVIDENCE[key].title}: {values[key]:.3g}" for key in striking)
    return Doubt(case, score, z, values, bool(striking), reasons)
