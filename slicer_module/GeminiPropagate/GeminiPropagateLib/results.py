"""Results of the engine as nodes of the scene: one folder a target, updated and not duplicated.

The nodes of a target are found again through node references of its volume (see
:mod:`GeminiPropagateLib.scene_nodes`), so they survive saving, loading and a new run. Everything is
read before anything in the scene is touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from GeminiPropagateLib.colours import diverging_colours, rising_colours, show_range
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid
from GeminiPropagateLib.hardening import check_hardened, fold_warning
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import fill_volume, read_array, read_transform_into
from GeminiPropagateLib.scene_nodes import (
    PREFIX,
    TargetNodes,
    let_go,
    nodes_of_target,
    remove_result,
    result_node,
)
from GeminiPropagateLib.segmentations import fill_segmentation, label_map_of
from GeminiPropagateLib.translations import _
from GeminiPropagateLib.voting import MAJORITY, SIMILARITY, similarity_weight, vote

_FOLD_LABELS = (
    Label(2, "folds", (0.9, 0.1, 0.1)),
    Label(1, "folds by the digital criterion only", (0.95, 0.6, 0.1)),
)
#: Of a segmentation as the engine gave it, to know whether the user changed it since.
_CONTENT = PREFIX + "content"
#: Points at which the displacement is looked at, at most.
_SAMPLES = 200_000


@dataclass
class ImportedTarget:
    """What an import gave.

    Attributes
    ----------
    nodes
        The nodes.
    report
        ``report.json`` of the target (of the best-matching atlas).
    atlas
        Key of that atlas.
    confidence
        Mean similarity, 0 to 1: of features (GSS) where a model served, else of images (GVS).
    fold_percent, largest_displacement_mm
        Of the field; None where unknown.
    warnings
        Sentences the user has to see: labels that do not equal the hardened atlas, folds, ...
    """

    nodes: TargetNodes
    report: dict[str, Any] = field(default_factory=dict)
    atlas: str = ""
    confidence: float | None = None
    fold_percent: float | None = None
    largest_displacement_mm: float | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass
class _AtlasResult:
    """What one atlas gave for a target, read from its folder."""

    key: str
    folder: Path
    report: dict[str, Any]
    labels: np.ndarray[Any, Any]

    @property
    def confidence(self) -> float | None:
        for name in ("gss_mean", "gvs_mean"):
            if isinstance(self.report.get(name), int | float):
                return float(self.report[name])
        return None

    def has(self, stem: str) -> bool:
        return (self.folder / f"{stem}.nii.gz").is_file()

    def read(self, stem: str, grid: WorldGrid) -> np.ndarray[Any, Any]:
        return read_array(self.folder / f"{stem}.nii.gz", grid)


def import_target(
    target_node: Any,
    folders: Mapping[str, Path],
    labels: Sequence[Label],
    vote_by: str = MAJORITY,
    atlas_labels: Mapping[str, Path] | None = None,
) -> ImportedTarget:
    """Bring one target's results into its scene.

    Parameters
    ----------
    target_node
        Volume node of the target.
    folders
        Folder of the results by atlas key (see :class:`GeminiPropagateLib.session.TargetState`).
    labels
        Of the atlases.
    vote_by
        With several atlases: ``majority`` or ``similarity``. Transform and maps are those of the
        atlas that matches best.
    atlas_labels
        Label maps that the engine got, by atlas key, for the check that its labels equal the
        atlas hardened by Slicer under the field.

    Raises
    ------
    PropagateError
        If results are missing or damaged; the scene is then as it was.
    """
    grid = WorldGrid(target_node)
    atlases = [_read_atlas(key, folder, grid) for key, folder in folders.items()]
    if not atlases:
        raise PropagateError(
            _("There are no results for {target}.").format(target=target_node.GetName())
        )
    atlases.sort(key=lambda atlas: -(atlas.confidence if atlas.confidence is not None else -1.0))
    best = atlases[0]
    label_map, agreement = _decide(atlases, vote_by, grid)
    maps = {s: best.read(s, grid) for s in ("warped", "log_jacobian", "gss", "gvs") if best.has(s)}
    if agreement is not None:
        maps["agreement"] = agreement
    folds = best.read("folds", grid)
    mask = best.read("mask", grid) if best.has("mask") else None
    scratch = slicer.vtkMRMLScene()
    transform = scratch.AddNewNodeByClass("vtkMRMLTransformNode", "field")
    read_transform_into(transform, best.folder / "field.h5")
    # -- from here on the scene changes
    warnings = _set_aside_if_edited(target_node)
    _fill_labels(target_node, label_map, labels)
    result_node(target_node, "transform").CopyContent(transform, False)
    fill_segmentation(result_node(target_node, "folds"), folds, _FOLD_LABELS, target_node)
    result_node(target_node, "folds").GetDisplayNode().SetVisibility(False)
    _fill_maps(target_node, maps, grid)
    imported = ImportedTarget(nodes_of_target(target_node), best.report, best.key)
    imported.confidence = best.confidence
    imported.fold_percent = best.report.get("fold_percent")
    imported.largest_displacement_mm = largest_displacement(imported.nodes.transform, grid, mask)
    given = (atlas_labels or {}).get(best.key)
    if given is not None:
        field_node = imported.nodes.transform
        warnings.append(check_hardened(given, field_node, target_node, best.labels, labels))
    warnings.append(fold_warning(imported.fold_percent))
    imported.warnings = [text for text in warnings if text]
    return imported


def import_labels(target_node: Any, path: Path, labels: Sequence[Label]) -> tuple[Any, list[str]]:
    """Bring a label map that a model predicted into the target's segmentation.

    Parameters
    ----------
    target_node
        Volume node of the target.
    path
        The label map, on the target's grid.
    labels
        What the values mean.

    Returns
    -------
    tuple
        The segmentation node, and sentences the user has to see.

    Raises
    ------
    PropagateError
        If the file is missing, damaged or on another grid; the scene is then as it was.
    """
    label_map = read_array(path, WorldGrid(target_node))
    notes = _set_aside_if_edited(target_node)
    _fill_labels(target_node, label_map, labels)
    return nodes_of_target(target_node).segmentation, notes


def _read_atlas(key: str, folder: Path, grid: WorldGrid) -> _AtlasResult:
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PropagateError(
            _(
                "The results in {folder} cannot be read ({error}); run the propagation again."
            ).format(folder=folder, error=error)
        ) from error
    return _AtlasResult(key, folder, report, read_array(folder / "labels.nii.gz", grid))


def _decide(
    atlases: Sequence[_AtlasResult], vote_by: str, grid: WorldGrid
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Return the label map, and how far several atlases agree on it."""
    if len(atlases) == 1:
        return atlases[0].labels, None
    weights = None
    if vote_by == SIMILARITY:
        # Maps of one kind only: cosines of features and correlations of images do not compare.
        stem = "gss" if all(atlas.has("gss") for atlas in atlases) else "gvs"
        weights = [similarity_weight(atlas.read(stem, grid)) for atlas in atlases]
    decided = vote([atlas.labels for atlas in atlases], weights)
    return decided.labels, decided.agreement


