"""Methods side by side: pairing by case, missed labels, intervals, the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.evaluation.comparison import gap_closed, side_by_side
from napari_gemini.evaluation.comparison_page import compare_methods, write_comparison_report
from napari_gemini.evaluation.statistics import paired_bootstrap
from napari_gemini.evaluation.summary import summarise
from tests.evaluation.pages import Page


def entry(dice, hd95=1.0):
    present = dice is not None
    return {
        "dice": dice,
        "hd95_mm": hd95 if present else None,
        "assd_mm": hd95 / 3 if present else None,
        "voxels": 10 if present else 0,
        "reference_voxels": 10,
    }


def report(shift=0.0, cases=range(12), seed=0):
    rng = np.random.default_rng(seed)
    table = rng.uniform(0.6, 0.8, (20, 2))
    noise = np.random.default_rng(99).normal(0, 0.01, (20, 2)) if shift else np.zeros((20, 2))
    scores = {
        f"case{i:02d}": {
            str(label + 1): entry(float(table[i, label] + shift + noise[i, label]), 2 - 10 * shift)
            for label in range(2)
        }
        for i in cases
    }
    return summarise(scores, {1: "head", 2: "tail"})


def test_difference_is_paired_over_common_cases():
    a, b = report(0.05, range(12)), report(0.0, range(2, 20))
    found = side_by_side(a, b, names=("ours", "theirs"))
    assert found["pairs"] == 10
    means = [
        np.mean([a["cases"][c][k]["dice"] - b["cases"][c][k]["dice"] for k in "12"])
        for c in found["cases"]
    ]
    expected = paired_bootstrap(means, np.zeros(10))
    mean = found["metrics"]["dice"]["mean"]
    assert mean["difference"] == pytest.approx(np.mean(means))
    assert (mean["low"], mean["high"]) == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert mean["low"] > 0.03
    assert found["metrics"]["hd95_mm"]["mean"]["difference"] == pytest.approx(-0.5)
    assert set(found["metrics"]["dice"]["labels"]) == {"1", "2"}
    assert next(iter(found["cases"].values()))["difference"] == pytest.approx(means[0])
    json.dumps(found, allow_nan=False)


def test_missing_a_label_does_not_pay():
    """Method a drops its badly segmented label 2 everywhere; its plain mean would rise."""
    b = report()
    cases = {case: {"1": scores["1"], "2": entry(None)} for case, scores in b["cases"].items()}
    a = summarise(cases, {})
    found = side_by_side(a, b)["metrics"]
    assert found["dice"]["mean"]["difference"] < -0.2
    assert found["dice"]["labels"]["2"]["a"] == 0.0
    assert found["hd95_mm"]["labels"]["2"]["pairs"] == 0
    assert found["hd95_mm"]["labels"]["2"]["difference"] is None


def test_share_of_gap():
    found = gap_closed(report(0.0), report(0.03), report(0.06))
    assert found.share == pytest.approx(0.5, abs=0.15)
    assert found.low <= found.share <= found.high
    assert found.pairs == 12


def test_reports_may_be_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report(0.05)))
    assert (
        side_by_side(path, report())["metrics"] == side_by_side(report(0.05), report())["metrics"]
    )
    path.write_text(json.dumps({"scores": 1}))
    with pytest.raises(InputError, match="has no scores of cases"):
        side_by_side(path, report())
    with pytest.raises(InputError, match="does not exist"):
        side_by_side(tmp_path / "nowhere.json", report())
    with pytest.raises(InputError, match="no case in common"):
        side_by_side(report(cases=range(3)), report(cases=range(4, 6)))


def test_sentences_name_interval_and_gap():
    others = {"five-label U-Net": report(0.0), "all labels": report(0.06)}
    view = compare_methods(
        "GEMINI", report(0.03), others, {"1": "head"}, "five-label U-Net", "all labels"
    )
    assert "higher than five-label U-Net over 12 cases" in view.sentences[0]
    assert "excludes 0" in view.sentences[0]
    assert "lower than all labels" in view.sentences[1]
    assert "of the gap of" in view.sentences[2]
    assert [row[0].shown for row in view.methods.rows] == [
        "GEMINI",
        "five-label U-Net",
        "all labels",
    ]
    same = compare_methods("a", report(), {"b": report()}, {})
    assert "includes 0" in same.sentences[0]


def test_page(tmp_path):
    hostile = "<script>alert(1)</script>"
    out = write_comparison_report(
        report(0.05), report(), tmp_path / "page.html", names=("ours", hostile)
    )
    page = Page(out.read_text())
    page.check_self_contained()
    assert hostile in page.text
    assert "+0.05" in page.text
    cases = next(table for table in page.tables if table[0][0] == "Case")
    differences = [float(row[3].replace("−", "-")) for row in cases[1:]]
    assert len(differences) == 12
    assert differences == sorted(differences)


def test_page_without_spacing_or_second_case(tmp_path):
    scores = {"only": {"1": {"dice": 0.8, "voxels": 4, "reference_voxels": 5}}}
    one = summarise(scores, {})
    page = Page(write_comparison_report(one, one, tmp_path / "page.html").read_text())
    assert "HD95" not in page.text
    assert "0.800" in page.text
