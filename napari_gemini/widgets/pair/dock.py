"""The dock for correspondence: compute a pair, look at it, see whether to trust it, apply it."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QTimer

from napari_gemini.errors import GeminiError
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.pair.apply_panel import ApplyPanel
from napari_gemini.widgets.pair.applying import Applying
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.pair.choices import Choices
from napari_gemini.widgets.pair.controls import Controls
from napari_gemini.widgets.pair.evidence_panel import EvidencePanel
from napari_gemini.widgets.pair.folds import Fold, find_folds
from napari_gemini.widgets.pair.keys import KEYS, SWAP, CanvasKeys
from napari_gemini.widgets.pair.look_panel import LookPanel
from napari_gemini.widgets.pair.match_panel import MatchPanel, Request
from napari_gemini.widgets.pair.numbers import collect, headline, label_names
from napari_gemini.widgets.pair.numbers_panel import NumbersPanel
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.pair_view import PairView
from napari_gemini.widgets.pair.partner import (
    PartnerView,
    dock_of,
    place_beside,
    share_room,
)
from napari_gemini.widgets.pair.runner import PairRunner, pairs_folder
from napari_gemini.widgets.pair.tabs import Tabs

if TYPE_CHECKING:
    import napari

_PARTNER_NAME = "Moving scan"
#: How often the room is shared anew while docks find their places.
_TRIES = 10


class CorrespondenceDock(Dock):
    """Find and judge the correspondence of two scans.

    Parameters
    ----------
    viewer
        napari's viewer; it shows the fixed scan, a dock beside it the moving one.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, warm=True)
        self.partner: PartnerView | None = None
        self.view: PairView | None = None
        self.runner = PairRunner(self.session, self)
        self.match_panel = MatchPanel()
        self.look_panel = LookPanel()
        self.evidence_panel = EvidencePanel()
        self.numbers_panel = NumbersPanel()
        self.apply_panel = ApplyPanel()
        self.controls = Controls(self.look_panel, self.evidence_panel)
        self.choices = Choices(
            self.session, self.match_panel, self.apply_panel, lambda: self.partner
        )
        self.applying = Applying(self.session, self.apply_panel, lambda: self.partner)
        self._smaller: Request | None = None
        self._torn_down = False
        self._placing = 0
        self.tabs = Tabs()
        for panel, name in (
            (self.match_panel, "Match"),
            (self.look_panel, "Look"),
            (self.evidence_panel, "Maps"),
            (self.numbers_panel, "Numbers"),
            (self.apply_panel, "Apply"),
        ):
            self.tabs.addTab(panel, name)
        self.body.addWidget(self.tabs)
        # The lists follow layers and study, but not more than once for many changes.
        self._update = QTimer(self)
        self._update.setSingleShot(True)
        self._update.setInterval(0)
        self._update.timeout.connect(self._update_lists)
        self._fit = QTimer(self)
        self._fit.setSingleShot(True)
        self._fit.setInterval(100)
        self._fit.timeout.connect(self._fit_views)
        self._connect_session()
        self._connect_panels()
        self._keys = self._bind_keys()
        self._update_lists()
        self._enable(False)
        self._on_pair_changed()

    def _connect_session(self) -> None:
        session, layers = self.session, self.session.viewer.layers.events
        for signal in (session.study_changed, session.cases_changed, session.models_changed):
            self.connections.connect(signal, self._update_soon)
        for event in (layers.inserted, layers.removed):
            self.connections.connect(event, self._update_soon)
        self.connections.connect(session.pair_changed, self._on_pair_changed)
        self.connections.connect(session.study_changed, self._on_study_changed)
        self.connections.connect(session.case_changed, self._on_case_changed)
        self.connections.connect(session.viewer.events.theme, self._follow_theme)
        runner = self.runner
        self.connections.connect(runner.ready, self._on_ready)
        self.connections.connect(runner.failed, self._on_failed)
        self.connections.connect(runner.stopped, self._on_stopped)
        self.connections.connect(runner.progressed, self.match_panel.show_progress)
        self.connections.connect(runner.smaller, self._on_smaller)

    def _connect_panels(self) -> None:
        match = self.match_panel
        match.started.connect(self.start)
        match.stopped.connect(self.runner.stop)
        match.scans_changed.connect(self.choices.follow_scans)
        match.opened.connect(lambda folder: self.open_result(Path(folder)))
        match.retried.connect(self._retry)
        self.look_panel.swap_wanted.connect(self.swap)
        self.numbers_panel.report_wanted.connect(self._open_report)
        self.apply_panel.apply_wanted.connect(self.applying.apply)
        self.apply_panel.export_wanted.connect(lambda folder: self.applying.export(Path(folder)))
        self.apply_panel.layer_chosen.connect(self.applying.show_side)
        self.applying.said.connect(self._on_said)

    def _bind_keys(self) -> CanvasKeys:
        this = ref(self)

        def swap() -> None:
            dock = this()
            if dock is not None:
                dock.swap()

        keys = CanvasKeys({**self.controls.actions, SWAP: swap}, KEYS)
        keys.attach(self.session.viewer)
        return keys

    # -- lists ---------------------------------------------------------------------------------

    def _update_soon(self, *_: Any) -> None:
        self._update.start()

    def _update_lists(self) -> None:
        if not self._torn_down:
            self.choices.update()

    def _on_study_changed(self) -> None:
        pair = self.session.pair
        if pair is not None and pair.fixed_case is not None:
            self.session.set_pair(None)

    def _on_case_changed(self, case: str | None) -> None:
        """Close the pair when another case takes the canvas."""
        pair = self.session.pair
        if pair is not None and case is not None and case != pair.fixed_case:
            self.session.set_pair(None)

    # -- computing -----------------------------------------------------------------------------

    def start(self) -> None:
        """Compute what the form says."""
        request = self.match_panel.request
        if request is None:
            self.say("warning", "Choose a moving and a fixed scan first: open a study or scans.")
            return
        self._start(request)

    def _start(self, request: Request) -> None:
        self.messages.clear()
        self.match_panel.set_running(True)
        try:
            self.runner.start(request)
        except GeminiError as error:
            self._on_failed(str(error))

    def open_result(self, folder: Path) -> None:
        """Open a folder that ``correspond`` or ``propagate`` wrote."""
        if self.runner.busy:
            self.say("warning", "Wait for the running computation, or stop it first.")
            return
        self.messages.clear()
        self.match_panel.set_running(True)
        self.runner.open_result(folder)

    def _on_ready(self, pair: PairData) -> None:
        self.match_panel.set_running(False)
        self.session.set_pair(pair)
        where = "a temporary folder, which goes with the window" if pair.temporary else pair.folder
        self.say("info", f"{headline(pair)}. The results are in {where}.")
        self.tabs.setCurrentWidget(self.look_panel)
        self._update_soon()

    def _on_failed(self, sentence: str) -> None:
        self.match_panel.set_running(False)
        self.say("error", sentence)

    def _on_stopped(self) -> None:
        self.match_panel.set_running(False)
        self.say("info", "Stopped; nothing was written.")

    def _on_smaller(self, request: Request, unit: str) -> None:
        self._smaller = request
        self.match_panel.offer_retry(f"Try a grid of {request.spacing:g} {unit}")

    def _retry(self) -> None:
        if self._smaller is not None:
            self.match_panel.spacing.setValue(self._smaller.spacing or 0.0)
            self._start(self._smaller)

    # -- the pair ------------------------------------------------------------------------------

    def _on_pair_changed(self) -> None:
        pair = self.session.pair
        if self.view is not None and self.view.pair is pair:
            return
        self._close_view()
        if pair is None:
            self._enable(False)
            return
        try:
            self._show_case(pair)
        except GeminiError as error:
            self.say("warning", str(error))
        partner = self._open_partner()
        self.view = PairView(self.session, partner, pair, self)
        self.view.failed.connect(lambda sentence: self.say("warning", sentence))
        self._enable(True)
        self._fill_panels(pair)
        self.view.tell()
        self._fit.start()

    def _show_case(self, pair: PairData) -> None:
        """Let the study show the fixed case, so that its labels stay in its care."""
        session = self.session
        if session.study is not None and pair.fixed_case not in (None, session.case):
            session.show_case(str(pair.fixed_case))

    def _fill_panels(self, pair: PairData) -> None:
        words = f"Fixed: {pair.fixed_name}\nMoving: {pair.moving_name}"
        self.look_panel.set_pair(words, pair.back is not None)
        assert self.view is not None
        self.controls.show(self.view)
        self._show_numbers(pair)
        self._find_folds(pair)
        self._update_soon()

    def _show_numbers(self, pair: PairData) -> None:
        study = self.session.study
        folder = None if study is None else pairs_folder(study)
        names = label_names(None if study is None else study.scheme)
        heading = headline(pair)
        self.numbers_panel.show_numbers(f"{heading}\nReading...", None)

        def show(numbers: Any) -> None:
            if self.session.pair is pair and not self._torn_down:
                self.numbers_panel.show_numbers(heading, numbers)

        in_background(lambda: collect(pair, folder, names), show, self._warn)

    def _find_folds(self, pair: PairData) -> None:
        def find() -> list[Fold] | None:
            volume = pair.volume("folds")
            return None if volume is None else find_folds(volume)

        def show(folds: list[Fold] | None) -> None:
            if self.session.pair is pair and not self._torn_down:
                self.controls.set_folds(folds)

        in_background(find, show, self._warn)

    def _warn(self, sentence: str) -> None:
        self._on_said("warning", sentence)

    def _on_said(self, level: Any, sentence: str) -> None:
        if not self._torn_down:
            self.say(level, sentence)
            self._update_soon()

    def swap(self) -> None:
        """Exchange fixed and moving; nothing is computed."""
        pair = self.session.pair
        if pair is None:
            return
        try:
            other = pair.swapped()
        except GeminiError as error:
            self.say("warning", str(error))
            return
        self.session.set_pair(other)

    def _open_report(self) -> None:
        pair = self.session.pair
        page = None if pair is None or pair.folder is None else pair.folder / "report.html"
        if page is None or not page.is_file():
            self.say("warning", "This result has no report.html; compute the pair again.")
        else:
            webbrowser.open(page.as_uri())

    # -- the partner's dock, and the end ---------------------------------------------------------

    def _open_partner(self) -> PartnerView:
        if self.partner is not None and self.partner.alive:
            dock = dock_of(self.partner)
            if dock is not None:
                dock.show()
            return self.partner
        self.partner = PartnerView()
        self.partner.gone.connect(self._on_partner_gone)
        self._keys.attach(self.partner.model)
        self._follow_theme()
        self.session.viewer.window.add_dock_widget(
            self.partner, name=_PARTNER_NAME, area="right", add_vertical_stretch=False
        )
        place_beside(self.partner, self)
        self._placing = _TRIES
        return self.partner

    def _follow_theme(self, event: Any = None) -> None:
        """Let the second canvas have the window's colours."""
        if self.partner is not None:
            self.partner.model.theme = self.session.viewer.theme

    def _fit_views(self) -> None:
        """Share the room between the two canvases, then show all of both scans."""
        if self._torn_down or self.partner is None:
            return
        self._placing -= 1
        if self._placing > 0 and not share_room(self.partner, self):
            self._fit.start()
            return
        self._placing = 0
        if self.view is not None:
            self.view.cursor.fit()

    def _on_partner_gone(self) -> None:
        """Close the pair when its second canvas is closed."""
        self.partner = None
        if not self._torn_down and self.session.pair is not None:
            self.session.set_pair(None)

    def _close_view(self, *, keep_layers: bool = False) -> None:
        view, self.view = self.view, None
        self.controls.forget()
        if view is not None:
            view.tear_down(keep_layers=keep_layers)
            view.deleteLater()
        if self.partner is not None and self.partner.alive and not keep_layers:
            self.partner.model.layers.clear()
            self.partner.set_title("")
            self.partner.say("")

    def _enable(self, on: bool) -> None:
        for panel in (self.look_panel, self.evidence_panel, self.apply_panel):
            panel.setEnabled(on)
        if not on:
            self.look_panel.set_pair("No pair yet: find one, or open a result.", False)
            self.look_panel.partner.setText("")
            self.numbers_panel.show_numbers("No pair yet: find one, or open a result.", None)
            self.evidence_panel.set_folds(None, "mm", 3)

    def tear_down(self) -> None:
        """End what runs and the second canvas; called once or more."""
        if self._torn_down:
            return
        self._torn_down = True
        self._update.stop()
        self._fit.stop()
        self.runner.tear_down()
        self.applying.tear_down()
        gone = self.session.closed
        self._keys.drop()
        self._close_view(keep_layers=gone)
        partner, self.partner = self.partner, None
        if partner is not None:
            partner.tear_down()
            dock = dock_of(partner)
            if dock is not None and not gone:
                self.session.viewer.window.remove_dock_widget(dock)
        super().tear_down()
