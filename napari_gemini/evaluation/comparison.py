"""Two or more methods scored on the same cases, side by side with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.evaluation.pair_files import read_json
from napari_gemini.evaluation.statistics import (
    GapShare,
    paired_bootstrap,
    share_of_gap_closed,
)
from napari_gemini.evaluation.summary import METRICS, case_means

Report = Mapping[str, Any]


def side_by_side(
    report_a: Report | str | Path,
    report_b: Report | str | Path,
    *,
    names: tuple[str, str] = ("A", "B"),
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two ``evaluate`` reports over the cases that both have.

    A label that only one side of a case has counts as Dice 0 here, so that missing a label never
    looks like an improvement; distances use the cases in which both methods have one.

    Parameters
    ----------
    report_a, report_b
        Reports of `evaluate_folders`, or paths of their JSON files.
    names
        What the methods are called.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``names``, ``pairs``, ``metrics.<metric>.mean`` and ``metrics.<metric>.labels.<label>``,
        each with ``a``, ``b`` (means), and ``difference``, ``low``, ``high`` (a minus b with its
        95 % interval), ``pairs``, ``better``, ``worse`` (number of cases in which a is larger or
        smaller); ``cases.<id>`` with each case's Dice ``a``, ``b`` and ``difference``.

    Raises
    ------
    InputError
        If the reports have no case in common.
    """
    a, b = load_report(report_a), load_report(report_b)
    shared = shared_cases([a, b])
    metrics: dict[str, Any] = {}
    for metric in METRICS:
        if metric in a["mean"] and metric in b["mean"]:
            metrics[metric] = _compare_metric(a, b, metric, shared, seed)
    dice = [_values(report, "dice", None, shared) for report in (a, b)]
    return {
        "names": list(names),
        "pairs": len(shared),
        "metrics": metrics,
        "cases": {
            case: {"a": _plain(x), "b": _plain(y), "difference": _plain(x - y)}
            for case, x, y in zip(shared, *dice, strict=True)
        },
    }


def gap_closed(baseline: Report, method: Report, ceiling: Report, *, seed: int = 0) -> GapShare:
    """Return the share of the Dice gap from `baseline` to `ceiling` that `method` closes."""
    shared = shared_cases([baseline, method, ceiling])
    columns = [_values(report, "dice", None, shared) for report in (baseline, method, ceiling)]
    return share_of_gap_closed(*columns, seed=seed)


def load_report(report: Report | str | Path) -> Report:
    """Return a report of `evaluate_folders`, read from its file where a path is given.

    Raises
    ------
    InputError
        If it is no such report.
    """
    data = report if isinstance(report, Mapping) else read_json(Path(report))
    if not isinstance(data.get("cases"), Mapping) or not isinstance(data.get("mean"), Mapping):
        raise InputError(
            f"{'The report' if isinstance(report, Mapping) else report} has no scores of cases; "
            "give a report that evaluate wrote."
        )
    return data


def shared_cases(reports: Sequence[Report]) -> list[str]:
    """Return the cases that every report has, sorted.

    Raises
    ------
    InputError
        If there is none.
    """
    shared = set.intersection(*(set(report["cases"]) for report in reports))
    if not shared:
        raise InputError("The reports have no case in common; score the methods on the same cases.")
    return sorted(shared)


def _compare_metric(
    a: Report, b: Report, metric: str, shared: list[str], seed: int
) -> dict[str, Any]:
    labels = dict.fromkeys(key for r in (a, b) for case in shared for key in r["cases"][case])
    return {
        "mean": _compare_column(a, b, metric, None, shared, seed),
        "labels": {label: _compare_column(a, b, metric, label, shared, seed) for label in labels},
    }


def _compare_column(
    a: Report, b: Report, metric: str, label: str | None, shared: list[str], seed: int
) -> dict[str, Any]:
    x, y = (_values(report, metric, label, shared) for report in (a, b))
    paired = np.isfinite(x) & np.isfinite(y)
    if not paired.any():
        return {"a": None, "b": None, "difference": None, "low": None, "high": None, "pairs": 0}
    found = paired_bootstrap(x, y, seed=seed)
    return {
        "a": float(x[paired].mean()),
        "b": float(y[paired].mean()),
        "difference": found.mean,
        **{k: v for k, v in asdict(found).items() if k != "mean"},
    }


def _values(report: Report, metric: str, label: str | None, cases: Sequence[str]) -> np.ndarray:
    means = case_means(report["cases"], metric, label, missed_as_zero=True)
    return np.array([np.nan if means[c] is None else means[c] for c in cases], dtype=np.float64)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
