"""The landmarks of the pair on screen: one list, in a table and on both canvases, and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.errors import GeminiError
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.probing import keeping
from napari_gemini.widgets.probing.files import export_landmarks, import_landmarks
from napari_gemini.widgets.probing.landmark_panel import LandmarkPanel
from napari_gemini.widgets.probing.landmarks import (
    LandmarkList,
    Probe,
    Side,
    landmark_errors,
    registration_error,
)
from napari_gemini.widgets.probing.marks import show_landmarks
from napari_gemini.widgets.probing.viewers import grid_of, jump, viewers_of


class PairLandmarks:
    """Keeps list, table, canvases and file of a pair's landmarks alike.

    Parameters
    ----------
    session
        Of the viewer.
    panel
        The table.
    connections
        Dropped when the dock goes.
    current
        Gives the pair on screen.
    say
        Tells the user a sentence.

    Attributes
    ----------
    marks
        The list; whatever changes it shows everywhere and is saved.
    """

    def __init__(
        self,
        session: Session,
        panel: LandmarkPanel,
        connections: Connections,
        current: Callable[[], PairData | None],
        say: Callable[[Level, str], None],
    ) -> None:
        self.session, self.panel, self.say = session, panel, say
        self.marks = LandmarkList()
        self._current = current
        self._layers: dict[Side, Any] = {}
        #: The list or the layers are being set from here: nobody painted.
        self._drawing = False
        connections.connect(self.marks.changed, self._on_changed)
        panel.renamed.connect(self._rename)
        panel.remove_wanted.connect(self.marks.remove)
        panel.undo_wanted.connect(self.marks.undo)
        panel.jump_wanted.connect(self._jump_to)
        panel.import_wanted.connect(lambda names: self.bring([Path(name) for name in names]))
        panel.export_wanted.connect(lambda name: self.export(Path(name)))

    @property
    def _pair(self) -> PairData | None:
        return self._current()

    # -- the pair ------------------------------------------------------------------------------

    def leave(self) -> None:
        """Forget the pair; its landmarks are kept where they were."""
        self.forget_layers()
        self._set([])
        self._show_table()

    def turn_to(self, pair: PairData) -> None:
        """Show the landmarks that are kept of a pair."""
        try:
            found = keeping.load(self.session, pair)
        except GeminiError as error:
            self.say("error", str(error))
            return
        self._set([mark for mark in found if len(mark.a) == pair.ndim])
        self.panel.saved.setText("")
        self._draw()
        self._show_table()

    def _set(self, marks: list[Any]) -> None:
        self._drawing = True
        self.marks.set_pairs(marks)
        self._drawing = False

    # -- what the user wants -------------------------------------------------------------------

    def keep(self, probe: Probe, partner: FloatArray) -> None:
        """Keep a probe with one of its partners as a landmark."""
        mark = probe.as_landmark(self.marks.free_name(), partner)
        self._try(lambda: self.marks.add([mark]))

    def bring(self, paths: list[Path]) -> None:
        """Import landmarks; those of a name that is known are replaced."""
        pair = self._pair
        if pair is None:
            return
        ndim = pair.ndim
        if self._try(lambda: self.marks.add(import_landmarks(paths, ndim))):
            self.say("info", f"Imported {', '.join(path.name for path in paths)}.")

    def export(self, path: Path) -> None:
        """Export the landmarks as csv or for 3D Slicer."""
        pair = self._pair
        if pair is None:
            return
        names = pair.fixed_name, pair.moving_name
        try:
            written = export_landmarks(path, self.marks.pairs, names, pair.unit == "mm")
        except GeminiError as error:
            self.say("error", str(error))
            return
        if not keeping.in_study(self.session, pair) or self.session.read_only:
            keeping.forget(self.session, pair)
            self.panel.saved.setText("exported")
        self.say("info", f"Written: {', '.join(map(str, written))}.")

    def _rename(self, row: int, name: str) -> None:
        if not self._try(lambda: self.marks.rename(row, name)):
            self._show_table()

    def _try(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except GeminiError as error:
            self.say("error", str(error))
            return False
        return True

    def _jump_to(self, row: int) -> None:
        pair, mark = self._pair, self.marks.pairs[row]
        if pair is not None:
            for side, viewer in viewers_of(self.session).items():
                end = mark.a if side == "fixed" else mark.b
                jump(viewer, grid_of(pair, side), np.array(end))

    # -- table, file and canvases follow the list ----------------------------------------------

    def _on_changed(self) -> None:
        pair = self._pair
        if self._drawing or pair is None:
            return
        self._draw()
        self._show_table()
        try:
            self.panel.saved.setText(keeping.save(self.session, pair, self.marks.pairs))
        except (GeminiError, OSError) as error:
            self.panel.saved.setText("not saved; kept in this window")
            self.say("error", f"The landmarks cannot be saved ({error}); export them elsewhere.")

    def _show_table(self) -> None:
        pair, marks = self._pair, self.marks.pairs
        if pair is None:
            self.panel.show_landmarks([], np.zeros(0), None, "mm", False)
            return
        self.panel.show_landmarks(
            marks,
            landmark_errors(pair, marks),
            registration_error(pair, marks),
            pair.unit,
            self.marks.can_undo,
            (grid_of(pair, "fixed"), grid_of(pair, "moving")),
        )

    def _draw(self) -> None:
        pair = self._pair
        assert pair is not None
        self._drawing = True
        try:
            self.forget_layers()
            self._layers = show_landmarks(
                viewers_of(self.session), pair, self.marks.pairs, self.session.preferences
            )
            for layer in self._layers.values():
                layer.events.data.connect(self._on_points)
        finally:
            self._drawing = False

    def forget_layers(self) -> None:
        """Follow the points on the canvases no longer."""
        for layer in self._layers.values():
            layer.events.data.disconnect(self._on_points)
        self._layers = {}

    # -- the list follows the canvases ---------------------------------------------------------

    def _on_points(self, event: Any) -> None:
        """Follow landmarks that the user moves or deletes on a canvas."""
        action = str(getattr(event, "action", ""))
        if self._drawing or self._pair is None or "ing" in action:
            return
        side = next((s for s, layer in self._layers.items() if layer is event.source), None)
        if side is None:
            return
        if "removed" in action:
            self.marks.remove([int(index) for index in event.data_indices])
        elif len(event.source.data) == len(self.marks):
            self._follow(side, np.asarray(event.source.data))
        else:
            self.say("warning", "Landmarks are added by probing; the extra point is left out.")
            self._draw()

    def _follow(self, side: Side, data: FloatArray) -> None:
        pair = self._pair
        assert pair is not None
        world = grid_of(pair, side).data_to_world(data)
        for index, mark in enumerate(self.marks.pairs):
            known = np.array(mark.a if side == "fixed" else mark.b)
            if not np.allclose(known, world[index], atol=1e-3):
                self.marks.move(index, side, world[index])
