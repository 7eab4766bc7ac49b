"""Saving: a scene with results comes back whole from .mrml and .mrb, and is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from GeminiPropagateLib.geometry import array_of_volume, ijk_to_ras
from GeminiPropagateLib.hardening import hardened_labels
from GeminiPropagateLib.results import import_target
from GeminiPropagateLib.results_table import (
    CONFIDENCE,
    STATUS,
    cell,
    results_table,
    set_row,
    target_of_row,
)
from GeminiPropagateLib.scene_nodes import KINDS, folder_of_target, nodes_of_target
from GeminiPropagateLib.segmentations import label_map_of, labels_of_segmentation

from tests.slicer_module.mrml.helpers import LABELS, Cohort, given_labels, new_scene


def save_everything(scene: Any, folder: Path) -> None:
    """Save a scene as Slicer's dialog does: every node that has data, then the scene."""
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    nodes = scene.GetNodesByClass("vtkMRMLStorableNode")
    for number in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(number)
        if not node.GetSaveWithScene() or node.GetID().startswith("vtkMRMLColorTableNodeFile"):
            continue
        if node.IsA("vtkMRMLColorNode") and not node.GetAttribute("GeminiPropagate.role"):
            continue
        assert node.AddDefaultStorageNode(str(folder / node.GetID()))
        storage = node.GetStorageNode()
        extension = storage.GetDefaultWriteFileExtension()
        storage.SetFileName(str(folder / f"{node.GetID()}.{extension}"))
        assert storage.WriteData(node), node.GetID()
    assert scene.Commit()


@pytest.mark.parametrize("how", ["mrml", "mrb"])
def test_a_saved_scene_keeps_every_result_and_a_run_again_adds_none(
    scene: Any, cohort: Path, results: dict[str, Path], tmp_path: Path, how: str
) -> None:
    phantoms = Cohort(scene, cohort)
    target = phantoms.target(0)
    imported = import_target(target, results, LABELS, "similarity", given_labels(results))
    set_row(results_table(scene), target, "done", imported.confidence, 0.0, 12.3)
    label_map = label_map_of(imported.nodes.segmentation, target)
    if how == "mrml":
        save_everything(scene, tmp_path)
        path = tmp_path / "scene.mrml"
    else:
        path = tmp_path / "scene.mrb"
        assert scene.WriteToMRB(str(path), None)

    loaded = new_scene()
    if how == "mrml":
        loaded.SetURL(str(path))
        assert loaded.Connect()
    else:
        assert loaded.ReadFromMRB(str(path), True)
    again = loaded.GetFirstNodeByName("Patient 0")
    nodes = nodes_of_target(again)
    for role in KINDS:
        assert (getattr(nodes, role) is None) == (getattr(imported.nodes, role) is None), role
    labels = labels_of_segmentation(nodes.segmentation)
    assert [(x.value, x.name) for x in labels] == [(x.value, x.name) for x in LABELS]
    np.testing.assert_allclose([x.color for x in labels], [x.color for x in LABELS], atol=1e-4)
    np.testing.assert_array_equal(label_map_of(nodes.segmentation, again), label_map)
    for role in ("warped", "log_jacobian", "gvs", "agreement"):
        before, after = getattr(imported.nodes, role), getattr(nodes, role)
        np.testing.assert_array_equal(array_of_volume(after), array_of_volume(before))
        np.testing.assert_allclose(ijk_to_ras(after), ijk_to_ras(before), atol=1e-6)
    colours = nodes.log_jacobian.GetDisplayNode().GetColorNode()
    assert colours.GetName() == "Gemini log-Jacobian"
    assert colours.GetNumberOfColors() == 256

    # Still FromParent: the atlas under the field lands where it did, up to Slicer's cubic reading.
    given = given_labels(results)[imported.atlas]
    hardened = hardened_labels(given, nodes.transform, again)
    original = hardened_labels(given, imported.nodes.transform, target)
    assert np.count_nonzero(hardened != original) < 0.01 * np.count_nonzero(original)

    table = results_table(loaded)
    assert target_of_row(table, 0) is again
    assert (cell(table, 0, STATUS), cell(table, 0, CONFIDENCE)) == (
        "done",
        f"{imported.confidence:.3f}",
    )
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(loaded)
    item = hierarchy.GetItemByDataNode(nodes.segmentation)
    folder = hierarchy.GetItemParent(item)
    assert hierarchy.GetItemName(folder) == "Patient 0 – propagated"
    assert folder_of_target(again) == folder

    count = loaded.GetNumberOfNodes()
    updated = import_target(again, results, LABELS, "similarity", given_labels(results))
    assert updated.nodes.segmentation is nodes.segmentation
    assert set_row(results_table(loaded), again, "done") == 0
    assert loaded.GetNumberOfNodes() == count
    assert folder_of_target(again) == folder
