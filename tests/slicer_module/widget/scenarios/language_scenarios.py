"""The panel in another language: every text is translated, and nothing is decided by texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QAbstractButton, QLabel

from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench, Scans

use_properties(__name__)


@pytest.fixture
def foreign(module: object, scans: Scans) -> Iterator[Bench]:
    boot.language.foreign = True
    made = Bench(module, scans)
    yield made
    made.close()
    boot.language.foreign = False


def translated(text: str) -> bool:
    """Say whether all words of a text were translated (names and numbers apart)."""
    return bool(re.fullmatch(r"‹.*›", text.strip(), re.DOTALL))


def test_a_run_in_another_language(foreign: Bench) -> None:
    assert translated(foreign.ui.applyButton.toolTip)
    assert translated(foreign.ui.qualityTargetLabel.text)
    foreign.panel.results.refresh()
    assert translated(foreign.ui.resultsLabel.text)
    for table in (foreign.ui.resultsTable, foreign.ui.furtherTable, foreign.ui.examplesTable):
        headers = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount)]
        assert all(translated(header) for header in headers), headers
    foreign.choose(1)
    foreign.apply()
    assert translated(foreign.ui.progressLabel.text)
    foreign.finish()
    assert foreign.banner == ""
    assert translated(foreign.ui.progressLabel.text)
    assert foreign.rows[0][4] == "‹done›"


def test_the_automatic_model_is_a_choice_and_no_name(foreign: Bench) -> None:
    foreign.choose(1, model="")
    foreign.ui.modelComboBox.currentIndex = 1
    assert foreign.parameters.model == "none"
    foreign.ui.modelComboBox.currentIndex = 0
    assert foreign.ui.modelComboBox.currentText == "‹automatic›"
    assert foreign.parameters.model == ""
    assert foreign.panel.compute.options().model is None


def test_banners_offer_their_step_whatever_the_language(foreign: Bench, tmp_path: Path) -> None:
    foreign.choose(1)
    foreign.use_engine(str(tmp_path / "nothing"))
    foreign.apply()
    assert translated(foreign.banner)
    assert foreign.ui.bannerButton.text == "‹Go to Compute›"
    foreign.ui.bannerButton.click()
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "No module named napari_gemini" >&2\nexit 1\n')
    bare.chmod(0o755)
    foreign.use_engine(str(bare))
    foreign.apply()
    foreign.finish()
    assert translated(foreign.banner)
    assert foreign.ui.bannerButton.text == "‹Install...›"
    foreign.ui.bannerButton.click()
    dialog = foreign.panel.installation.dialog.dialog
    assert translated(dialog.windowTitle)
    texts = [
        widget.text for kind in (QLabel, QAbstractButton) for widget in dialog.findChildren(kind)
    ]
    # Qt itself translates its standard buttons.
    assert [text for text in texts if text and not translated(text)] == ["Cancel"]
    foreign.ui.trainingFolderEdit.currentPath = ""
    foreign.ui.startTrainingButton.click()
    assert translated(foreign.banner)
