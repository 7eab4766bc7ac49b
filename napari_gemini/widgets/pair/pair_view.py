"""Everything of one pair that is on screen: two canvases, overlays, maps, status line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal
from weakref import ReferenceType, ref

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import grid_of_layer, image_layer, layer_info
from napari_gemini.widgets.canvas.readout import world_words
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.pair.composition import EDGES, LABELS, WARPED, Composition
from napari_gemini.widgets.pair.deformation_view import ARROWS, GRID, DeformationView
from napari_gemini.widgets.pair.linked import LinkedCursor
from napari_gemini.widgets.pair.map_layers import MAPS, NO_LOG, map_layer, role_of
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.partner import PartnerView
from napari_gemini.widgets.pair.shown import (
    MAKER,
    first,
    opened_by_us,
    ours,
    put,
    same_selection,
    take_away,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

View = Literal["side", "overlay"]

_BELOW_CURSOR = ("cursor", "grid", "vectors")
#: Read as soon as a pair is opened, for the status line and the masks of the other maps.
_SOON = ("mask", "log_jacobian", "gss")


class PairView(QObject):
    """Shows one pair.

    Parameters
    ----------
    session
        Of the main viewer.
    partner
        Canvas of the moving scan.
    pair
        What is shown.
    """

    #: Something was switched, by us or by deleting a layer.
    toggled = Signal()
    failed = Signal(str)
    #: Words about the linked cursor's other end.
    partner_words = Signal(str)

    def __init__(
        self,
        session: Session,
        partner: PartnerView,
        pair: PairData,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session, self.partner, self.pair = session, partner, pair
        self.view: View = "side"
        #: Maps that are switched on, and those of them that are on the canvas already.
        self.wanted: set[str] = set()
        self._on_canvas: set[str] = set()
        #: Labels that are hidden because something is looked at that they would cover.
        self._hidden: list[ReferenceType[Any]] = []
        self._covers = False
        self._closed = False
        self._connections = Connections()
        viewer = session.viewer
        self._aside = self._set_strangers_aside(viewer)
        preferences = session.preferences
        self._colours = None if session.study is None else dict(session.study.scheme.colors)
        self.composition = Composition(viewer, pair, self._colours, self)
        fixed = self.composition.show_fixed()
        if fixed is not None:
            fixed.visible = True
        self._fill_partner()
        self.cursor = LinkedCursor(viewer, partner.model, pair, preferences.landmark_colour, self)
        self.deformation = DeformationView(
            viewer, partner.model, pair, preferences.grid_colour, self
        )
        self.cursor.moved.connect(self.tell)
        self._check = QTimer(self)
        self._check.setSingleShot(True)
        self._check.setInterval(0)
        self._check.timeout.connect(self._look_again)
        self._connections.connect(viewer.layers.events.removed, self._on_removed)
        session.readout.add(self.words_at)
        self._centre()
        self.cursor.fit()
        for stem in _SOON:
            if pair.has(stem):
                self._fetch(stem, lambda volume: self.tell())
        if pair.has("moving_labels"):
            self._fetch("moving_labels", self.composition.set_labels)

    def _set_strangers_aside(self, viewer: ViewerModel) -> list[Any]:
        """Take layers that lie on another scan's grid out of the viewer for now.

        Even hidden they would stretch the sliders, and slices would no longer be the scan's.
        """
        strangers = []
        for layer in list(viewer.layers):
            grid = grid_of_layer(layer)
            if grid is not None and not grid.same_place(self.pair.fixed_grid):
                viewer.layers.remove(layer)
                strangers.append(layer)
        # A scan that only a pair had opened is not missed when the pair goes.
        return [layer for layer in strangers if not opened_by_us(layer)]

    def _fill_partner(self) -> None:
        model, pair = self.partner.model, self.pair
        model.layers.clear()
        layer = image_layer(
            pair.moving, pair.moving_name, case=pair.moving_case, provenance={"opened_by": MAKER}
        )
        model.add_layer(layer)
        dims = self.session.viewer.dims
        if dims.ndim == model.dims.ndim:
            model.dims.order = dims.order
        oblique = ", oblique" if pair.moving_grid.is_oblique else ""
        self.partner.set_title(f"{pair.moving_name} (moving, undeformed{oblique})")

    def _centre(self) -> None:
        """Start in the middle of the fixed scan."""
        grid = self.pair.fixed_grid
        middle = grid.data_to_world(np.floor((np.array(grid.shape) - 1) / 2))
        self.cursor.jump_to("fixed", middle)

    # -- views ---------------------------------------------------------------------------------

    def set_view(self, view: View) -> None:
        """Show the two scans undeformed side by side, or overlaid in the fixed scan's space."""
        self.view = view
        self._settle_labels()
        if view == "overlay":
            self.composition.set_mode(self.composition.mode)
            return
        self.composition.tear_down_look()
        viewer = self.session.viewer
        with same_selection(viewer):
            for layer in ours(viewer, WARPED, LABELS, EDGES):
                layer.visible = False

    def _settle_labels(self) -> None:
        """Hide the fixed scan's labels while images or maps are looked at where they lie."""
        covers = self.view == "overlay" or bool(self.wanted - {"folds", "mask"})
        if covers == self._covers:
            return
        self._covers = covers
        if not covers:
            self._show_labels_again()
            return
        from napari.layers import Labels

        viewer = self.session.viewer
        with same_selection(viewer):
            for layer in viewer.layers:
                info = layer_info(layer)
                own = info is None or info.provenance.get("made_by") is None
                if isinstance(layer, Labels) and layer.visible and own:
                    layer.visible = False
                    self._hidden.append(ref(layer))

    def _show_labels_again(self) -> None:
        hidden, self._hidden = [known() for known in self._hidden], []
        with same_selection(self.session.viewer):
            for layer in hidden:
                if layer is not None and layer in self.session.viewer.layers:
                    layer.visible = True

    def set_t(self, t: float) -> None:
        """Go from placed to warped."""
        self.composition.set_t(t)
        self.deformation.set_t(t)

    # -- maps ----------------------------------------------------------------------------------

    def set_map(self, stem: str, on: bool) -> None:
        """Show or remove a map."""
        if not on:
            self.wanted.discard(stem)
            self._on_canvas.discard(stem)
            take_away(self.session.viewer, role_of(stem))
            self._settle_labels()
            return
        self.wanted.add(stem)
        self._settle_labels()
        self._fetch(stem, lambda volume: self._show_map(stem, volume))

    def _show_map(self, stem: str, volume: Volume | None) -> None:
        viewer = self.session.viewer
        if stem not in self.wanted or first(viewer, role_of(stem)) is not None:
            return
        if volume is None:
            self.wanted.discard(stem)
            self.failed.emit(f"This result has no {MAPS[stem][0]} map; compute the pair again.")
            self.toggled.emit()
            return
        layer = map_layer(self.pair, stem, volume, self.session.preferences, self._colours)
        put(viewer, layer, below=_BELOW_CURSOR)
        self._on_canvas.add(stem)

    def fetch(self, stem: str, then: Callable[[Volume | None], None]) -> None:
        """Read a map beside the GUI thread and hand it on."""
        self._fetch(stem, then)

    def _fetch(self, stem: str, then: Callable[[Volume | None], None]) -> None:
        pair = self.pair
        if pair.known(stem) is not None:
            then(pair.known(stem))
            return

        def done(volume: Volume | None) -> None:
            if not self._closed:
                then(volume)

        def failed(sentence: str) -> None:
            if not self._closed:
                self.wanted.discard(stem)
                self.failed.emit(sentence)
                self.toggled.emit()

        in_background(lambda: pair.volume(stem), done, failed)

    def shows(self, stem: str) -> bool:
        """Whether a map is shown or about to be."""
        return stem in self.wanted

    def _on_removed(self, event: Any = None) -> None:
        self._check.start()

    def _look_again(self) -> None:
        """Notice what the user deleted, once layers have settled."""
        if self._closed:
            return
        viewer, deformation = self.session.viewer, self.deformation
        for stem in list(self._on_canvas):
            if first(viewer, role_of(stem)) is None:
                self._on_canvas.discard(stem)
                self.wanted.discard(stem)
        self._settle_labels()
        if deformation.shows_grid and first(viewer, GRID) is None:
            deformation.set_grid(False)
        if deformation.shows_arrows and first(viewer, ARROWS) is None:
            deformation.shows_arrows = False
        self.toggled.emit()

    # -- words ---------------------------------------------------------------------------------

    def words_at(self, layer: Any, position: FloatArray) -> str:
        """Say displacement, Jacobian and GSS of a voxel, for the status line."""
        grid = grid_of_layer(layer)
        if grid is None or not grid.same_place(self.pair.fixed_grid):
            return ""
        return self.words_of(grid.data_to_world(position))

    def words_of(self, world: FloatArray) -> str:
        """Say what the map does at a point of the fixed scan (RAS mm)."""
        pair = self.pair
        length = float(np.linalg.norm(pair.displacement(world)))
        words = [f"displaced {length:.1f} {pair.unit}"]
        index = np.rint(pair.fixed.world_to_voxel(world)).astype(int)
        if np.any(index < 0) or np.any(index >= pair.fixed.shape):
            return words[0]
        log_jacobian, gss = pair.known("log_jacobian"), pair.known("gss")
        if log_jacobian is not None:
            value = float(log_jacobian.data[tuple(index)])
            words.append(f"J {np.exp(value):.2f}" if value > NO_LOG else "J ≤ 0, a fold")
        if gss is not None:
            words.append(f"GSS {float(gss.data[tuple(index)]):.2f}")
        return " · ".join(words)

    def tell(self) -> None:
        """Say where the cursor is in the moving scan, and what the map does there."""
        points, grid = self.cursor.points, self.pair.moving_grid
        moving = points["moving"]
        if not np.isfinite(moving).all():
            self.partner.say("no unique partner here")
            self.partner_words.emit("")
            return
        data = grid.world_to_data(moving)
        outside = np.any(data < -0.5) or np.any(data > np.array(grid.shape) - 0.5)
        words = "outside the moving scan" if outside else world_words(grid, data)
        self.partner.say(words)
        fixed = points["fixed"]
        said = self.words_of(fixed) if np.isfinite(fixed).all() else ""
        self.partner_words.emit(said)

    def go_to_voxel(self, voxel: tuple[int, ...]) -> None:
        """Show a voxel of the fixed scan, in both viewers."""
        world = self.pair.fixed.voxel_to_world(voxel)
        self.cursor.jump_to("fixed", world)
        grid = self.pair.fixed_grid
        viewer = self.session.viewer
        centre = grid.layer_options()
        place = np.asarray(grid.world_to_data(world)) * centre["scale"] + centre["translate"]
        shown = [place[axis - viewer.dims.ndim] for axis in viewer.dims.displayed]
        viewer.camera.center = (0.0,) * (3 - len(shown)) + tuple(float(x) for x in shown)

    # -- the end -------------------------------------------------------------------------------

    def tear_down(self, *, keep_layers: bool = False) -> None:
        """Let go of both viewers.

        Parameters
        ----------
        keep_layers
            Leave the layers where they are, since the window goes anyway.
        """
        if self._closed:
            return
        self._closed = True
        self._check.stop()
        self._connections.drop()
        self.session.readout.remove(self.words_at)
        for part in (self.cursor, self.deformation, self.composition):
            part.tear_down()
        if keep_layers:
            return
        viewer = self.session.viewer
        self._show_labels_again()
        take_away(viewer, *[role_of(stem) for stem in MAPS], GRID, ARROWS, WARPED, LABELS, EDGES,
                  "cursor")  # fmt: skip
        for layer in self._aside:
            if layer not in viewer.layers:
                viewer.layers.append(layer)
