"""The run report on a study of phantoms: pictures, order, curves, comparisons, hostile names."""

from __future__ import annotations

import base64
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.evaluation import charts
from napari_gemini.evaluation.doubt import rank_by_doubt
from napari_gemini.evaluation.folders import evaluate_folders
from napari_gemini.evaluation.run_report import write_run_report
from napari_gemini.evaluation.run_table import case_order
from napari_gemini.evaluation.summary import summarise
from napari_gemini.evaluation.tables import Tile
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.evaluation.pages import Page

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four pictures in a study; each next case is predicted worse than the one before."""
    root = tmp_path_factory.mktemp("run")
    cohort = make_cohort(4, 2, shape=(48, 48), seed=1)
    for name in ("images", "labels", "truth"):
        (root / name).mkdir()
    for case in cohort.cases:
        write_volume(root / "images" / f"{case.id}.png", case.image.data, case.image)
        write_labels(root / "labels" / f"{case.id}.png", case.labels.data, case.labels)
    names = {**cohort.names, 2: HOSTILE}
    study = Study.create(
        root / "study", [root / "images"], root / "labels", scheme=LabelScheme(names=names)
    )
    run = study.run_dir("first")
    run.mkdir(parents=True)
    study.predictions_dir("first").mkdir(parents=True)
    for shift, case in enumerate(cohort.cases):
        predicted = np.roll(case.labels.data, 2 * shift, axis=0)
        if shift == 3:
            predicted = np.where(predicted == 4, 0, predicted)
        write_labels(study.prediction_path("first", case.id), predicted, case.labels)
    config = {
        "job": {"settings": {"objective": "gemini-semi", "preset": "quick", HOSTILE: HOSTILE}},
        "provenance": {
            "command": ["napari-gemini", "train", HOSTILE],
            "versions": {"torch": "2.13"},
        },
    }
    (run / "config.json").write_text(json.dumps(config))
    with (run / "events.jsonl").open("w") as stream:
        for step in range(10, 1001, 10):
            values = {"loss_segmentation": 50 / step, "gss": 0.2, HOSTILE: 1.0}
            line = {"event": "progress", "done": step, "values": values, "time": step / 10}
            stream.write(json.dumps(line) + "\n")
        for step, score in ((500, 0.6), (800, 0.9), (1000, 0.8)):
            payload = {"step": step, "score": score, "title": f"Dice {HOSTILE}"}
            line = {"event": "notice", "name": "validation", "payload": payload}
            stream.write(json.dumps(line) + "\n")
        stream.write(json.dumps({"event": "log", "level": "warning", "message": HOSTILE}) + "\n")
    return root


@pytest.fixture(scope="module")
def page(study):
    run = study / "study" / "runs" / "first"
    scores = evaluate_folders(study / "study/predictions/first", study / "labels")
    doubts = rank_by_doubt({case: {"agreement": 0.9} for case in scores["cases"]})
    out = write_run_report(
        run,
        references=study / "labels",
        comparisons={HOSTILE: scores},
        doubts=doubts,
        highlights=[Tile("Target registration error", "1.2 mm", HOSTILE)],
        links={HOSTILE: study / "pair" / "report.html"},
    )
    assert out == run / "report.html"
    return Page(out.read_text())


def test_page_is_self_contained_and_escaped(page):
    page.check_self_contained()
    assert page.text.count(HOSTILE) > 5
    assert "preset quick" in page.text


def test_cases_are_sorted_worst_first_with_pictures(page, study):
    table = next(t for t in page.tables if t[0][:2] == ["Case", "Slices"])
    shown = [(row[0], float(row[2])) for row in table[1:]]
    assert [value for _, value in shown][1:] == sorted(value for _, value in shown[1:])
    # The last phantom lacks a label, which the order counts as 0 and the cell names.
    assert shown[0][0].startswith("phantom_004")
    assert "missing" in shown[0][0]
    assert shown[-1][1] == 1.0
    thumbs = [a for t, a in page.tags if t == "img" and a.get("class") == "thumb"]
    assert len(thumbs) == 4
    scores = evaluate_folders(study / "study/predictions/first", study / "labels")
    assert shown[0][1] == pytest.approx(_mean(scores, "phantom_004"), abs=1e-3)


def test_a_missed_label_makes_a_case_worse_than_a_mediocre_one():
    def entry(dice, voxels=5):
        return {"dice": dice, "voxels": voxels, "reference_voxels": 5}

    cases = {
        "mediocre": {"1": entry(0.7), "2": entry(0.7)},
        "missed": {"1": entry(1.0), "2": entry(None, voxels=0)},
        "good": {"1": entry(0.9), "2": entry(0.9)},
        "empty": {"1": {**entry(None, 0), "reference_voxels": 0}},
    }
    order = case_order(cases, summarise(cases, {}), {})
    assert order == ["missed", "mediocre", "good", "empty"]


def _mean(scores, case):
    values = [entry["dice"] for entry in scores["cases"][case].values()]
    return np.mean([value for value in values if value is not None])


def test_examples_are_worst_median_and_best(page):
    for title in ("Worst case: phantom_004", "Median case: phantom_002", "Best case: phantom_001"):
        assert page.picture(title).std() > 10


def test_means_absences_and_highlights(page, study):
    scores = evaluate_folders(study / "study/predictions/first", study / "labels")
    assert f"{scores['mean']['dice']:.3f}" in page.text
    assert "1 missing in predictions, 0 missing in references" in page.text
    assert "1.2 mm" in page.text
    assert "HD95" not in page.text
    labels = next(t for t in page.tables if t[0][0] == "Label" and "Cases scored" in t[0])
    assert {row[0] for row in labels[1:]} >= {HOSTILE}


def test_curves_are_drawn(page):
    sources = [a["src"] for t, a in page.tags if t == "img" and a.get("class") == "plot"]
    # Validation, three values of training, one comparison.
    assert len(sources) == 5
    for source in sources:
        ElementTree.fromstring(base64.b64decode(source.split(",", 1)[1]))
    assert "Segmentation loss (weighted)" in page.text
    assert "0.900" in page.text


def test_links_are_relative(page, study):
    links = [a["href"] for t, a in page.tags if t == "a" and not a["href"].startswith("#")]
    assert links == ["../../../pair/report.html"]


def test_bare_run_folder_still_gives_a_page(tmp_path):
    (tmp_path / "run").mkdir()
    page = Page(write_run_report(tmp_path / "run").read_text())
    page.check_self_contained()
    assert "The command was not recorded" in page.text
    with pytest.raises(InputError, match="is not a folder"):
        write_run_report(tmp_path / "nowhere")


def test_without_scores_doubt_gives_the_order(study, tmp_path):
    run = study / "study" / "runs" / "first"
    values = {"phantom_001": 0.3, "phantom_002": 0.9, "phantom_003": 0.5, "phantom_004": 0.91}
    doubts = rank_by_doubt({case: {"agreement": value} for case, value in values.items()})
    page = Page(write_run_report(run, doubts=doubts, out=tmp_path / "page.html").read_text())
    table = next(t for t in page.tables if t[0][0] == "Case")
    assert [row[0] for row in table[1:]] == [
        "phantom_001",
        "phantom_003",
        "phantom_002",
        "phantom_004",
    ]
    assert "Sorted by doubt" in page.text


def test_at_most_so_many_pictures(study, tmp_path):
    run = study / "study" / "runs" / "first"
    out = tmp_path / "page.html"
    page = Page(
        write_run_report(run, references=study / "labels", out=out, most_pictures=2).read_text()
    )
    assert sum(a.get("class") == "thumb" for t, a in page.tags if t == "img") == 2
    assert "Only the first cases have pictures" in page.text


def test_unreadable_image_costs_its_picture_only(study, tmp_path):
    run = study / "study" / "runs" / "first"
    images = {"phantom_001": tmp_path / "gone.png"}
    page = Page(
        write_run_report(
            run, references=study / "labels", images=images, out=tmp_path / "p.html"
        ).read_text()
    )
    assert sum(a.get("class") == "thumb" for t, a in page.tags if t == "img") == 3


def test_overlapping_masks_are_drawn(tmp_path):
    cohort = make_cohort(1, 2, shape=(40, 40), seed=2)
    case = cohort.cases[0]
    write_volume(tmp_path / "x.png", case.image.data, case.image)
    for side in ("p", "r"):
        (tmp_path / side / "x").mkdir(parents=True)
        for name, value in (("inner", 3), ("outer", 1)):
            mask = (case.labels.data >= value).astype(np.uint8)
            write_labels(tmp_path / side / "x" / f"{name}.png", mask, case.labels)
    (tmp_path / "run").mkdir()
    out = write_run_report(
        tmp_path / "run",
        predictions=tmp_path / "p",
        references=tmp_path / "r",
        images={"x": tmp_path / "x.png"},
    )
    page = Page(out.read_text())
    assert "inner" in page.text
    assert sum(a.get("class") == "thumb" for t, a in page.tags if t == "img") == 1


def test_charts_follow_the_theme_and_have_no_fixed_ink():
    source = charts.curve({1: 0.5, 2: 0.7, 3: 0.6}, best=True)
    svg = base64.b64decode(source.split(",", 1)[1]).decode()
    assert "prefers-color-scheme" in svg
    assert "var(--accent)" in svg
    assert not re.search(r"#01020\d", svg)
    assert not re.search(r"(href|src)=\"http", svg)


def test_chart_of_one_value_and_of_none_positive():
    for values in ({5: 1.0}, {1: -1.0, 2: 0.0}, dict.fromkeys(range(200), 1.0)):
        assert charts.curve(values, logarithmic=True).startswith("data:image/svg+xml;base64,")
    assert charts.spans_decades([1, 11])
    assert not charts.spans_decades([0, 11])
    assert not charts.spans_decades([5, 11])


def test_missing_folder_for_the_page_is_one_sentence(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        write_run_report(tmp_path / "run", out=tmp_path / "nowhere" / "page.html")
