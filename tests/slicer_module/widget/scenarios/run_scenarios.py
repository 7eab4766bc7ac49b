"""Propagations from the panel: progress, results, a second run, errors, folders, votes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import NAMES, Bench, alive, segment_names

use_properties(__name__)


def test_run_brings_results_and_a_second_run_updates_them(bench: Bench) -> None:
    first, second = bench.choose(2)
    bench.apply()
    assert not bench.ui.applyButton.enabled
    assert bench.ui.cancelButton.enabled
    pid = bench.engine_pid
    seen: set[int] = set()

    def done() -> bool:
        seen.add(bench.ui.progressBar.value)
        return not bench.panel._timer.active

    bench.wait(done, "the end", 120)
    assert any(0 < value < bench.ui.progressBar.maximum for value in seen), "no progress"
    assert bench.ui.progressBar.value == bench.ui.progressBar.maximum
    assert bench.banner == ""
    assert bench.ui.progressLabel.text == "2 of 2 targets are finished"
    assert not alive(pid), "the engine stayed"
    rows = bench.rows
    assert [row[0] for row in rows] == ["Patient 1", "Patient 2"]
    assert all(row[4].startswith("done") for row in rows)
    assert all(0 < float(row[1]) <= 1 and float(row[3]) > 0 for row in rows)
    nodes = bench.panel.quality.nodes
    # The first result stays in the views; the second must not take them away.
    assert nodes.target is first
    assert segment_names(nodes.segmentation) == segment_names(bench.parameters.atlasSegmentation)
    assert set(segment_names(nodes.segmentation)) <= set(NAMES.values())
    assert bench.background() == {first.GetID()}
    bench.ui.resultsTable.cellClicked.emit(1, 0)
    assert bench.background() == {second.GetID()}
    assert bench.ui.qualityTargetLabel.text == "Patient 2"
    offered = [node.GetName() for node in bench.ui.targetsSelector._nodes]
    assert offered == ["Atlas", "Patient 1", "Patient 2"], "maps of results are offered as targets"
    bench.ui.resultsTable.cellClicked.emit(0, 0)

    before, table = bench.count(), bench.ui.resultsTable.rowCount
    segmentation = bench.panel.quality.nodes.segmentation
    bench.parameters.gridSpacing = 6.0
    bench.apply()
    bench.finish()
    assert bench.count() == before, "a second run made nodes anew"
    assert bench.ui.resultsTable.rowCount == table
    bench.ui.resultsTable.cellClicked.emit(0, 0)
    assert bench.panel.quality.nodes.segmentation is segmentation


def test_an_error_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    bench.choose(1, model=str(tmp_path / "no model"))
    bench.apply()
    bench.finish(60)
    assert "no model" in bench.banner
    assert "Traceback" not in bench.banner + bench.log
    assert bench.rows[0][4].startswith("failed: ")
    assert bench.ui.applyButton.enabled


def test_too_little_memory_says_what_to_lower_in_the_panels_words(bench: Bench) -> None:
    bench.choose(1, gridSpacing=0.02)
    bench.ui.deviceComboBox.setEditText("cpu")
    bench.apply()
    bench.finish()
    assert "memory" in bench.banner
    assert 'a larger "Grid spacing"' in bench.banner
    assert "--" not in bench.banner
    assert bench.rows[0][4].startswith("failed: ")


def test_a_python_that_is_gone_is_a_sentence(bench: Bench, tmp_path: Path) -> None:
    bench.choose(1)
    bench.use_engine(str(tmp_path / "python"))
    bench.apply()
    assert "is no Python" in bench.banner
    bench.ui.computeSection.collapsed = True
    bench.ui.bannerButton.click()
    assert not bench.ui.computeSection.collapsed
    bench.use_engine(sys.executable)
    assert bench.ui.applyButton.enabled


def test_targets_of_a_folder(bench: Bench, tmp_path: Path) -> None:
    bench.choose(0)
    for image in bench.scans.images[1:3]:
        shutil.copy(image, tmp_path)
    bench.ui.targetsFromFolderButton.click()
    assert not bench.ui.applyButton.enabled
    bench.ui.targetFolderEdit.currentPath = str(tmp_path)
    bench.apply()
    bench.finish()
    assert [row[4][:4] for row in bench.rows] == ["done", "done"]


def test_two_atlases_vote(bench: Bench) -> None:
    bench.choose(1, voteBy="similarity")
    volume = bench.volume(3, "Second atlas")
    bench.ui.furtherVolumeSelector.setCurrentNode(volume)
    bench.ui.furtherSegmentationSelector.setCurrentNode(bench.segmentation(3, volume))
    bench.ui.addFurtherButton.click()
    bench.apply()
    bench.finish()
    assert bench.banner == ""
    assert bench.panel.quality.nodes.agreement is not None
    assert bench.ui.agreementButton.enabled
