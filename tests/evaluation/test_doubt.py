"""The ranking puts injected failures first and stays calm where there is nothing to see."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.evaluation.doubt import (
    evidence_from_report,
    label_agreement,
    rank_by_doubt,
    robust_z,
)


def cohort(count=200, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"case{i:03d}": {
            "agreement": rng.normal(0.88, 0.02),
            "fold_percent": max(0.0, rng.normal(0.02, 0.02)),
            "gss_mean": rng.normal(0.95, 0.01),
        }
        for i in range(count)
    }


def test_injected_failures_come_first_whatever_gave_them_away():
    cases = cohort()
    cases["case010"]["agreement"] = 0.35
    cases["case020"]["fold_percent"] = 4.0
    cases["case030"]["gss_mean"] = 0.70
    ranking = rank_by_doubt(cases)
    assert {doubt.case for doubt in ranking[:3]} == {"case010", "case020", "case030"}
    assert all(doubt.outlier for doubt in ranking[:3])
    reasons = {doubt.case: doubt.reasons for doubt in ranking}
    assert reasons["case020"] == ("folded voxels in percent: 4",)
    assert sum(doubt.outlier for doubt in ranking) < 10
    assert [d.score for d in ranking] == sorted((d.score for d in ranking), reverse=True)


def test_better_than_the_rest_is_no_outlier():
    cases = cohort(40)
    cases["case007"] = {"agreement": 1.0, "fold_percent": 0.0, "gss_mean": 1.0}
    found = next(doubt for doubt in rank_by_doubt(cases) if doubt.case == "case007")
    assert not found.outlier
    assert found.score == 0


def test_constant_cohort_has_no_outliers():
    cases = {f"c{i}": {"agreement": 0.9, "fold_percent": 0.0, "gss_mean": 0.95} for i in range(20)}
    cases["c3"]["gss_mean"] = 0.9499
    assert not any(doubt.outlier for doubt in rank_by_doubt(cases))


def test_mostly_zero_folds_still_show_the_one_that_folds():
    cases = {f"c{i}": {"fold_percent": 0.0} for i in range(30)}
    cases["c9"] = {"fold_percent": 1.0}
    ranking = rank_by_doubt(cases)
    assert ranking[0].case == "c9"
    assert ranking[0].outlier
    assert not ranking[1].outlier


def test_missing_evidence_is_no_evidence_and_none_at_all_comes_first():
    cases = cohort(20)
    cases["case001"] = {"agreement": float("nan"), "fold_percent": None}
    cases["case002"]["agreement"] = float("nan")
    cases["case003"]["unknown_key"] = 1e9
    ranking = rank_by_doubt(cases)
    assert ranking[0].case == "case001"
    assert ranking[0].reasons == ("nothing could be measured",)
    second = next(doubt for doubt in ranking if doubt.case == "case002")
    assert "agreement" not in second.values
    assert np.isfinite(second.score)
    assert next(doubt for doubt in ranking if doubt.case == "case003").score < 10


def test_few_cases_are_ranked_but_nobody_is_called_an_outlier():
    ranking = rank_by_doubt(
        {"a": {"agreement": 0.9}, "b": {"agreement": 0.1}, "c": {"agreement": 0.9}}
    )
    assert ranking[0].case == "b"
    assert not any(doubt.outlier for doubt in ranking)
    assert rank_by_doubt({}) == []


def test_order_does_not_depend_on_the_input_order():
    cases = cohort(30)
    backwards = dict(reversed(cases.items()))
    assert rank_by_doubt(cases) == rank_by_doubt(backwards)


def test_robust_z_against_known_values():
    assert robust_z(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(
        np.array([-2, -1, 0, 1, 2]) / 1.4826
    )
    assert robust_z(np.array([2.0, 2, 2])).tolist() == [0, 0, 0]
    assert robust_z(np.array([])).size == 0


def test_agreement_counts_a_label_only_one_side_has():
    a = np.array([[1, 1, 2, 2]])
    assert label_agreement(a, a) == 1.0
    assert label_agreement(a, np.array([[1, 1, 0, 0]])) == 0.5
    assert label_agreement(np.zeros((2, 2), int), np.zeros((2, 2), int)) is None


def test_evidence_is_read_from_a_report():
    report = {
        "fold_percent": 0.5,
        "gss_mean": None,
        "inverse_consistency_mm": {"mean": 0.8, "p95": 2.0},
        "seconds": 3,
    }
    found = evidence_from_report(report, agreement=0.9)
    assert found["agreement"] == 0.9
    assert found["fold_percent"] == 0.5
    assert found["gss_mean"] is None
    assert found["inverse_consistency_mm"] == 0.8
    assert found["gvs_mean"] is None
