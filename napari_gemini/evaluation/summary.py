"""Means over cases and labels, with every absent label counted instead of dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from napari_gemini.evaluation.metrics import Scores

METRICS = ("dice", "hd95_mm", "assd_mm")


def summarise(
    cases: Mapping[str, Mapping[str, Scores]], names: Mapping[int, str]
) -> dict[str, Any]:
    """Add means and counts of absence to the scores of cases.

    Parameters
    ----------
    cases
        Case id to label to scores.
    names
        Names of integer labels.

    Returns
    -------
    dict
        ``cases``, ``mean``, ``labels`` and ``absent`` as in `evaluate_folders`; each case has every
        label of the cohort.
    """
    keys = sorted({label for scores in cases.values() for label in scores}, key=_label_order)
    complete = {
        case: {label: dict(scores.get(label, _nowhere(scores))) for label in keys}
        for case, scores in cases.items()
    }
    per_label = {label: _summarise_label(label, complete, names) for label in keys}
    counts = ("absent_in_prediction", "absent_in_reference", "absent_in_both")
    return {
        "cases": complete,
        "mean": _mean_over_cases(complete),
        "labels": per_label,
        "absent": {name: sum(entry[name] for entry in per_label.values()) for name in counts},
    }


def case_means(
    cases: Mapping[str, Mapping[str, Scores]],
    metric: str = "dice",
    label: str | None = None,
    *,
    missed_as_zero: bool = False,
) -> dict[str, float | None]:
    """Return one number per case: a label's score, or the mean over its labels.

    Parameters
    ----------
    cases
        The ``cases`` of a report.
    metric
        ``dice``, ``hd95_mm`` or ``assd_mm``.
    label
        One label's key; None averages over the labels that are present on both sides.
    missed_as_zero
        Whether a Dice that is null because only one side has the label counts as 0, as it must
        where methods are compared or ranked: leaving it out would reward missing a label.

    Returns
    -------
    dict
        Case id to value; None where the case has none.
    """

    def value(entry: Scores) -> float | None:
        if missed_as_zero and metric == "dice" and is_missed(entry):
            return 0.0
        return entry.get(metric)

    return {
        case: _mean(value(entry) for key, entry in scores.items() if label in (None, key))
        for case, scores in cases.items()
    }


def is_missed(entry: Scores) -> bool:
    """Whether a label is on one side only."""
    return bool(entry.get("voxels")) != bool(entry.get("reference_voxels"))


def _nowhere(scores: Mapping[str, Scores]) -> Scores:
    """Return the scores of a label that neither side of a case has, with its other labels' keys."""
    example = next(iter(scores.values()), {"dice": None, "voxels": 0, "reference_voxels": 0})
    return {key: None if key in METRICS else 0 for key in example}


def _label_order(label: str) -> tuple[int, int, str]:
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)


def _metrics_in(entries: Iterable[Scores]) -> list[str]:
    keys = {key for entry in entries for key in entry}
    return [metric for metric in METRICS if metric in keys]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_over_cases(cases: Mapping[str, Mapping[str, Scores]]) -> dict[str, float | None]:
    metrics = _metrics_in(entry for scores in cases.values() for entry in scores.values())
    means = {metric: _mean(case_means(cases, metric).values()) for metric in metrics}
    if metrics:
        means["dice_missed_as_zero"] = _mean(case_means(cases, missed_as_zero=True).values())
    return means


def _summarise_label(
    label: str, cases: Mapping[str, Mapping[str, Scores]], names: Mapping[int, str]
) -> dict[str, Any]:
    entries = [scores[label] for scores in cases.values()]
    summary: dict[str, Any] = {}
    if label.isdecimal() and int(label) in names:
        summary["name"] = names[int(label)]
    for metric in _metrics_in(entries):
        known = [value for entry in entries if (value := entry.get(metric)) is not None]
        summary[metric] = float(np.mean(known)) if known else None
        summary[f"{metric}_sd"] = float(np.std(known, ddof=1)) if len(known) > 1 else None
    sides = [(bool(entry["voxels"]), bool(entry["reference_voxels"])) for entry in entries]
    summary["cases"] = len(entries)
    summary["scored"] = sides.count((True, True))
    summary["absent_in_prediction"] = sides.count((False, True))
    summary["absent_in_reference"] = sides.count((True, False))
    summary["absent_in_both"] = sides.count((False, False))
    return summary
