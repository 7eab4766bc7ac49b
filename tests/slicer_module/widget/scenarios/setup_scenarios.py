"""The panel without a run: built from nothing, choices kept, what is missing said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import slicer

from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import CHECKED, Bench

use_properties(__name__)


def test_setup_needs_no_engine_and_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    widget = bench.module.GeminiPropagateWidget(None)
    widget.setup()
    assert widget.ui.bannerFrame.isHidden()
    assert not widget.ui.applyButton.enabled
    assert "atlas" in widget.ui.applyButton.toolTip
    widget.cleanup()


def test_module_describes_itself(bench: Bench) -> None:
    parent = type("Parent", (), {})()
    bench.module.GeminiPropagate(parent)
    assert parent.categories == ["Registration"]
    assert parent.contributors
    assert parent.acknowledgementText
    assert "not a diagnosis" in parent.helpText


def test_another_scene_and_back(bench: Bench) -> None:
    """What Slicer's generic test does with every module."""
    widget = bench.ui.bannerFrame.parentWidget()
    other = slicer.vtkMRMLScene()
    widget.setMRMLScene(other)
    widget.setMRMLScene(bench.scene)
    bench.choose(1)
    assert bench.ui.applyButton.enabled


def test_choices_are_kept_with_the_scene(bench: Bench, tmp_path: Path) -> None:
    targets = bench.choose(2, gridSpacing=3.0, voteBy="similarity", model="some/folder")
    further = bench.volume(3, "Second atlas")
    bench.ui.furtherVolumeSelector.setCurrentNode(further)
    bench.ui.furtherSegmentationSelector.setCurrentNode(bench.segmentation(3, further))
    bench.ui.addFurtherButton.click()
    names = [node.GetName() for node in targets]
    bench.scene.SetRootDirectory(str(tmp_path))
    for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
        nodes = bench.scene.GetNodesByClass(kind)
        for n in range(nodes.GetNumberOfItems()):
            node = nodes.GetItemAsObject(n)
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            storage.SetFileName(str(tmp_path / f"{node.GetID()}.nrrd"))
            assert storage.WriteData(node)
    bench.scene.SetURL(str(tmp_path / "scene.mrml"))
    assert bench.scene.Commit()
    bench.scene.Clear(False)
    assert bench.parameters.atlasVolume is None
    assert bench.ui.atlasVolumeSelector.currentNode() is None
    bench.scene.SetURL(str(tmp_path / "scene.mrml"))
    assert bench.scene.Import()
    ui = bench.ui
    assert ui.atlasVolumeSelector.currentNode().GetName() == "Atlas"
    assert [node.GetName() for node in ui.targetsSelector.checkedNodes()] == names
    assert ui.furtherTable.item(0, 0).text() == "Second atlas"
    assert ui.voteComboBox.currentText == "similarity"
    assert ui.gridSpacingSpinBox.value == 3.0
    assert ui.modelComboBox.currentText == "some/folder"
    assert ui.applyButton.enabled


def test_the_atlas_is_no_target(bench: Bench) -> None:
    (target,) = bench.choose(1)
    atlas = bench.ui.atlasVolumeSelector.currentNode()
    bench.ui.targetsSelector.setCheckState(atlas, CHECKED)
    assert bench.panel.inputs.targets() == [target]


def test_deleted_nodes_leave_the_lists(bench: Bench) -> None:
    (target,) = bench.choose(1)
    volume = bench.volume(2, "Second atlas")
    bench.ui.furtherVolumeSelector.setCurrentNode(volume)
    bench.ui.furtherSegmentationSelector.setCurrentNode(bench.segmentation(2, volume))
    bench.ui.addFurtherButton.click()
    assert len(bench.panel.inputs.atlases()) == 2
    bench.scene.RemoveNode(volume)
    assert len(bench.panel.inputs.atlases()) == 1
    assert bench.ui.furtherTable.rowCount == 0
    bench.scene.RemoveNode(target)
    assert not bench.ui.applyButton.enabled
    assert "target" in bench.ui.applyButton.toolTip


def test_removing_a_further_atlas(bench: Bench) -> None:
    bench.choose(1)
    for number in (2, 3):
        volume = bench.volume(number, f"Atlas {number}")
        bench.ui.furtherVolumeSelector.setCurrentNode(volume)
        bench.ui.furtherSegmentationSelector.setCurrentNode(bench.segmentation(number, volume))
        bench.ui.addFurtherButton.click()
        bench.ui.addFurtherButton.click()
    assert bench.ui.furtherTable.rowCount == 2
    bench.ui.furtherTable.setCurrentCell(0, 0)
    bench.ui.removeFurtherButton.click()
    assert [node.GetName() for node in bench.parameters.furtherVolumes] == ["Atlas 3"]


def test_python_without_the_engine_gives_a_banner(bench: Bench, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    bench.use_engine(str(bare))
    bench.panel.enter()
    bench.wait(lambda: bench.banner, "banner", 30)
    assert "has no napari-gemini" in bench.banner
    assert bench.ui.bannerButton.text == "Install..."
    assert not bench.panel._timer.active or bench.finish() is None
    assert not bench.ui.inputsSection.isHidden()
    bench.ui.bannerButton.click()
    assert bench.panel.installation.dialog.dialog.visible
    assert bench.banner == ""


def test_no_python_at_all_gives_a_banner(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    bench.panel.enter()
    assert "PythonSlicer was not found" in bench.banner
    bench.ui.bannerButton.click()
    assert bench.banner == ""


def test_a_working_python_is_ready(bench: Bench) -> None:
    bench.use_engine()
    bench.ui.checkButton.click()
    bench.wait(lambda: bench.ui.pythonStatusLabel.text.startswith("Ready"), "ready", 60)
    assert bench.banner == ""
    bench.finish()


def test_python_and_device_belong_to_the_machine(bench: Bench) -> None:
    bench.use_engine("/some/python")
    bench.ui.deviceComboBox.setEditText("cuda:1")
    again = bench.module.GeminiPropagateWidget(None)
    again.setup()
    assert again.ui.externalPythonEdit.currentPath == "/some/python"
    assert again.panel.compute.device == "cuda:1"
    again.cleanup()


def test_nothing_of_torch_is_in_the_process(bench: Bench) -> None:
    """The phantoms of these tests come from napari_gemini; torch would come from the module."""
    assert "torch" not in sys.modules
    assert boot.MODULE_FOLDER.is_dir()
