"""What is there to review, how doubtful it is, and what verdicts do; no window needed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import StudyError
from napari_gemini.study.review import latest_on
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.review.decisions import (
    export_csv,
    note_verdict,
    replaces_hand_labels,
    take_prediction,
)
from napari_gemini.widgets.review.items import Item, collect, known_dice, pairs_in
from napari_gemini.widgets.review.table import doubt_in_words, is_marked
from tests.gui.review.helpers import EVIDENCE, reviewed_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return reviewed_study(tmp_path)


def find(study: Study, name: str) -> Item:
    return next(item for item in collect(study) if item.name == name)


def test_predictions_and_pairs_are_found_with_their_evidence(study):
    items = collect(study)
    assert {item.name for item in items} == {*EVIDENCE, "case1__case0", "case2__case0"}
    pair = find(study, "case2__case0")
    assert pair.case == "case2"
    assert pair.values == {
        "fold_percent": 0.1,
        "gvs_mean": 0.8,
        "inverse_consistency_mm": 0.9,
        "dice": pytest.approx(0.7),
    }
    assert {item.name for item in collect(study, run="first")} == set(EVIDENCE)
    assert collect(study, run="second") == []


def test_the_outlier_comes_first_and_is_explained_within_its_cohort(study):
    worst, *others = [item for item in collect(study) if item.kind == "prediction"]
    assert worst.case == "case4"
    assert worst.outlier
    assert not any(item.outlier for item in others)
    assert is_marked(worst, "agreement")
    assert not is_marked(others[0], "agreement")
    words = doubt_in_words(worst)
    assert "Agreement 0.400" in words
    assert "3.5" in words
    # Two pairs are too few to call one of them an outlier, and they are no cohort of the run's.
    pair = find(study, "case2__case0")
    assert pair.cohort == 2
    assert not pair.outlier
    assert "from 5 results on" in doubt_in_words(pair)


def test_results_elsewhere_can_be_added(study, tmp_path):
    folder = study.folder / "pairs"
    assert len(pairs_in(folder, "elsewhere", None)) == 2
    items = collect(study, [folder])
    assert len([item for item in items if item.kind == "pair"]) == 4
    assert pairs_in(tmp_path / "nowhere", "x", study) == []


def test_a_damaged_report_is_left_out(study):
    (study.folder / "pairs" / "case1__case0" / "report.json").write_text("{")
    assert "case1__case0" not in {item.name for item in collect(study)}


def test_accepting_writes_labels_and_who_and_when(study):
    item = find(study, "case1")
    assert not replaces_hand_labels(study, item)
    take_prediction(study, item, "accepted", "looks right")
    assert np.array_equal(study.load_labels("case1").data, read_labels(item.path).data)
    assert study.case("case1").status == "done"
    row = find(study, "case1").review
    assert (row.verdict, row.comment, row.source) == (
        "accepted",
        "looks right",
        "predictions/first",
    )
    assert row.who
    assert row.when
    # What was accepted may be taken again without a question.
    assert not replaces_hand_labels(study, find(study, "case1"))
    assert known_dice(study, find(study, "case1")) is None


def test_labels_made_by_hand_are_asked_about_and_go_to_the_history(study):
    mine = np.zeros(study.outline("case2").shape, np.uint8)
    mine[3:6, 3:6, 3:6] = 1
    study.save_labels("case2", mine)
    item = find(study, "case2")
    assert replaces_hand_labels(study, item)
    dice = known_dice(study, item)
    assert 0 < dice < 1
    take_prediction(study, item, "corrected")
    assert study.case("case2").status == "started"
    (before,) = study.history("case2")
    assert np.array_equal(read_labels(before).data, mine)


def test_a_verdict_is_on_one_result_and_not_on_another_of_the_same_case(study):
    note_verdict(study, find(study, "case1"), "rejected", "no")
    assert find(study, "case1").review.verdict == "rejected"
    assert find(study, "case1__case0").review is None
    # A verdict on the case as a whole counts for all its results.
    study.add_review("case1", "unsure")
    assert find(study, "case1__case0").review.verdict == "unsure"
    assert latest_on(study.review(), "case2", "pairs/x") is None


def test_a_result_of_no_case_takes_no_verdict(study):
    stranger = pairs_in(study.folder / "pairs", "elsewhere", None)[0]
    with pytest.raises(StudyError, match="no case of this study"):
        note_verdict(study, stranger, "accepted")


def test_the_table_is_exported(study, tmp_path):
    note_verdict(study, find(study, "case4"), "rejected", 'folds, "all" over')
    export_csv(tmp_path / "table.csv", collect(study))
    with (tmp_path / "table.csv").open(newline="") as stream:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(stream)}
    assert len(rows) == 8
    worst = rows["prediction", "case4"]
    assert worst["outlier"] == "True"
    assert float(worst["agreement"]) == 0.4
    assert worst["comment"] == 'folds, "all" over'
    assert rows["pair", "case1__case0"]["gss_mean"] == ""
