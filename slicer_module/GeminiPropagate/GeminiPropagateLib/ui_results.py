"""Section Results: a row for each target; a click shows that target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from GeminiPropagateLib import results_table as table_of
from GeminiPropagateLib.hardening import fold_warning
from GeminiPropagateLib.scene_nodes import PREFIX, nodes_of_class

_COLUMNS = (
    table_of.TARGET,
    table_of.CONFIDENCE,
    table_of.FOLDS,
    table_of.DISPLACEMENT,
    table_of.STATUS,
)
_DOUBTFUL = "#b26a00"


def find_results_table(scene: Any) -> Any:
    """Return the scene's table of results, None where there is none yet."""
    for node in nodes_of_class(scene, "vtkMRMLTableNode"):
        if node.GetAttribute(PREFIX + "role") == "results-table":
            return node
    return None


class ResultsSection:
    """Mirrors the table node of the scene; keeps the warnings of imports."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._warnings: dict[str, list[str]] = {}
        self._widget = panel.ui.resultsTable
        self._widget.setHorizontalHeaderLabels(
            [
                _("Target"),
                _("Confidence"),
                _("Folds %"),
                _("Displacement\n(mm, largest)"),
                _("Status"),
            ]
        )
        self._widget.horizontalHeader().stretchLastSection = True
        self._widget.cellClicked.connect(self._clicked)
        self._widget.cellActivated.connect(self._clicked)

    def take(self, imported: Sequence[Any]) -> None:
        """Remember the warnings of new results and show the table anew."""
        for target in imported:
            node = target.nodes.target
            self._warnings[node.GetID()] = list(target.warnings)
        self.refresh()
        self._panel.update()
        self._panel.quality.offer([target.nodes.target for target in imported])

    def warnings_of(self, target: Any) -> list[str]:
        """Return the warnings of a target; after loading a scene those that its table tells."""
        if target.GetID() in self._warnings:
            return self._warnings[target.GetID()]
        folds = self._number(target, table_of.FOLDS)
        warning = fold_warning(folds)
        return [warning] if warning else []

    def largest_displacement(self, target: Any) -> float | None:
        """Return the largest displacement of a target in mm, None where unknown."""
        return self._number(target, table_of.DISPLACEMENT)

    def refresh(self) -> None:
        """Fill the widget from the table node."""
        node = find_results_table(slicer.mrmlScene)
        rows = 0 if node is None else node.GetNumberOfRows()
        self._widget.rowCount = rows
        for row in range(rows):
            self._fill_row(node, row)
        self._ui.resultsLabel.text = (
            _("Click a target to see it in the slice views.") if rows else _("Nothing yet.")
        )

    def forget(self) -> None:
        """Forget the warnings; the scene was closed."""
        self._warnings.clear()
        self._widget.rowCount = 0

    def _fill_row(self, node: Any, row: int) -> None:
        target = table_of.target_of_row(node, row)
        warnings = [] if target is None else self.warnings_of(target)
        for column, name in enumerate(_COLUMNS):
            item = qt.QTableWidgetItem(table_of.cell(node, row, name))
            if warnings:
                item.setForeground(qt.QBrush(qt.QColor(_DOUBTFUL)))
                item.setToolTip("\n".join(warnings))
            self._widget.setItem(row, column, item)

    def _number(self, target: Any, column: str) -> float | None:
        node = find_results_table(slicer.mrmlScene)
        row = -1 if node is None else table_of.row_of_target(node, target)
        text = table_of.cell(node, row, column) if row >= 0 else ""
        return float(text) if text else None

    def _clicked(self, row: int, _column: int) -> None:
        node = find_results_table(slicer.mrmlScene)
        target = None if node is None else table_of.target_of_row(node, row)
        if target is None:
            self._ui.resultsLabel.text = _("The volume of this row was deleted.")
        else:
            self._panel.quality.show(target)