def _set_aside_if_edited(target_node: Any) -> list[str]:
    """Keep a segmentation that the user changed since the last import."""
    node = nodes_of_target(target_node).segmentation
    if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
        return []
    if node.GetAttribute(_CONTENT) == _content(label_map_of(node, target_node)):
        return []
    let_go(target_node, "segmentation")
    node.SetName(f"{node.GetName()} (edited)")
    return [_("Your changes of the former labels were kept as {node}.").format(node=node.GetName())]


def _content(label_map: np.ndarray[Any, Any]) -> str:
    data = np.ascontiguousarray(label_map.astype(np.int32))
    return hashlib.sha256(str(data.shape).encode() + data.tobytes()).hexdigest()


def _fill_labels(
    target_node: Any, label_map: np.ndarray[Any, Any], labels: Sequence[Label]
) -> None:
    node = result_node(target_node, "segmentation")
    fill_segmentation(node, label_map, labels, target_node)
    node.SetAttribute(_CONTENT, _content(label_map))


def _fill_maps(target_node: Any, maps: Mapping[str, Any], grid: WorldGrid) -> None:
    for role in ("warped", "log_jacobian", "gss", "gvs", "agreement"):
        if role not in maps:
            remove_result(target_node, role)
            continue
        node = result_node(target_node, role)
        fill_volume(node, maps[role], grid)
        node.CreateDefaultDisplayNodes()
        if role == "log_jacobian":
            limit = _limit(maps[role])
            show_range(node, diverging_colours(target_node.GetScene()), -limit, limit)
        elif role != "warped":
            show_range(node, rising_colours(target_node.GetScene()), 0.0, 1.0)


def _limit(log_jacobian: np.ndarray[Any, Any]) -> float:
    """Return half the range to show: what 99 % of the voxels stay within, at least a fifth."""
    finite = np.abs(log_jacobian[np.isfinite(log_jacobian)])
    return max(0.2, float(np.percentile(finite, 99)) if finite.size else 0.0)


def largest_displacement(
    transform_node: Any, grid: WorldGrid, mask: np.ndarray[Any, Any] | None
) -> float | None:
    """Return how far the field moves a voxel of the mask at most, in mm.

    Parameters
    ----------
    transform_node
        The field.
    grid
        Of the target.
    mask
        Array (k, j, i), not 0 where the atlas was seen; None: everywhere.
    """
    seen = np.ones(grid.dimensions[::-1], bool) if mask is None else mask != 0
    places = np.flatnonzero(seen)
    if places.size == 0:
        return None
    places = places[:: max(1, places.size // _SAMPLES)]
    indices = np.stack(np.unravel_index(places, seen.shape)[::-1], axis=1)
    here = grid.points(indices.astype(float))
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    points.SetData(numpy_to_vtk(here, deep=1))
    transform_node.GetTransformFromParent().TransformPoints(points, moved)
    there = vtk_to_numpy(moved.GetData())
    return float(np.linalg.norm(there - here, axis=1).max())
