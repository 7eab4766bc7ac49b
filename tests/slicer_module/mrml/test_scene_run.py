"""From nodes to nodes with the real engine: results, re-runs, votes, lost nodes, closed scenes."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from GeminiPropagateLib import qa
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid, array_of_volume, ijk_to_ras
from GeminiPropagateLib.hardening import hardened_labels
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import read_array
from GeminiPropagateLib.results import import_target
from GeminiPropagateLib.results_table import (
    CONFIDENCE,
    DISPLACEMENT,
    FOLDS,
    STATUS,
    TARGET,
    cell,
    results_table,
    target_of_row,
)
from GeminiPropagateLib.scene_nodes import (
    KINDS,
    AtlasNodes,
    by_products,
    folder_of_target,
    nodes_of_target,
)
from GeminiPropagateLib.scene_run import ScenePropagation, images_in_folder
from GeminiPropagateLib.segmentations import (
    fill_segmentation,
    label_map_of,
    labels_of_segmentation,
)
from GeminiPropagateLib.voting import similarity_weight, vote

from tests.slicer_module.mrml.helpers import (
    ENDLESS,
    ENVIRONMENT,
    LABELS,
    QUICK,
    Cohort,
    add_linear,
    count,
    finish,
    given_labels,
    grid,
    one,
    rotation,
)


def test_a_run_brings_everything_of_a_target_into_one_folder(
    phantoms: Cohort, tmp_path: Path
) -> None:
    scene, target = phantoms.scene, phantoms.target(0)
    before = count(scene, "vtkMRMLTransformNode")
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases[:1], [target, phantoms.paths[3]], QUICK, out=tmp_path)
    updates = finish(run)
    assert [update.run.error for update in updates if update.run.error] == []
    assert updates[-1].run.state == "done"
    imported = [found for update in updates for found in update.imported]
    assert imported[0].nodes.target is target
    assert imported[1].nodes.target.GetName() == "phantom_004"
    assert count(scene, "vtkMRMLTransformNode") == before + 2
    for found in imported:
        nodes = found.nodes
        assert found.warnings == []
        labels = labels_of_segmentation(nodes.segmentation)
        assert [(x.value, x.name, x.color) for x in labels] == [
            (x.value, x.name, pytest.approx(x.color)) for x in LABELS
        ]
        # Exactly what the engine wrote, and exactly what Slicer makes of the field.
        folder = tmp_path / "results" / phantoms.atlases[0].volume.GetName()
        folder /= "Patient_0" if nodes.target is target else "phantom_004"
        written = sitk.ReadImage(str(folder / "labels.nii.gz"))
        label_map = label_map_of(nodes.segmentation, nodes.target)
        assert (
            np.bincount(label_map.ravel()).tolist()
            == np.bincount(sitk.GetArrayFromImage(written).astype(int).ravel()).tolist()
        )
        given = tmp_path / "inputs" / "labels" / f"{phantoms.atlases[0].volume.GetName()}.nrrd"
        hardened = hardened_labels(given, nodes.transform, nodes.target)
        np.testing.assert_array_equal(label_map, hardened)
        for role in ("warped", "log_jacobian", "gvs"):
            volume = getattr(nodes, role)
            assert array_of_volume(volume).shape == array_of_volume(nodes.target).shape
            np.testing.assert_array_equal(ijk_to_ras(volume), ijk_to_ras(nodes.target))
        # No model served, so there are no features to compare.
        assert nodes.gss is None
        assert nodes.agreement is None
        low, high = (
            nodes.log_jacobian.GetDisplayNode().GetWindowLevelMin(),
            nodes.log_jacobian.GetDisplayNode().GetWindowLevelMax(),
        )
        assert low == pytest.approx(-high)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        folder_item = folder_of_target(nodes.target)
        held = [getattr(nodes, role) for role in KINDS if getattr(nodes, role) is not None]
        assert hierarchy.GetNumberOfItemChildren(folder_item) == len(held)
        for node in held:
            assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder_item
            assert node.GetStorageNode() is None
    table = results_table(scene)
    assert [cell(table, row, TARGET) for row in range(2)] == ["Patient 0", "phantom_004"]
    for row, found in enumerate(imported):
        assert cell(table, row, STATUS) == "done"
        assert target_of_row(table, row) is found.nodes.target
        assert 0 < float(cell(table, row, CONFIDENCE)) <= 1
        assert float(cell(table, row, FOLDS)) == pytest.approx(found.fold_percent, abs=1e-3)
        assert float(cell(table, row, DISPLACEMENT)) > 1
    run.close()
    assert (tmp_path / "results").is_dir()


def test_what_the_transform_does_to_the_atlas_is_what_the_table_says(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    target = phantoms.target(0)
    imported = import_target(target, one(results), LABELS)
    transform = sitk.ReadTransform(str(next(iter(results.values())) / "field.h5"))
    mask = sitk.ReadImage(str(next(iter(results.values())) / "mask.nii.gz"))
    largest = 0.0
    for k, j, i in np.argwhere(sitk.GetArrayFromImage(mask)):
        point = mask.TransformIndexToPhysicalPoint([int(i), int(j), int(k)])
        there = transform.TransformPoint(point)
        largest = max(largest, float(np.linalg.norm(np.subtract(there, point))))
    assert imported.largest_displacement_mm == pytest.approx(largest, abs=1e-3)


def test_a_run_again_updates_the_nodes_and_adds_none(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    scene, target = phantoms.scene, phantoms.target(0)
    first = import_target(target, one(results), LABELS, "majority", given_labels(results))
    assert first.warnings == []
    first.nodes.segmentation.SetName("renamed by me")
    first.nodes.segmentation.GetDisplayNode().SetSegmentVisibility("GeminiLabel_2", False)
    nodes = scene.GetNumberOfNodes()
    again = import_target(target, one(results), LABELS, "majority", given_labels(results))
    assert scene.GetNumberOfNodes() == nodes
    for role in KINDS:
        assert getattr(again.nodes, role) is getattr(first.nodes, role)
    assert again.nodes.segmentation.GetName() == "renamed by me"
    assert not again.nodes.segmentation.GetDisplayNode().GetSegmentVisibility("GeminiLabel_2")
    assert again.nodes.segmentation.GetSegmentation().GetNumberOfSegments() == len(LABELS)


def _forget(names: set[str], name: str, _caller: Any, _event: str) -> None:
    names.discard(name)


def test_a_closed_scene_frees_what_its_results_held(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    """Every node that stays alive keeps its volume in memory until Slicer ends."""
    scene, target = phantoms.scene, phantoms.target(0)
    nodes = import_target(target, results, LABELS, "similarity", given_labels(results)).nodes
    qa.show_target(nodes)
    qa.show_overlay(nodes, qa.LOG_JACOBIAN)
    by_products(scene)
    results_table(scene)
    held = [getattr(nodes, role) for role in KINDS if getattr(nodes, role) is not None]
    alive = {node.GetName() for node in (target, *held)}
    for node in (target, *held):
        node.AddObserver("DeleteEvent", partial(_forget, alive, node.GetName()))
    assert len(alive) == len(held) + 1
    del nodes, target, held, node
    scene.Clear(0)
    gc.collect()
    assert alive == set()


def test_labels_that_the_user_corrected_are_kept_beside_the_new_ones(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    target = phantoms.target(0)
    first = import_target(target, one(results), LABELS).nodes.segmentation
    corrected = label_map_of(first, target)
    corrected[corrected == 2] = 3
    fill_segmentation(first, corrected, LABELS, target)
    again = import_target(target, one(results), LABELS)
    assert again.nodes.segmentation is not first
    assert "(edited)" in again.warnings[0]
    assert first.GetName().endswith("(edited)")
    np.testing.assert_array_equal(label_map_of(first, target), corrected)
    # The user's own from now on: a third run leaves it alone.
    import_target(target, one(results), LABELS)
    np.testing.assert_array_equal(label_map_of(first, target), corrected)


def test_deleted_results_are_made_anew_and_a_copy_of_the_target_claims_none(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    scene, target = phantoms.scene, phantoms.target(0)
    nodes = import_target(target, one(results), LABELS).nodes
    scene.RemoveNode(nodes.transform)
    assert nodes_of_target(target).transform is None
    again = import_target(target, one(results), LABELS).nodes
    assert again.transform is not None
    assert again.segmentation is nodes.segmentation
    copy = scene.CopyNode(target)
    copy.SetName("copy")
    assert nodes_of_target(copy).segmentation is None
    other = import_target(copy, one(results), LABELS).nodes
    assert other.segmentation is not again.segmentation
    assert nodes_of_target(target).segmentation is again.segmentation


def test_several_atlases_vote_and_the_best_one_gives_the_field(
    phantoms: Cohort, results: dict[str, Path]
) -> None:
    target = phantoms.target(0)
    confidences = {
        key: import_target(phantoms.target(0), {key: folder}, LABELS).confidence
        for key, folder in results.items()
    }
    best, other = sorted(confidences, key=lambda key: -(confidences[key] or 0.0))
    grid = WorldGrid(target)
    labels = [read_array(results[key] / "labels.nii.gz", grid) for key in (best, other)]
    similarity = [read_array(results[key] / "gvs.nii.gz", grid) for key in (best, other)]
    expected = {
        "majority": vote(labels),
        "similarity": vote(labels, [similarity_weight(values) for values in similarity]),
    }
    # Of two that count the same the better one wins everywhere; by similarity not everywhere.
    np.testing.assert_array_equal(expected["majority"].labels, labels[0])
    assert (expected["similarity"].labels != labels[0]).any()
    for how, decided in expected.items():
        imported = import_target(target, results, LABELS, how, given_labels(results))
        assert imported.warnings == []
        assert imported.atlas == best
        assert imported.confidence == confidences[best]
        voted = label_map_of(imported.nodes.segmentation, target)
        np.testing.assert_array_equal(voted, decided.labels)
        agreement = array_of_volume(imported.nodes.agreement)
        np.testing.assert_array_equal(agreement, decided.agreement)
        assert np.count_nonzero(agreement == 1.0) == np.count_nonzero(labels[0] == labels[1])
    # With one atlas again, the agreement of several would mislead.
    assert import_target(target, one(results), LABELS).nodes.agreement is None


def test_results_that_are_damaged_leave_the_scene_as_it_was(
    phantoms: Cohort, results: dict[str, Path], tmp_path: Path
) -> None:
    scene, target = phantoms.scene, phantoms.target(0)
    before = scene.GetNumberOfNodes()
    for name in ("report.json", "labels.nii.gz", "field.h5", "folds.nii.gz"):
        folder = tmp_path / name.split(".")[0]
        shutil.copytree(next(iter(results.values())), folder)
        (folder / name).write_bytes(b"broken")
        with pytest.raises(PropagateError, match="run the propagation again"):
            import_target(target, {"atlas": folder}, LABELS)
        assert scene.GetNumberOfNodes() == before
    target.SetOrigin(1000.0, 0.0, 0.0)
    with pytest.raises(PropagateError, match="another grid"):
        import_target(target, one(results), LABELS)


def test_results_of_a_target_under_a_transform_lie_in_the_world(
    phantoms: Cohort, tmp_path: Path
) -> None:
    scene, target = phantoms.scene, phantoms.target(0)
    move = grid(rotation(30.0, 1), (1, 1, 1), (40, -20, 10))
    target.SetAndObserveTransformNodeID(add_linear(scene, move).GetID())
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases[:1], [target], QUICK)
    update = finish(run)[-1]
    assert update.run.state == "done"
    assert update.imported[0].warnings == []
    nodes = nodes_of_target(target)
    np.testing.assert_allclose(ijk_to_ras(nodes.warped), move @ ijk_to_ras(target), atol=1e-9)
    assert nodes.segmentation.GetParentTransformNode() is None
    layout = run._layout
    assert layout is not None
    run.close()
    assert not layout.root.exists()


def wait_for_progress(run: ScenePropagation) -> None:
    until = time.monotonic() + 240
    while not run.poll().run.fraction > 0:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_closing_the_scene_under_a_run_ends_it(phantoms: Cohort) -> None:
    scene = phantoms.scene
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases[:1], [phantoms.target(0)], ENDLESS)
    wait_for_progress(run)
    pid = run.run.client.pid if run.run else None
    scene.Clear(0)
    updates = finish(run)
    assert updates[-1].run.state == "cancelled"
    assert updates[-1].scene_closed
    assert updates[-1].imported == []
    assert count(scene, "vtkMRMLSegmentationNode") == 0
    assert count(scene, "vtkMRMLTableNode") == 0
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    run.close()


def test_deleted_nodes_under_a_run_cost_their_own_target_only(phantoms: Cohort) -> None:
    scene = phantoms.scene
    gone, kept = phantoms.target(0), phantoms.target(1)
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases[:1], [gone, kept], QUICK)
    scene.RemoveNode(gone)
    scene.RemoveNode(phantoms.atlases[0].segmentation)
    scene.RemoveNode(phantoms.atlases[0].volume)
    updates = finish(run)
    assert updates[-1].run.state == "done"
    imported = [found for update in updates for found in update.imported]
    assert [found.nodes.target for found in imported] == [kept]
    said = [text for update in updates for _, text in update.run.log]
    assert any("Patient 0 was removed from the scene" in text for text in said)
    assert [label.name for label in labels_of_segmentation(imported[0].nodes.segmentation)] == [
        label.name for label in LABELS
    ]
    run.close()


def test_a_cancelled_run_says_so_in_the_table(phantoms: Cohort) -> None:
    target = phantoms.target(0)
    run = ScenePropagation(phantoms.scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases[:1], [target], ENDLESS)
    table = results_table(phantoms.scene)
    assert cell(table, 0, STATUS) == "waiting"
    wait_for_progress(run)
    run.cancel()
    assert finish(run)[-1].run.state == "cancelled"
    assert cell(table, 0, STATUS).startswith("cancelled")
    assert nodes_of_target(target).segmentation is None
    run.close()


def test_wrong_inputs_are_refused_before_anything_runs(phantoms: Cohort, tmp_path: Path) -> None:
    scene, atlas, target = phantoms.scene, phantoms.atlases[0], phantoms.target(0)
    before = scene.GetNumberOfNodes()
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other names")
    renamed = [Label(1, "Another organ"), *LABELS[1:]]
    label_map = label_map_of(phantoms.atlases[1].segmentation, phantoms.atlases[1].volume)
    fill_segmentation(other, label_map, renamed, phantoms.atlases[1].volume)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(phantoms.paths[3], tmp_path / folder / "same.nii.gz")
    twice = [tmp_path / "a" / "same.nii.gz", tmp_path / "b" / "same.nii.gz"]
    cases: list[tuple[list[AtlasNodes], list[Any], str]] = [
        ([], [target], "Choose an atlas"),
        ([AtlasNodes(atlas.volume, None)], [target], "both a volume and a segmentation"),
        ([atlas], [], "at least one target"),
        ([atlas], [atlas.volume], "is the atlas"),
        ([atlas, AtlasNodes(phantoms.atlases[1].volume, other)], [target], "disagree"),
        ([atlas], twice, "Two targets are called same"),
    ]
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    for atlases, targets, sentence in cases:
        with pytest.raises(PropagateError, match=sentence):
            run.start(atlases, targets, QUICK)
        assert run.run is None
    with pytest.raises(PropagateError, match="cannot be started"):
        ScenePropagation(scene, str(tmp_path / "no-python")).start([atlas], [target], QUICK)
    with pytest.raises(PropagateError, match="cannot be written"):
        run.start([atlas], [target], QUICK, out=Path("/proc/nowhere"))
    assert scene.GetNumberOfNodes() == before + 2  # the segmentation and its display


def test_images_of_a_folder_are_found_and_a_folder_without_any_is_said(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.NRRD", ".hidden.nii", "notes.txt", "c.mha"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in images_in_folder(tmp_path)] == ["a.NRRD", "b.nii.gz", "c.mha"]
    for folder in (tmp_path / "none", tmp_path / "c.mha"):
        with pytest.raises(PropagateError, match="holds no image"):
            images_in_folder(folder)
