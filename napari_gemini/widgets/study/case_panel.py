"""What is shown: facts, when it was saved, and what can be done with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.study.labels import version_time
from napari_gemini.volumes.geometry import decompose
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.study.copies import (
    READS,
    adopt_layer,
    ask_for_path,
    earlier_versions,
    export_labels,
    import_labels,
    restore_version,
)
from napari_gemini.widgets.study.keys import FINISH, NEXT, PREVIOUS, key_help

if TYPE_CHECKING:
    from napari_gemini.widgets.study.labelling import Labelling


class CasePanel(QWidget):
    """The shown case.

    Parameters
    ----------
    labelling
        Of the session.
    """

    def __init__(self, labelling: Labelling, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labelling = labelling
        self.title = QLabel(self)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        self.saved = QLabel(self)
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.facts = QLabel(self)
        self.facts.setWordWrap(True)
        self.previous = self._button("◀ Previous", lambda: labelling.step(-1), f"Key: {PREVIOUS}")
        self.next = self._button("Next ▶", lambda: labelling.step(1), f"Key: {NEXT}")
        self.finish = self._button("Finish", self._on_finish, f"Key: {FINISH}\n\n{key_help()}")
        self.copy_in, self._copy_menu = self._menu_button("Copy from", self._fill_copy_in)
        self.copy_out = self._button("Copy to file…", self._on_export, "NIfTI, NRRD, PNG or TIFF")
        self.history, self._history_menu = self._menu_button("History", self._fill_history)
        self.history.setToolTip("Earlier versions of these labels, to be brought back")
        head = QHBoxLayout()
        head.addWidget(self.title)
        head.addWidget(self.saved, 1)
        buttons = QGridLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        for place, button in enumerate(
            (self.previous, self.next, self.finish, self.copy_in, self.copy_out, self.history)
        ):
            buttons.addWidget(button, place // 3, place % 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(head)
        layout.addWidget(self.facts)
        layout.addLayout(buttons)

    def _button(self, text: str, action: Callable[[], Any], tooltip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tooltip)
        button.clicked.connect(lambda *_: action())
        return button

    def _menu_button(self, text: str, fill: Callable[[], Any]) -> tuple[QPushButton, QMenu]:
        button = QPushButton(text, self)
        menu = QMenu(button)
        menu.aboutToShow.connect(fill)
        button.setMenu(menu)
        return button, menu

    # -- showing -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the case as it is now."""
        view, session = self._labelling.view, self._labelling.session
        study = session.study
        opening = self._labelling.opening
        shown = view is not None and study is not None
        if opening is not None:
            self.title.setText(f"Reading {opening}…")
        else:
            self.title.setText(view.case if view is not None else "No case is shown")
        if view is not None and study is not None:
            case = study.case(view.case)
            lines = [" · ".join(grid_words(view.grid))]
            if case.volume_index is not None:
                lines.append(f"Volume {case.volume_index} of a 4D file.")
            if oblique_words(view.grid):
                lines.append(oblique_words(view.grid))
            if view.locked:
                lines.append(view.locked)
            self.facts.setText("\n".join(lines))
            self.finish.setText("Reopen" if case.status == "done" else "Finish")
        else:
            self.facts.setText("" if study is None else "Click a case in the table to show it.")
        free = view is not None and not view.locked
        self.finish.setEnabled(shown and not session.read_only)
        self.copy_in.setEnabled(free)
        self.copy_out.setEnabled(shown)
        self.history.setEnabled(free or (shown and self._labelling.damaged))
        for button in (self.previous, self.next):
            button.setEnabled(study is not None)
        self.refresh_saved()

    def refresh_saved(self) -> None:
        """Show how saving stands."""
        autosave, view = self._labelling.autosave, self._labelling.view
        words = {
            "idle": "nothing painted yet",
            "unsaved": "painting…",
            "saving": "saving…",
            "failed": "NOT SAVED, kept in memory",
        }
        if view is None:
            text = ""
        elif view.locked:
            text = "locked"
        elif autosave.state == "saved" and autosave.saved_at is not None:
            text = f"saved {autosave.saved_at:%H:%M}"
        else:
            text = words.get(autosave.state, "")
        self.saved.setText(text)
        exact = autosave.saved_at
        self.saved.setToolTip(
            autosave.error or ("" if exact is None else f"saved {exact:%H:%M:%S on %d %B}")
        )

    # -- doing ---------------------------------------------------------------------------------

    def _on_finish(self) -> None:
        labelling = self._labelling
        if labelling.view is None:
            return
        done = labelling.study.case(labelling.view.case).status == "done"
        labelling.talk.attempt(lambda: labelling.set_status("started" if done else "done"))

    def _on_export(self) -> None:
        view = self._labelling.view
        if view is None:
            return
        suffix = self._labelling.study.case(view.case).label_suffix
        path = ask_for_path(f"{view.case}{suffix}", "Copy the labels to a file")
        if path is not None:
            self._labelling.talk.attempt(lambda: export_labels(self._labelling, path))

    def _fill_copy_in(self) -> None:
        from napari.layers import Labels

        labelling = self._labelling
        menu = self._copy_menu
        menu.clear()
        menu.addAction("A file…", self._on_import)
        own = None if labelling.view is None else labelling.view.labels
        for layer in labelling.session.viewer.layers:
            if isinstance(layer, Labels) and layer is not own:
                adopt = functools.partial(adopt_layer, labelling, layer)
                menu.addAction(
                    f"The layer {layer.name}",
                    functools.partial(labelling.talk.attempt, adopt),
                )

    def _on_import(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Copy labels from a file", "", READS)
        if chosen:
            labelling = self._labelling
            labelling.talk.attempt(lambda: import_labels(labelling, Path(chosen)))

    def _fill_history(self) -> None:
        labelling = self._labelling
        menu = self._history_menu
        menu.clear()
        versions = [] if labelling.view is None else earlier_versions(labelling)
        for version in reversed(versions):
            time = version_time(version).astimezone()
            restore = functools.partial(restore_version, labelling, version)
            menu.addAction(
                f"until {time:%H:%M:%S, %d %B %Y}",
                functools.partial(labelling.talk.attempt, restore),
            )
        if not versions:
            nothing_in(menu, "There are none")


def nothing_in(menu: QMenu, words: str) -> None:
    """Say in a menu that there is nothing to choose."""
    action = menu.addAction(words)
    assert action is not None
    action.setEnabled(False)


def grid_words(grid: CanvasGrid) -> list[str]:
    """Say how large a scan and its voxels are."""
    size = " × ".join(map(str, grid.volume_shape))
    if not grid.spacing_known:
        return [f"{size} pixels", "their size is not known"]
    file_spacing = np.array(grid.spacing)[np.argsort(grid.permutation)]
    return [f"{size} voxels", " × ".join(f"{s:.3g}" for s in file_spacing) + " mm"]


def oblique_words(grid: CanvasGrid) -> str:
    """Say in plain words that a scan lies at an angle; empty when it does not."""
    if not grid.is_oblique:
        return ""
    _, _, direction = decompose(grid.affine, grid.ndim)
    angle = float(np.degrees(np.arccos(np.clip(np.abs(direction).max(axis=0), 0, 1))).max())
    return (
        f"Oblique by {angle:.0f}°: shown along its own voxels, so slices are tilted in the body; "
        "the status line has true positions."
    )
