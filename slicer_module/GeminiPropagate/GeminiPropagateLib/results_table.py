"""The table of results: a row for each target of the scene."""

from __future__ import annotations

import uuid
from typing import Any

import vtk

from GeminiPropagateLib.scene_nodes import PREFIX, shared_node

TARGET, CONFIDENCE, FOLDS, DISPLACEMENT, STATUS, KEY = (
    "Target",
    "Confidence",
    "Folds %",
    "Largest displacement (mm)",
    "Status",
    "Key",
)
#: Columns in order; the last one is the module's own and wants hiding.
COLUMNS = (TARGET, CONFIDENCE, FOLDS, DISPLACEMENT, STATUS, KEY)
_NUMBERS = {CONFIDENCE: 3, FOLDS: 3, DISPLACEMENT: 1}


def results_table(scene: Any) -> Any:
    """Return the table node of the results in this scene, made on first use."""
    node, made = shared_node(scene, "vtkMRMLTableNode", "results-table", "Propagation results")
    if made:
        node.SetUseColumnTitleAsColumnHeader(True)
        for name in COLUMNS:
            # Text throughout: the types of columns are lost in the files of a scene.
            column = vtk.vtkStringArray()
            column.SetName(name)
            node.AddColumn(column)
    return node


def set_row(
    table_node: Any,
    target_node: Any,
    status: str,
    confidence: float | None = None,
    fold_percent: float | None = None,
    largest_displacement_mm: float | None = None,
) -> int:
    """Add or update the row of a target.

    Parameters
    ----------
    table_node
        Of :func:`results_table`.
    target_node
        The target's volume.
    status
        One word or sentence.
    confidence, fold_percent, largest_displacement_mm
        Numbers; None where unknown.

    Returns
    -------
    int
        Number of the row.
    """
    row = row_of_target(table_node, target_node)
    if row < 0:
        row = table_node.AddEmptyRow()
        key = uuid.uuid4().hex[:12]
        table_node.SetNodeReferenceID(PREFIX + "row." + key, target_node.GetID())
        _set(table_node, row, KEY, key)
    _set(table_node, row, TARGET, target_node.GetName())
    _set(table_node, row, STATUS, status)
    numbers = (confidence, fold_percent, largest_displacement_mm)
    for (name, digits), number in zip(_NUMBERS.items(), numbers, strict=True):
        _set(table_node, row, name, "" if number is None else f"{number:.{digits}f}")
    table_node.Modified()
    return int(row)


def row_of_target(table_node: Any, target_node: Any) -> int:
    """Return the row of a target, -1 if it has none."""
    rows = range(table_node.GetNumberOfRows())
    return next((row for row in rows if target_of_row(table_node, row) is target_node), -1)


def target_of_row(table_node: Any, row: int) -> Any:
    """Return the volume node of a row, None when it was deleted or the row is none of ours."""
    if not 0 <= row < table_node.GetNumberOfRows():
        return None
    key = _get(table_node, row, KEY)
    return table_node.GetNodeReference(PREFIX + "row." + key) if key else None


def cell(table_node: Any, row: int, column: str) -> str:
    """Return the text of a cell, empty where there is none."""
    return _get(table_node, row, column)


def _get(table_node: Any, row: int, name: str) -> str:
    array = table_node.GetTable().GetColumnByName(name)
    return "" if array is None else array.GetVariantValue(row).ToString()


def _set(table_node: Any, row: int, name: str, text: str) -> None:
    array = table_node.GetTable().GetColumnByName(name)
    if array is not None:
        array.SetVariantValue(row, vtk.vtkVariant(text))
