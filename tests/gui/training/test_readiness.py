"""The five questions, on real studies; no window needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gemini.settings import preset
from napari_gemini.study.study import Study
from napari_gemini.widgets.training.readiness import (
    Check,
    Engine,
    LabelValues,
    check_readiness,
    needed_bytes,
    smaller_settings,
    study_facts,
)
from tests.gui.training.helpers import ready_study

GB = 10**9
CPU = Engine(devices=[{"name": "cpu", "description": "", "free": 8 * GB}])


def answers(study: Study | None, engine: Engine = CPU, device: str = "auto") -> dict[str, Check]:
    facts = None if study is None else study_facts(study, LabelValues())
    checks = check_readiness(study, facts, engine, preset("quick"), device)
    assert len(checks) == 5
    return {check.title: check for check in checks}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return ready_study(tmp_path, cases=6, labelled=5)


def test_a_study_with_five_finished_cases_is_ready(study):
    assert {check.answer for check in answers(study).values()} == {"yes"}


def test_without_a_study_the_way_out_is_named(tmp_path):
    found = answers(None)
    assert found["Labelled scans"].blocks
    assert "Study dock" in found["Labelled scans"].words


def test_too_few_labels_and_unfinished_ones_are_said(tmp_path):
    study = ready_study(tmp_path, cases=3, labelled=2)
    study.set_case("case1", status="started")
    check = answers(study)["Labelled scans"]
    assert check.answer == "note"
    assert "2 of 5" in check.words
    assert "case1" in check.words


def test_a_case_painted_and_emptied_is_not_counted(tmp_path):
    study = ready_study(tmp_path, cases=3, labelled=2)
    study.save_labels("case1", np.zeros_like(study.load_labels("case1").data))
    assert "2 of 5" in answers(study)["Labelled scans"].words, "done: nothing is there"
    study.set_case("case1", status="started")
    assert "1 of 5" in answers(study)["Labelled scans"].words


def test_no_labels_at_all_keeps_from_starting(tmp_path):
    study = ready_study(tmp_path, cases=3, labelled=1)
    study.set_case("case0", role="unlabelled")
    found = answers(study)
    assert found["Labelled scans"].blocks
    assert found["Classes"].answer == "no"


def test_a_class_that_nobody_painted_is_named_until_it_is(study):
    values = LabelValues()
    scheme = study.scheme
    study.set_scheme(scheme.model_copy(update={"names": {**scheme.names, 3: "vessel"}}))
    facts = study_facts(study, values)
    check = check_readiness(study, facts, CPU, preset("quick"), "cpu")[2]
    assert check.answer == "no"
    assert "vessel" in check.words
    assert not check.blocks
    labels = np.array(study.load_labels("case0").data)
    labels[0, 0, 0] = 3
    study.save_labels("case0", labels)
    assert study_facts(study, values).found[3] == 1


def test_a_missing_image_and_a_lonely_scan_are_said(tmp_path):
    study = ready_study(tmp_path / "one", cases=2, labelled=1)
    study.set_case("case1", role="test")
    assert "1 to train with" in answers(study)["Scans"].words
    study = ready_study(tmp_path / "two", cases=3, labelled=1)
    study.image_path("case2").unlink()
    check = answers(study)["Scans"]
    assert check.blocks
    assert "case2" in check.words


def test_a_broken_label_map_is_a_sentence(study):
    study.labels_path("case0").write_bytes(b"no image")
    check = answers(study)["Labelled scans"]
    assert check.blocks
    assert "case0" in check.words


def test_the_engine_says_what_is_missing(study):
    words = "This needs PyTorch; install it with pip install 'napari-gemini[engine]'."
    assert answers(study, Engine(error=words))["Engine"].words == words
    assert answers(study, Engine())["Engine"].answer == "unknown"
    assert "no device cuda" in answers(study, CPU, "cuda")["Engine"].words


def test_memory_is_compared_with_what_is_free(study):
    need = needed_bytes(preset("quick"), study)

    def answer(free: float) -> str:
        engine = Engine(devices=[{"name": "cpu", "free": free}])
        return answers(study, engine)["Memory"].answer

    assert [answer(need * x) for x in (0.4, 0.7, 1.1)] == ["no", "note", "yes"]


def test_auto_is_the_card_with_most_room():
    cards = [{"name": f"cuda:{i}", "free": free} for i, free in enumerate((1, 3, 2))]
    engine = Engine(devices=[*cards, {"name": "cpu", "free": 9}])
    assert engine.device("auto")["name"] == "cuda:1"


def test_smaller_settings_need_less_until_nothing_is_left(study):
    settings = preset("paper")
    sizes = [needed_bytes(settings, study)]
    for _ in range(10):
        found = smaller_settings(settings, study)
        if found is None:
            break
        settings, words = found
        assert words
        sizes.append(needed_bytes(settings, study))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 10
    assert settings.network.base_width == 4
