"""Results of the engine as nodes of the scene: one folder a target, updated and not duplicated.

The nodes of a target are found again through node references of its volume, so they survive
saving, loading and a new run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GeminiPropagateLib.labels import Label

#: Columns of the table of results.
COLUMNS = ("Target", "Confidence", "Folds %", "Largest displacement (mm)", "Status")


@dataclass
class TargetNodes:
    """The nodes of one target; None where there is none (or the user deleted it)."""

    target: Any
    segmentation: Any = None
    transform: Any = None
    warped: Any = None
    log_jacobian: Any = None
    folds: Any = None
    gss: Any = None
    gvs: Any = None
    agreement: Any = None


@dataclass
class ImportedTarget:
    """What an import gave.

    Attributes
    ----------
    nodes
        The nodes.
    report
        ``report.json`` of the target (of the best-matching atlas).
    confidence
        Mean similarity, 0 to 1: of features (GSS) where a model served, else of images (GVS).
    fold_percent, largest_displacement_mm
        Of the field; None where unknown.
    warnings
        Sentences the user has to see: labels that do not equal the hardened atlas, folds, ...
    """

    nodes: TargetNodes
    report: dict[str, Any] = field(default_factory=dict)
    confidence: float | None = None
    fold_percent: float | None = None
    largest_displacement_mm: float | None = None
    warnings: list[str] = field(default_factory=list)


def nodes_of_target(target_node: Any) -> TargetNodes:
    """Find the nodes that an earlier import made for a target."""
    raise NotImplementedError


def import_target(
    scene: Any,
    target_node: Any,
    folders: dict[str, Path],
    labels: Sequence[Label],
    vote_by: str = "majority",
    atlas_segmentations: dict[str, Any] | None = None,
) -> ImportedTarget:
    """Bring one target's results into the scene.

    Parameters
    ----------
    scene
        The MRML scene.
    target_node
        Volume node of the target.
    folders
        Folder of the results by atlas key (see :class:`GeminiPropagateLib.session.TargetState`).
    labels
        Of the atlases.
    vote_by
        With several atlases: ``majority`` or ``similarity``. Transform and maps are those of the
        atlas that matches best.
    atlas_segmentations
        Segmentation nodes by atlas key, for the check that the labels equal the atlas hardened by
        Slicer under the field; left out where a node is gone.

    Raises
    ------
    PropagateError
        If results are missing or damaged; the scene is then as it was.
    """
    raise NotImplementedError


def results_table(scene: Any) -> Any:
    """Return the table node of the results in this scene, made on first use."""
    raise NotImplementedError


def set_row(
    table_node: Any, target_node: Any, status: str, imported: ImportedTarget | None = None
) -> int:
    """Add or update the row of a target and return its number; its id is in a hidden column."""
    raise NotImplementedError


def target_of_row(table_node: Any, row: int) -> Any:
    """Return the volume node of a row, None when it was deleted."""
    raise NotImplementedError
