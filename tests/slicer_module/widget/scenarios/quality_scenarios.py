"""The quality section on the results of one real run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench, Scans

use_properties(__name__)


@pytest.fixture(scope="module")
def done(module: Any, scans: Scans) -> Bench:
    """A panel after a run over two targets; the second one is shown."""
    bench = Bench(module, scans)
    bench.choose(2)
    bench.apply()
    bench.finish()
    bench.ui.resultsTable.cellClicked.emit(1, 0)
    return bench


def transform_display(bench: Bench) -> Any:
    return bench.panel.quality.nodes.transform.GetDisplayNode()


def test_deformation_and_its_spacing(done: Bench) -> None:
    ui = done.ui
    ui.deformationGridButton.click()
    display = transform_display(done)
    assert display.GetVisibility()
    assert display.GetVisualizationMode() == display.VIS_MODE_GRID
    # 24 voxels of 3 mm: Slicer's own 15 mm would draw four lines.
    assert ui.displaySpacingSpinBox.value == pytest.approx(display.GetGridSpacingMm())
    assert display.GetGridSpacingMm() < 10
    ui.displaySpacingSpinBox.value = 4.5
    assert display.GetGridSpacingMm() == 4.5
    ui.deformationGlyphButton.click()
    assert display.GetVisualizationMode() == display.VIS_MODE_GLYPH
    assert ui.displaySpacingSpinBox.value == pytest.approx(display.GetGlyphSpacingMm())
    ui.displaySpacingSpinBox.value = 7.0
    assert (display.GetGlyphSpacingMm(), display.GetGridSpacingMm()) == (7.0, pytest.approx(5.0, 1))
    ui.deformationContourButton.click()
    ui.displaySpacingSpinBox.value = 0.5
    assert display.GetContourLevelsMmAsString().split() == ["0.5", "1", "1.5", "2", "2.5"]
    ui.deformationOffButton.click()
    assert not display.GetVisibility()


def test_the_display_follows_the_target(done: Bench) -> None:
    done.ui.deformationGridButton.click()
    second = transform_display(done)
    done.ui.resultsTable.cellClicked.emit(0, 0)
    first = transform_display(done)
    assert first is not second
    assert first.GetVisibility()
    assert not second.GetVisibility()
    assert done.ui.transformDisplayWidget.transform is done.panel.quality.nodes.transform
    done.ui.deformationOffButton.click()


def test_one_overlay_at_a_time(done: Bench) -> None:
    ui, nodes = done.ui, done.panel.quality.nodes
    for button, node in ((ui.warpedButton, nodes.warped), (ui.jacobianButton, nodes.log_jacobian)):
        button.click()
        assert done.foreground() == {node.GetID()}
    assert not ui.warpedButton.checked
    views = done.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    ui.overlayOpacitySlider.value = 0.25
    assert views.GetItemAsObject(0).GetForegroundOpacity() == pytest.approx(0.25)
    ui.jacobianButton.click()
    assert done.foreground() == {None}
    assert not ui.agreementButton.enabled, "one atlas has nothing to agree with"


def test_folds(done: Bench) -> None:
    nodes = done.panel.quality.nodes
    done.ui.foldsButton.click()
    assert nodes.folds.GetDisplayNode().GetVisibility()
    done.ui.foldsButton.click()
    assert not nodes.folds.GetDisplayNode().GetVisibility()


def test_blink_shows_both_in_turn_and_ends_with_its_node(done: Bench) -> None:
    views = done.scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    warped = done.panel.quality.nodes.warped
    done.ui.blinkButton.click()
    seen: set[float] = set()

    def both() -> bool:
        seen.add(views.GetItemAsObject(0).GetForegroundOpacity())
        return seen >= {0.0, 1.0}

    done.wait(both, "both", 10)
    assert done.foreground() == {warped.GetID()}
    done.scene.RemoveNode(warped)
    done.wait(lambda: not done.ui.blinkButton.checked, "the end of blinking", 10)
    assert done.foreground() == {None}
    done.panel.quality.update()
    assert not done.ui.blinkButton.enabled


def test_a_deleted_target_is_said(done: Bench) -> None:
    target = done.panel.quality.nodes.target
    done.scene.RemoveNode(target)
    assert done.ui.qualityTargetLabel.text == "none yet"
    done.ui.resultsTable.cellClicked.emit(0, 0)
    assert "deleted" in done.ui.resultsLabel.text
    done.ui.deformationGridButton.click()
    done.ui.resultsTable.cellClicked.emit(1, 0)
    assert done.ui.qualityTargetLabel.text == "Patient 2"


def test_folds_warn_of_the_inverse(done: Bench) -> None:
    """The table says it as well, so the warning is there after loading a scene."""
    from GeminiPropagateLib.results_table import set_row
    from GeminiPropagateLib.ui_results import find_results_table

    target = done.panel.quality.nodes.target
    set_row(find_results_table(done.scene), target, "done", 0.9, 3.5, 8.0)
    done.panel.results._warnings.clear()
    done.panel.results.refresh()
    done.panel.quality.show(target)
    assert not done.ui.qualityWarningLabel.isHidden()
    assert "inverse" in done.ui.qualityWarningLabel.text
    set_row(find_results_table(done.scene), target, "done", 0.9, 0.0, 8.0)
    done.panel.quality.show(target)
    assert done.ui.qualityWarningLabel.isHidden()
