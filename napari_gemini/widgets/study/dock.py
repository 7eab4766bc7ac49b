"""The Study dock: cases, labels by hand, and help with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_gemini.engine.jobs import FindImagesJob
from napari_gemini.errors import GeminiError
from napari_gemini.study.summary import LabelSummary
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.study.assist_panel import AssistPanel
from napari_gemini.widgets.study.case_panel import CasePanel, nothing_in
from napari_gemini.widgets.study.case_table import CaseTable
from napari_gemini.widgets.study.keys import key_help
from napari_gemini.widgets.study.labelling import labelling_of
from napari_gemini.widgets.study.new_study import NewStudyForm
from napari_gemini.widgets.study.offers import OfferList
from napari_gemini.widgets.study.recent import recent_studies, remember_study
from napari_gemini.widgets.study.scheme_editor import SchemeEditor
from napari_gemini.widgets.study.talk import Offer

if TYPE_CHECKING:
    import napari

#: Pixels of the dock as it opens.
_WIDTH = 440
ROLES = {"labelled": "labelled", "unlabelled": "unlabelled", "test": "test (for the final score)"}


class StudyDock(Dock):
    """Opens studies and shows their cases to be labelled.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, warm=True)
        self.labelling = labelling_of(self.session)
        self.title = QLabel(self)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setWordWrap(True)
        self.new = QPushButton("New…", self)
        self.open = QPushButton("Open…", self)
        self.recent = QPushButton("Recent", self)
        self._recent_menu = QMenu(self.recent)
        self.close_button = QPushButton("Close", self)
        self.offers = OfferList(self.labelling.talk, self)
        self.form = NewStudyForm(self.session, self)
        self.table = CaseTable(self)
        self.case = CasePanel(self.labelling, self)
        self.scheme = SchemeEditor(self.labelling.set_scheme, self)
        self.assist = AssistPanel(self.labelling, self)
        self.pages = QStackedWidget(self)
        self._study_page = QWidget(self)
        self._lay_out()
        self._connect()
        self._on_study()

    # -- building ------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        bar = QHBoxLayout()
        for button in (self.new, self.open, self.recent, self.close_button):
            bar.addWidget(button)
        self.recent.setMenu(self._recent_menu)
        layout = QVBoxLayout(self._study_page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.case)
        layout.addWidget(_section("Labels", self.scheme, self))
        layout.addWidget(_section("Drafts and suggestions", self.assist, self))
        for page in (self._study_page, self.form):
            self.pages.addWidget(page)
        self.body.addWidget(self.title)
        self.body.addLayout(bar)
        self.body.addWidget(self.offers)
        self.body.addWidget(self.pages, 1)
        self.table.setToolTip(key_help())
        self.table.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)

    def _connect(self) -> None:
        connect, labelling = self.connections.connect, self.labelling
        connect(self.session.study_changed, self._on_study)
        connect(self.session.case_changed, self._on_case)
        connect(self.session.cases_changed, self._on_cases)
        connect(self.session.models_changed, self.assist.refresh)
        connect(labelling.view_changed, self._on_view)
        connect(labelling.state_changed, self.case.refresh_saved)
        connect(labelling.saved, self._on_saved)
        connect(labelling.label_selected, self.scheme.select)
        connect(labelling.opening_changed, self._on_opening)
        connect(labelling.others_changed, self.table.refresh)
        connect(labelling.talk.offers_changed, self.offers.refresh)
        self.new.clicked.connect(lambda *_: self.pages.setCurrentWidget(self.form))
        self.open.clicked.connect(self._on_open)
        self.close_button.clicked.connect(
            lambda *_: labelling.talk.attempt(self.session.close_study)
        )
        self._recent_menu.aboutToShow.connect(self._fill_recent)
        self.form.made.connect(self._on_made)
        self.form.cancelled.connect(self._show_study_page)
        self.form.said.connect(self.say)
        self.table.chosen.connect(self._on_chosen)
        self.table.view.customContextMenuRequested.connect(self._on_menu)
        self.scheme.selected.connect(labelling.select_label)
        self.scheme.refused.connect(functools.partial(self.say, "error"))
        labelling.order = self.table.order

    # -- studies -------------------------------------------------------------------------------

    def open_study(self, folder: str | Path) -> None:
        """Open a study; what is wrong with it is said in a sentence."""
        self.messages.clear()
        if self.labelling.talk.attempt(lambda: self.session.open_study(folder)):
            self._show_study_page()

    def _on_open(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Open the folder of a study")
        if chosen:
            self.open_study(chosen)

    def _on_made(self, folder: str) -> None:
        self.form.from_layers.setChecked(False)
        self.open_study(folder)

    def _fill_recent(self) -> None:
        menu = self._recent_menu
        menu.clear()
        for folder in recent_studies():
            menu.addAction(str(folder), functools.partial(self.open_study, folder))
        if menu.isEmpty():
            nothing_in(menu, "No study was opened yet")

    def _show_study_page(self) -> None:
        self.pages.setCurrentWidget(self._study_page)

    def _on_study(self) -> None:
        study = self.session.study
        self.close_button.setEnabled(study is not None)
        self._study_page.setVisible(study is not None)
        if study is None:
            self.title.setText("No study is open: make one, open one, or drop its folder here.")
        else:
            kind = "read-only" if self.session.read_only else f"{study.dimension}D"
            self.title.setText(f"{study.name}: {len(study.cases)} cases, {kind}")
            self.title.setToolTip(str(study.folder))
            remember_study(study.folder)
            self._offer_missing()
        self.table.set_study(study)
        self._show_scheme()
        self.assist.refresh()
        self.case.refresh()
        self.offers.refresh()

    def _on_cases(self) -> None:
        self.table.refresh()
        self._show_scheme()
        self.assist.refresh()
        self.case.refresh()

    def _show_scheme(self) -> None:
        study = self.session.study
        editable = study is not None and not self.session.read_only
        self.scheme.show_scheme(None if study is None else study.scheme, editable=editable)
        view = self.labelling.view
        if view is not None:
            self.scheme.select(int(view.labels.selected_label))

    # -- images that moved ---------------------------------------------------------------------

    def _offer_missing(self) -> None:
        study = self.session.study
        assert study is not None
        missing = 0
        for case in study.cases:
            try:
                study.image_path(case.id)
            except GeminiError:
                missing += 1
        if not missing:
            self.labelling.talk.withdraw("missing")
            return
        words = (
            f"The images of {missing} of {len(study.cases)} cases are no longer where they were: "
            "say where they are now."
        )
        actions = (("Locate images…", self._on_locate),)
        self.labelling.talk.offer("missing", Offer(words, actions, "warning"))

    def _on_locate(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Where are the images now?")
        if chosen:
            self.locate_images(Path(chosen))

    def locate_images(self, folder: Path) -> None:
        """Look for the study's images in a folder and note where they are."""
        study, talk = self.session.study, self.labelling.talk
        if study is None:
            return

        def found(values: Mapping[str, Any]) -> None:
            if self.session.study is study:
                places = {case: Path(path) for case, path in values["found"].items()}
                talk.attempt(lambda: self._move_images(places, folder))

        talk.attempt(
            lambda: self.session.engine.run(
                FindImagesJob(study=study.folder, sources=[folder]),
                description="Looking for the images",
                on_result=found,
                on_error=lambda sentence: talk.tell("error", sentence),
            )
        )

    def _move_images(self, places: dict[str, Path], folder: Path) -> None:
        study = self.session.study
        assert study is not None
        if not places:
            self.say("warning", f"No image of this study is in {folder}: choose another folder.")
            return
        moved = study.move_images(places)
        self.say("info", f"{len(moved)} images were found in {folder}.")
        self._offer_missing()
        self.session.cases_changed.emit()

    # -- cases ---------------------------------------------------------------------------------

    def _on_chosen(self, case_id: str) -> None:
        self.labelling.talk.attempt(lambda: self.session.show_case(case_id))

    def _on_case(self, case_id: str | None) -> None:
        self.table.select(case_id)
        self.assist.refresh()

    def _on_view(self) -> None:
        self.case.refresh()
        self._show_scheme()
        self.assist.refresh()

    def _on_opening(self, _case_id: str | None) -> None:
        self.case.refresh()

    def _on_saved(self, case_id: str, summary: LabelSummary) -> None:
        self.table.saved(case_id, summary)
        self.case.refresh()

    def _on_menu(self, position: Any) -> None:
        case_id, study = self.table.selected, self.session.study
        if case_id is None or study is None or self.session.read_only:
            return
        menu = QMenu(self)
        menu.addAction(f"Show {case_id}", functools.partial(self._on_chosen, case_id))
        for role, words in ROLES.items():
            action = QAction(f"Role: {words}", menu)
            action.setCheckable(True)
            action.setChecked(study.case(case_id).role == role)
            action.triggered.connect(functools.partial(self._on_role, case_id, role))
            menu.addAction(action)
        viewport = self.table.view.viewport()
        assert viewport is not None
        menu.popup(viewport.mapToGlobal(position))

    def _on_role(self, case_id: str, role: str, *_: Any) -> None:
        self.set_role(case_id, role)

    def set_role(self, case_id: str, role: Any) -> None:
        """Give a case another role."""
        study = self.session.study
        if study is not None and self.labelling.talk.attempt(
            lambda: study.set_case(case_id, role=role)
        ):
            self.session.cases_changed.emit()

    def sizeHint(self) -> QSize:
        """Open wide enough for all columns of the table."""
        return QSize(_WIDTH, super().sizeHint().height())

    def tear_down(self) -> None:
        """Let go of the session; labelling goes on saving without the dock."""
        self.table.stop()
        if self.labelling.order == self.table.order:
            self.labelling.order = None
        super().tear_down()


def _section(title: str, content: QWidget, parent: QWidget) -> QCollapsible:
    section = QCollapsible(title, parent)
    section.setDuration(0)
    section.addWidget(content)
    for layout in (section.layout(), section.content().layout()):
        if layout is not None:
            layout.setContentsMargins(0, 2, 0, 2)
    section.expand(animate=False)
    return section
