"""The dock for features: a t-SNE of voxels, brushed both ways, with clusters and two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QProgressBar,
    QPushButton,
)

from napari_gemini.errors import GeminiError
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.common.models import NO_MODEL
from napari_gemini.widgets.features.brushing import LabelBrush
from napari_gemini.widgets.features.clusters_panel import ClustersPanel
from napari_gemini.widgets.features.exploration import Exploration, colours_by
from napari_gemini.widgets.features.map_panel import MapPanel
from napari_gemini.widgets.features.painting import (
    is_ours,
    show_clusters,
    show_selection,
    take_selection_away,
)
from napari_gemini.widgets.features.runner import ExploreRunner, Wanted
from napari_gemini.widgets.features.setup_panel import SetupPanel
from napari_gemini.widgets.pair.inputs import Source, label_sources, scan_sources
from napari_gemini.widgets.pair.partner import dock_of
from napari_gemini.widgets.pair.tabs import Tabs
from napari_gemini.widgets.probing.viewers import join_tabs, viewers_of

if TYPE_CHECKING:
    import napari

_METHODS = {"kmeans": "k-means", "hdbscan": "HDBSCAN"}
#: How wide the dock is made for two layouts side by side, in pixels.
_WIDE = 600


class FeaturesDock(Dock):
    """Explore what features say about voxels.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, warm=True)
        self.runner = ExploreRunner(self.session)
        self.setup = SetupPanel()
        self.map = MapPanel()
        self.clusters = ClustersPanel()
        self.brush = LabelBrush(self._brushed)
        self.tabs = Tabs()
        self.tabs.addTab(self.setup, "Setup")
        self.tabs.addTab(self.map, "Map")
        self.tabs.addTab(self.clusters, "Clusters")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.status = QLabel()
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setWordWrap(True)
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(self._on_stop)
        self._torn_down = False
        self._names: tuple[str, ...] = ()
        self._models: tuple[str | None, ...] = ()
        self._method = "kmeans"
        line = QHBoxLayout()
        line.addWidget(self.status, 1)
        line.addWidget(self.stop)
        self.body.addWidget(self.progress)
        self.body.addLayout(line)
        self.body.addWidget(self.tabs, 1)
        self._update = QTimer(self)
        self._update.setSingleShot(True)
        self._update.setInterval(0)
        self._update.timeout.connect(self._update_lists)
        # Where a dock is can be changed when napari has placed it.
        self._join_later = QTimer(self)
        self._join_later.setSingleShot(True)
        self._join_later.setInterval(0)
        self._join_later.timeout.connect(self._join)
        self._connect()
        self._set_running(False)
        self._update_lists()

    def _connect(self) -> None:
        session, join = self.session, self.connections.connect
        layers = session.viewer.layers.events
        for signal in (
            session.study_changed,
            session.cases_changed,
            session.models_changed,
            session.pair_changed,
            layers.inserted,
            layers.removed,
        ):
            join(signal, self._soon)
        runner = self.runner
        join(runner.sampled, self._on_sampled)
        join(runner.laid_out, self._on_laid_out)
        join(runner.completed, self._on_completed)
        join(runner.progressed, self._on_progress)
        join(runner.finished, self._on_finished)
        join(runner.failed, self._on_failed)
        join(runner.stopped, self._on_stopped)
        join(runner.mapped, self._on_mapped)
        self.setup.started.connect(self.start)
        self.setup.scans_changed.connect(self._update_labels)
        self.setup.pair_wanted.connect(self.take_pair)
        self.map.selected.connect(self._on_selected)
        self.map.colours_changed.connect(self._repaint)
        self.clusters.map_wanted.connect(self.map_clusters)

    # -- lists ---------------------------------------------------------------------------------

    def _join(self) -> None:
        if not self._torn_down:
            join_tabs(self)

    def _soon(self, *_: Any) -> None:
        self._update.start()

    def _update_lists(self) -> None:
        if self._torn_down or self.session.closed:
            return
        study, viewer = self.session.study, self.session.viewer
        scans = [one for one in scan_sources(study, viewer) if not _painted(one)]
        shown = [k for k, one in enumerate(scans) if one.case == self.session.case is not None]
        self.setup.scan.set_sources(scans, prefer=shown[0] if shown else 0)
        self.setup.scan2.set_sources(scans, prefer=-1)
        self.setup.take_pair.setVisible(self.session.pair is not None)
        self._update_labels()
        viewers = [] if self._torn_down else self._viewers()
        self.brush.listen(viewers)

    def _update_labels(self) -> None:
        study, viewer = self.session.study, self.session.viewer
        for box, scan in (
            (self.setup.labels, self.setup.scan.source),
            (self.setup.labels2, self.setup.scan2.source),
        ):
            before = box.source
            if before is not None and before.case not in (None, scan and scan.case):
                box.choose_none()
            sources = [one for one in label_sources(study, viewer, scan) if not _painted(one)]
            own = bool(sources) and sources[0].case is not None
            box.set_sources(sources, prefer=0 if own else -1)
        scan = self.setup.scan.source
        dimension = None if scan is None else scan.dimension(study)
        self.setup.set_models(self.session.models(dimension))

    def take_pair(self) -> None:
        """Choose the two scans of the session's pair."""
        pair = self.session.pair
        if pair is None:
            return
        for box, case, volume in (
            (self.setup.scan, pair.fixed_case, pair.fixed),
            (self.setup.scan2, pair.moving_case, pair.moving),
        ):
            if case is not None:
                box.choose(Source(case, case=case))
            elif volume.path is not None:
                box.choose_file(volume.path)
        self._update_labels()

    def _viewers(self) -> list[Any]:
        return list(viewers_of(self.session).values())

    # -- exploring -----------------------------------------------------------------------------

    def start(self) -> None:
        """Explore what the form says."""
        wanted = self.setup.wanted
        if wanted is None:
            self.say("warning", "Choose a scan first: open a study or an image.")
            return
        self.messages.clear()
        try:
            self._show_case(wanted)
            self.runner.start(wanted)
        except GeminiError as error:
            self.say("error", str(error))
            return
        take_selection_away(self._viewers())
        scans = (wanted.scan, wanted.scan2)
        self._names = tuple(one.name.removeprefix("layer: ") for one in scans if one is not None)
        self._models = tuple(wanted.models)
        self._take_scheme()
        self.map.clear(self._names, len(wanted.models))
        self.clusters.show_scores([])
        self._set_running(True)
        self.status.setText("Starting...")
        self.tabs.setCurrentWidget(self.map)
        if len(wanted.models) > 1:
            self._make_room()

    def _show_case(self, wanted: Wanted) -> None:
        """Show the case whose voxels are explored, so that they can be painted."""
        session = self.session
        if session.pair is None and wanted.scan.case not in (None, session.case):
            session.show_case(str(wanted.scan.case))

    def _take_scheme(self) -> None:
        study = self.session.study
        if study is None:
            self.map.set_labels({}, {})
        else:
            self.map.set_labels(dict(study.scheme.colors), dict(study.scheme.names))

    def _make_room(self) -> None:
        """Widen the dock for two layouts side by side."""
        mine = dock_of(self)
        main = None if mine is None else mine.parent()
        if isinstance(mine, QDockWidget) and isinstance(main, QMainWindow):
            wide = max(self.width(), min(_WIDE, main.width() // 2))
            main.resizeDocks([mine], [wide], Qt.Orientation.Horizontal)

    def _on_sampled(self, which: int, found: Exploration) -> None:
        self.map.show_exploration(which, found)
        # That no model served is no news to somebody who chose none.
        chosen = which < len(self._models) and self._models[which] == NO_MODEL
        for note in found.facts.get("notes") or []:
            if not (chosen and note.startswith("No model served")):
                self.say("info", note)

    def _on_laid_out(self, which: int, found: Exploration) -> None:
        self.map.show_exploration(which, found)

    def _on_completed(self, which: int, found: Exploration) -> None:
        self.map.show_exploration(which, found)
        self.map.refresh()
        self.clusters.show_scores(self.map.found)

    def _on_progress(self, done: int, total: int, words: str) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.status.setText(words)

    def _on_finished(self) -> None:
        self._set_running(False)
        self.status.setText("")

    def _on_failed(self, sentence: str) -> None:
        self._set_running(False)
        self.status.setText("")
        self.say("error", sentence)

    def _on_stopped(self) -> None:
        self._set_running(False)
        self.status.setVisible(True)
        self.status.setText("Stopped. What is shown is unfinished.")

    def _on_stop(self) -> None:
        self.stop.setText("Stopping...")
        self.stop.setEnabled(False)
        self.runner.stop()

    def _set_running(self, running: bool) -> None:
        self.setup.start.setEnabled(not running)
        self.clusters.setEnabled(not running)
        self.stop.setText("Stop")
        self.stop.setEnabled(True)
        self.stop.setVisible(running)
        self.progress.setVisible(running)
        self.status.setVisible(running)
        self.progress.setRange(0, 0)

    # -- brushing ------------------------------------------------------------------------------

    def _on_selected(self, mask: NDArray[np.bool_]) -> None:
        self._repaint()

    def _repaint(self) -> None:
        """Paint the selected voxels where their scans are shown."""
        found, mask = self.map.found[0], self.map.selection
        if found is None or len(mask) != len(found):
            return
        if not mask.any():
            take_selection_away(self._viewers())
            return
        shown = show_selection(self._viewers(), found, mask, self.map.colours(found))
        missing = len(found.grids) - shown
        words = [] if not missing else [f"{missing} scan(s) not open in a viewer, so not painted."]
        self.map.show_words(words)

    def _brushed(self, layer: Any, label: int) -> None:
        """Select the points that a labels layer gives a label."""
        found = self.map.found[0]
        if found is None or is_ours(layer) or label == 0:
            return
        mask = self.brush.points(found, layer, label)
        if mask is not None:
            self.map.select(mask)

    # -- clusters ------------------------------------------------------------------------------

    def map_clusters(self, which: int, method: str) -> None:
        """Show clusters of an exploration as labels layers on its scans."""
        found = self.map.found[which] if 0 <= which < 2 else None
        clusters = None if found is None else getattr(found, method)
        if found is None or clusters is None:
            self.say("warning", "There are no clusters yet; explore first.")
            return
        self.messages.clear()
        try:
            self.runner.map_clusters(found, clusters)
        except GeminiError as error:
            self.say("error", str(error))
            return
        self._method = method
        self._set_running(True)

    def _on_mapped(self, found: Exploration, maps: list[NDArray[Any]]) -> None:
        colours, _ = colours_by(found, self._method)
        clusters = getattr(found, self._method)
        table = {int(k): colours[np.argmax(clusters == k)] for k in np.unique(clusters) if k > 0}
        name = f"{_METHODS[self._method]} clusters, {found.model_name}"
        if not show_clusters(self._viewers(), found, maps, table, name):
            self.say("warning", "The scan is not open in a viewer; open it and try again.")

    # -- the end -------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Take a place among the tabs once napari has put the dock into its window."""
        changed = event is not None and event.type() == QEvent.Type.ParentChange
        if changed and self.parent() is not None and not self._torn_down:
            self._join_later.start()
        return super().event(event)

    def tear_down(self) -> None:
        """Stop, and take painted voxels away; called once or more."""
        if self._torn_down:
            return
        self._torn_down = True
        self._update.stop()
        self._join_later.stop()
        self.brush.tear_down()
        self.runner.tear_down()
        if not self.session.closed:
            take_selection_away(self._viewers())
            # With the window Qt takes the canvases away, and they may be gone already.
            self.map.close_canvases()
        super().tear_down()


def _painted(source: Source) -> bool:
    """Whether a source is a layer that was made here."""
    layer = None if source.layer is None else source.layer()
    return layer is not None and is_ours(layer)
