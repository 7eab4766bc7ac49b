"""Few-shot training from the panel: five segmented volumes, live, stop, resume, label the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import CHECKED, NAMES, Bench, segment_names

use_properties(__name__)

TINY = "network.base_width=4 checkpoint_every=2 validate_every=1000"


def fill(bench: Bench, folder: Path, steps: int) -> list[object]:
    """Choose five examples and two others."""
    bench.use_engine()
    bench.ui.deviceComboBox.setEditText("cpu")
    for number in range(5):
        bench.segmentation(number, bench.volume(number, f"Example {number}"))
    bench.ui.addAllExamplesButton.click()
    others = [bench.volume(number, f"Other {number}") for number in (5, 6)]
    for node in others:
        bench.ui.othersSelector.setCheckState(node, CHECKED)
    bench.ui.trainingFolderEdit.currentPath = str(folder)
    bench.ui.trainingSettingsEdit.text = TINY
    bench.ui.trainingStepsSpinBox.value = steps
    return others


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "training"
    yield made
    # A test that failed must not leave a training behind.
    for run in made.glob("study/runs/*"):
        (run / "stop").touch()


def starts(folder: Path) -> int:
    """Return how often the training of a folder was started."""
    from GeminiPropagateLib.training_run import EventTail

    (run,) = (folder / "study" / "runs").iterdir()
    said = EventTail(run / "events.jsonl").read()
    return sum(event["event"] == "started" for event in said)


def test_training_is_followed_stopped_resumed_and_labels_the_others(
    bench: Bench, folder: Path
) -> None:
    others = fill(bench, folder, 100_000)
    assert bench.ui.examplesTable.rowCount == 5
    bench.ui.startTrainingButton.click()
    assert bench.banner == ""
    assert not bench.ui.startTrainingButton.enabled
    curve = bench.panel.training._curve
    bench.wait(lambda: len(curve.points) >= 3, "a curve", 150)
    assert "step" in bench.ui.trainingLabel.text
    assert not bench.ui.trainingCurveLabel.pixmap.isNull()

    # What a closed scene or another start of Slicer does; the training goes on.
    bench.panel.training.close()
    first = curve.points[0]
    curve.clear()
    bench.ui.resumeTrainingButton.click()
    bench.wait(lambda: len(curve.points) >= 3, "the curve from its beginning", 60)
    assert curve.points[0] == first
    assert starts(folder) == 1, "a second training was started"
    assert bench.banner == ""

    bench.ui.stopTrainingButton.click()
    bench.finish(60)
    assert bench.banner == ""
    assert bench.ui.resumeTrainingButton.enabled
    steps = curve.points[-1][0]

    bench.ui.resumeTrainingButton.click()
    bench.wait(lambda: curve.points[-1][0] > steps + 1, "more steps", 90)
    bench.ui.stopTrainingButton.click()
    bench.finish(60)

    bench.ui.predictButton.click()
    bench.finish(120)
    assert bench.banner == ""
    assert [row[0] for row in bench.rows] == ["Other 5", "Other 6"]
    nodes = bench.panel.quality.nodes
    assert nodes.target in others
    assert set(segment_names(nodes.segmentation)) <= set(NAMES.values())


def test_what_is_missing_is_a_sentence(bench: Bench, tmp_path: Path) -> None:
    bench.use_engine()
    bench.ui.startTrainingButton.click()
    assert "segmented volumes" in bench.banner
    fill(bench, tmp_path / "training", 2)
    bench.ui.trainingFolderEdit.currentPath = ""
    bench.ui.startTrainingButton.click()
    assert bench.banner == "Choose a folder for the training."
    bench.ui.trainingFolderEdit.currentPath = str(tmp_path / "empty")
    bench.ui.resumeTrainingButton.click()
    assert "empty" in bench.banner
    assert bench.ui.startTrainingButton.enabled


def test_a_wrong_setting_is_a_sentence(bench: Bench, tmp_path: Path) -> None:
    fill(bench, tmp_path / "training", 2)
    bench.ui.trainingSettingsEdit.text = "network.no_such_thing=4"
    bench.ui.startTrainingButton.click()
    bench.finish(90)
    assert "no_such_thing" in bench.banner
    assert bench.ui.startTrainingButton.enabled


def test_removing_an_example(bench: Bench, tmp_path: Path) -> None:
    fill(bench, tmp_path, 2)
    bench.ui.examplesTable.setCurrentCell(1, 0)
    bench.ui.removeExampleButton.click()
    names = [bench.ui.examplesTable.item(row, 0).text() for row in range(4)]
    assert names == ["Example 0", "Example 2", "Example 3", "Example 4"]
