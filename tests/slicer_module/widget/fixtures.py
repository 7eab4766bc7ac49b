"""Fixtures of the widget's scenarios: a panel on the stand-ins, tiny scans, a real engine.

Loaded as a plugin into the process of the scenarios alone (see test_widget.py).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)

#: How many times slower than a quiet machine a busy one may be before a wait counts as endless.
_PATIENCE = 8
CHECKED = Qt.CheckState.Checked
NAMES = {1: "bone", 2: "muscle", 3: "vessel", 4: "organ", 5: "fat", 6: "skin"}


@dataclass
class Scans:
    """Files of the phantom cohort, sorted."""

    images: list[Path]
    labels: list[Path]


class Bench:
    """A panel with a scene, and what a user does with it."""

    def __init__(self, module: Any, scans: Scans) -> None:
        self.module = module
        self.scans = scans
        boot.answers.confirm, boot.answers.questions = True, []
        self.scene = boot.new_scene()
        slicer.app.userSettings().clear()
        self.widget = module.GeminiPropagateWidget(None)
        self.widget.setup()
        self.widget.parent.isEntered = True
        self.panel, self.ui = self.widget.panel, self.widget.ui
        slicer.util.getModuleWidget = lambda name: self.widget

    @property
    def parameters(self) -> Any:
        return self.widget._parameterNode

    def use_engine(self, python: str = sys.executable) -> None:
        self.ui.externalPythonButton.checked = True
        self.ui.externalPythonEdit.currentPath = python

    def volume(self, number: int, name: str) -> Any:
        return load_volume(self.scene, self.scans.images[number], name)

    def segmentation(self, number: int, volume: Any) -> Any:
        return load_segmentation(self.scene, self.scans.labels[number], volume)

    def choose(self, targets: int = 1, **parameters: Any) -> list[Any]:
        """Load an atlas and targets, choose them, and return the targets."""
        self.use_engine()
        atlas = self.volume(0, "Atlas")
        self.ui.atlasVolumeSelector.setCurrentNode(atlas)
        self.ui.atlasSegmentationSelector.setCurrentNode(self.segmentation(0, atlas))
        nodes = [self.volume(n, f"Patient {n}") for n in range(1, targets + 1)]
        for node in nodes:
            self.ui.targetsSelector.setCheckState(node, CHECKED)
        options = {"model": "none", "refine": 2, "gridSpacing": 5.0, **parameters}
        for name, value in options.items():
            setattr(self.parameters, name, value)
        return nodes

    def apply(self) -> None:
        assert self.ui.applyButton.enabled, self.ui.applyButton.toolTip
        self.ui.applyButton.click()

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 90.0) -> Any:
        """Let the window work until a condition holds; times are those of a quiet machine."""
        until = time.monotonic() + _PATIENCE * timeout
        while not (value := condition()):
            assert time.monotonic() < until, f"{what}: not in time\n{self.log}"
            QApplication.processEvents()
            time.sleep(0.01)
        return value

    def finish(self, timeout: float = 120.0) -> None:
        """Wait until nothing goes on."""
        self.wait(lambda: not self.panel._timer.active, "the end", timeout)

    @property
    def banner(self) -> str:
        return "" if self.ui.bannerFrame.isHidden() else self.ui.bannerLabel.text

    @property
    def log(self) -> str:
        return self.ui.logEdit.plainText

    @property
    def rows(self) -> list[list[str]]:
        table = self.ui.resultsTable
        return [
            [table.item(row, column).text() for column in range(table.columnCount)]
            for row in range(table.rowCount)
        ]

    @property
    def engine_pid(self) -> int:
        return self.panel.logic.propagation.run.client.pid

    def background(self) -> set[str]:
        """Return the ids of the volumes that the slice views show."""
        views = self.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
        return {
            views.GetItemAsObject(n).GetBackgroundVolumeID()
            for n in range(views.GetNumberOfItems())
        }

    def foreground(self) -> set[str | None]:
        views = self.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
        return {
            views.GetItemAsObject(n).GetForegroundVolumeID()
            for n in range(views.GetNumberOfItems())
        }

    def count(self) -> dict[str, int]:
        """Return how many nodes of each class the scene has."""
        counts: dict[str, int] = {}
        for n in range(self.scene.GetNumberOfNodes()):
            name = self.scene.GetNthNode(n).GetClassName()
            counts[name] = counts.get(name, 0) + 1
        return counts

    def close(self) -> None:
        self.widget.cleanup()
        self.widget.parent.deleteLater()
        QApplication.processEvents()


def load_volume(scene: Any, path: Path, name: str, kind: str = "Scalar") -> Any:
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", name)
    storage = node.CreateDefaultStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    storage.UnRegister(None)
    return node


def load_segmentation(scene: Any, path: Path, volume: Any) -> Any:
    label_map = load_volume(scene, path, "labels", "LabelMap")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} segmentation")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    logic = slicer.modules.segmentations.logic()
    assert logic.ImportLabelmapToSegmentationNode(label_map, node)
    scene.RemoveNode(label_map)
    segmentation = node.GetSegmentation()
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        segment.SetName(NAMES[segment.GetLabelValue()])
    return node


def segment_names(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [
        segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())
    ]


def alive(pid: int) -> bool:
    """Say whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    return boot.boot(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Scans:
    cohort = make_cohort(7, 3, (24, 24, 24), spacing=3.0, noise=0.02)
    folder = write_cohort(tmp_path_factory.mktemp("scans") / "cohort", cohort, test=2)
    images = sorted((folder / "images").iterdir())
    return Scans(images, [folder / "labels" / image.name for image in images])


@pytest.fixture
def bench(module: Any, scans: Scans) -> Iterator[Bench]:
    made = Bench(module, scans)
    yield made
    made.close()
