"""The dock for probing: where a voxel goes, what resembles it, and landmarks to measure with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QMessageBox, QPushButton

from napari_gemini.errors import GeminiError
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.pair.keys import CanvasKeys
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.probing import keeping
from napari_gemini.widgets.probing.clicks import Clicks
from napari_gemini.widgets.probing.landmark_panel import LandmarkPanel
from napari_gemini.widgets.probing.landmarks import (
    LandmarkList,
    Probe,
    Side,
)
from napari_gemini.widgets.probing.marks import (
    SIMILARITY,
    show_probe,
    show_similarity,
    take_away,
)
from napari_gemini.widgets.probing.pair_landmarks import PairLandmarks
from napari_gemini.widgets.probing.probe_panel import ProbePanel
from napari_gemini.widgets.probing.runner import ProbeRunner
from napari_gemini.widgets.probing.viewers import grid_of, join_tabs, jump, viewers_of

if TYPE_CHECKING:
    import napari

NO_PAIR = (
    "There is no pair yet: compute one, or open a result, in the Correspondence dock. Then click a "
    "voxel in either scan."
)
_KEY = "Shift-K"


class ProbeDock(Dock):
    """Probe voxels of a pair and keep landmarks.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, warm=True)
        self.pair: PairData | None = None
        self.probe: Probe | None = None
        #: Seconds from the last click to its heat map on the canvas.
        self.latency: float | None = None
        self.runner = ProbeRunner(self.session)
        self.clicks = Clicks(self.on_click)
        self.panel = ProbePanel()
        self.landmark_panel = LandmarkPanel()
        self._kept = PairLandmarks(
            self.session, self.landmark_panel, self.connections, lambda: self.pair, self.say
        )
        self.open_pair = QPushButton("Open the Correspondence dock")
        self.open_pair.clicked.connect(self._open_correspondence)
        self._torn_down = False
        self.body.addWidget(self.open_pair)
        self.body.addWidget(self.panel)
        self.body.addWidget(self.landmark_panel, 1)
        # The pair's own dock hears of a pair too and has to make its canvas first.
        self._attach_later = QTimer(self)
        self._attach_later.setSingleShot(True)
        self._attach_later.setInterval(0)
        self._attach_later.timeout.connect(self._attach)
        # Where a dock is can be changed when napari has placed it.
        self._join_later = QTimer(self)
        self._join_later.setSingleShot(True)
        self._join_later.setInterval(0)
        self._join_later.timeout.connect(self._join)
        self._connect()
        self._keys = CanvasKeys({_KEY: self.keep}, {_KEY: "Keep the probe as a landmark"})
        self.session.add_close_guard(self.may_close)
        self._attach()

    def _connect(self) -> None:
        session, join = self.session, self.connections.connect
        for signal in (session.pair_changed, session.study_changed):
            join(signal, self._soon)
        join(session.models_changed, self._update_models)
        join(self.runner.answered, self._on_answer)
        join(self.runner.failed, self._on_failed)
        join(self.runner.stopped, self._on_stopped)
        join(self.runner.progressed, self._on_progress)
        join(self.runner.busy_changed, self.panel.set_busy)
        panel = self.panel
        panel.toggled.connect(self._on_toggled)
        panel.model_changed.connect(self._again)
        panel.stop_wanted.connect(self.runner.stop)
        panel.jump_wanted.connect(self._jump_to)
        panel.keep_wanted.connect(self.keep)

    @property
    def landmarks(self) -> LandmarkList:
        """The landmarks of the pair."""
        return self._kept.marks

    def _join(self) -> None:
        if not self._torn_down:
            join_tabs(self)

    def _soon(self, *_: Any) -> None:
        self._attach_later.start()

    # -- the pair ------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Turn to the session's pair and the canvases that show it."""
        if self._torn_down or self.session.closed:
            return
        pair = self.session.pair
        changed = pair is not self.pair
        if changed:
            self._leave()
            self.pair = pair
        self.open_pair.setVisible(pair is None)
        self.panel.setEnabled(pair is not None)
        self.landmark_panel.setEnabled(pair is not None)
        if pair is None:
            self.say("info", NO_PAIR)
            return
        viewers = viewers_of(self.session)
        self.clicks.attach(pair, viewers)
        for viewer in viewers.values():
            self._keys.attach(viewer)
        if changed:
            self.messages.clear()
            self.panel.model.clear()
            self._update_models()
            self._kept.turn_to(pair)
        if "moving" not in viewers:
            self.open_pair.setVisible(True)
            self.say("warning", "The moving scan is not shown; open the Correspondence dock.")

    def _leave(self) -> None:
        """Take everything of the last pair off the canvases."""
        self.runner.stop()
        self.clicks.detach()
        self._kept.leave()
        take_away(viewers_of(self.session))
        self.probe, self.latency = None, None
        self.panel.show_probe(None, None, "mm")
        self.panel.status.setText("")

    def _update_models(self) -> None:
        if self.pair is not None and not self._torn_down:
            prefer = self.pair.report.get("model")
            self.panel.set_models(self.session.models(self.pair.ndim), prefer)

    def _open_correspondence(self) -> None:
        from napari_gemini.widgets.pair.dock import CorrespondenceDock

        viewer = self.session.viewer
        viewer.window.add_dock_widget(CorrespondenceDock(viewer), name="Correspondence")
        self._soon()

    # -- probing -------------------------------------------------------------------------------

    def _on_toggled(self, on: bool) -> None:
        self.clicks.enabled = on

    def on_click(self, side: Side, point: FloatArray, shift: bool) -> None:
        """Take a click in a scan: probe it, or with Shift set the partner of the last probe."""
        if shift and self.probe is not None and side == self.probe.other:
            self.probe = replace(self.probe, chosen=point)
            self.panel.kind.setCurrentIndex(self.panel.kind.findData("chosen"))
            self._show()
        else:
            self.probe_at(side, point)

    def probe_at(self, side: Side, point: FloatArray) -> None:
        """Probe a point of a scan, RAS mm."""
        pair = self.pair
        if pair is None:
            self.say("warning", NO_PAIR)
            return
        self.messages.clear()
        point = np.asarray(point, dtype=np.float64)
        to_other = pair.map_fixed_to_moving if side == "fixed" else pair.map_moving_to_fixed
        self.probe = Probe(side, point, to_other(point))
        if self.panel.kind.currentData() == "chosen":
            self.panel.kind.setCurrentIndex(0)
        self._show()
        viewers = viewers_of(self.session)
        if self.probe.other in viewers:
            other = self.probe.other
            jump(viewers[other], grid_of(pair, other), self.probe.partner)
        self._ask()

    def _again(self) -> None:
        """Ask once more: another model serves."""
        if self.probe is not None:
            self.probe = replace(
                self.probe, best=None, best_similarity=None, partner_similarity=None
            )
            self._show()
            self._ask()

    def _ask(self) -> None:
        assert self.pair is not None
        assert self.probe is not None
        try:
            self.runner.ask(self.pair, self.panel.spec, self.probe)
        except GeminiError as error:
            self._on_failed(str(error))

    def _show(self) -> None:
        pair, probe = self.pair, self.probe
        if pair is None or probe is None:
            return
        show_probe(viewers_of(self.session), pair, probe, self.session.preferences)
        grids = grid_of(pair, probe.side), grid_of(pair, probe.other)
        self.panel.show_probe(probe, grids, pair.unit)

    def _on_answer(self, asked: Probe, values: dict[str, Any], seconds: float) -> None:
        arrays = self.session.engine.arrays
        similarity = arrays.open(values["map"])
        arrays.discard(values["map"])
        pair, probe = self.pair, self.probe
        if self._torn_down or pair is None or probe is None or probe.point is not asked.point:
            return
        self.probe = replace(
            probe,
            best=np.array(values["best"]),
            best_similarity=values["best_similarity"],
            partner_similarity=values["partner_similarity"],
        )
        viewers = viewers_of(self.session)
        take_away({probe.side: viewers[probe.side]} if probe.side in viewers else {}, SIMILARITY)
        low = high = 0.0
        if probe.other in viewers:
            low, high = show_similarity(
                viewers[probe.other],
                pair,
                probe.other,
                similarity,
                values["affine"],
                values["stride"],
                self.session.preferences.similarity_colormap,
                model=values["model"],
                features=values["features"],
                point=values["point"],
            )
        self._show()
        self.latency = seconds
        self.panel.status.setText(_answer_words(values, low, high))

    def _on_failed(self, sentence: str) -> None:
        self.panel.status.setText("")
        self.say("error", sentence)

    def _on_stopped(self) -> None:
        self.panel.status.setText("Stopped; the similarity was not computed.")

    def _on_progress(self, words: str) -> None:
        self.panel.status.setText(words)

    def _jump_to(self, name: str) -> None:
        pair, probe = self.pair, self.probe
        if pair is None or probe is None:
            return
        side = probe.side if name == "point" else probe.other
        viewers = viewers_of(self.session)
        world = getattr(probe, name)
        if world is not None and side in viewers:
            jump(viewers[side], grid_of(pair, side), world)

    # -- landmarks -----------------------------------------------------------------------------

    def keep(self, kind: str | None = None) -> None:
        """Keep the probe with one of its partners (see ``KINDS``) as a landmark."""
        probe = self.probe
        kind = kind or str(self.panel.kind.currentData())
        if probe is None or self.pair is None:
            self.say("warning", "There is no probe to keep: click a voxel in either scan first.")
            return
        partner = getattr(probe, kind)
        if partner is None:
            missing = {
                "best": "The best match is not known yet; wait for the similarity.",
                "chosen": "Set your own point first: Shift+click in the other scan.",
            }
            self.say("warning", missing[kind])
            return
        self._kept.keep(probe, partner)

    def bring(self, paths: list[Path]) -> None:
        """Import landmarks; those of a name that is known are replaced."""
        if self.pair is None:
            self.say("warning", NO_PAIR)
        else:
            self._kept.bring(paths)

    def export(self, path: Path) -> None:
        """Export the landmarks as csv or for 3D Slicer."""
        self._kept.export(path)

    # -- the end -------------------------------------------------------------------------------

    def may_close(self) -> bool:
        """Ask once before landmarks go with the window that are in no study and no file."""
        count = keeping.unsaved(self.session)
        return count == 0 or self.ask_to_discard(count)

    def ask_to_discard(self, count: int) -> bool:
        """Ask whether landmarks may be lost."""
        answer = QMessageBox.question(
            self,
            "Landmarks are not saved",
            f"{count} landmarks are in no study and in no file. Close and lose them?",
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def event(self, event: QEvent | None) -> bool:
        """Take a place among the tabs once napari has put the dock into its window."""
        changed = event is not None and event.type() == QEvent.Type.ParentChange
        if changed and self.parent() is not None and not self._torn_down:
            self._join_later.start()
        return super().event(event)

    def tear_down(self) -> None:
        """Stop, and take marks and maps off the canvases; called once or more."""
        if self._torn_down:
            return
        self._torn_down = True
        self._attach_later.stop()
        self._join_later.stop()
        self.clicks.detach()
        self._kept.forget_layers()
        self.runner.tear_down()
        self.session.remove_close_guard(self.may_close)
        if not self.session.closed:
            take_away(viewers_of(self.session))
        self._keys.drop()
        super().tear_down()


def _answer_words(values: dict[str, Any], low: float, high: float) -> str:
    """Say whose features were compared and what the colours mean."""
    if values["features"] == "network":
        source = f"Features: {Path(values['model']).name}."
    else:
        source = "No model: local descriptors of the image stand in for features."
    return f"{source} Colours: similarity {low:.2f} to {high:.2f}."
