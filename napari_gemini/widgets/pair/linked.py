"""One cursor in two scans: where it is in one, the map says where it is in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject, QTimer

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.sight import keep_in_sight
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.pair.deformation import Plane
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import (
    data_to_world,
    first,
    metadata_of,
    plain_thumbnail,
    put,
    removing,
    same_selection,
    shown_plane,
    watch_removals,
    world_to_data,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

Side = Literal["fixed", "moving"]

_OTHER: dict[Side, Side] = {"fixed": "moving", "moving": "fixed"}

ROLE = "cursor"
#: Milliseconds between two moves while the pointer moves: more would not be seen.
_PAUSE = 20


#: Of the longest side of a scan: half of the crosshair's hole, and the length of its arms.
_HOLE, _ARM = 0.015, 0.06


def crosshair(grid: CanvasGrid, place: FloatArray, plane: Plane | None) -> NDArray[np.float32]:
    """Return the arms of a crosshair around a place, which itself stays uncovered.

    Parameters
    ----------
    grid
        The scan.
    place
        (d,) canvas data index.
    plane
        The slice that is shown: arms lie in it; None for arms along all axes.

    Returns
    -------
    ndarray
        (N, 2, d) starts and directions, within the scan.
    """
    axes = range(grid.ndim) if plane is None else plane.displayed
    middle = np.array(place, dtype=np.float64)
    through = None if plane is None else plane.through(grid.ndim)
    if through is not None:
        middle[through] = np.rint(middle[through])
    longest = max(n * s for n, s in zip(grid.shape, grid.spacing, strict=True))
    arms = []
    for axis in axes:
        for sign in (-1.0, 1.0):
            ends = np.stack([middle, middle])
            ends[:, axis] += sign * longest / grid.spacing[axis] * np.array([_HOLE, _ARM])
            # Markers stay within the scan: beyond it they would stretch napari's sliders.
            ends = np.clip(ends, 0, np.array(grid.shape) - 1)
            arms.append([ends[0], ends[1] - ends[0]])
    return np.array(arms, dtype=np.float32)


class LinkedCursor(QObject):
    """Keeps two viewers at corresponding places.

    Parameters
    ----------
    fixed_viewer, moving_viewer
        Each shows its scan on the scan's own canvas grid.
    pair
        The map between them.
    colour
        Of the markers.
    """

    #: The cursor is somewhere else now.
    moved = Signal()

    def __init__(
        self,
        fixed_viewer: ViewerModel,
        moving_viewer: ViewerModel,
        pair: PairData,
        colour: str = "magenta",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewers = {"fixed": ref(fixed_viewer), "moving": ref(moving_viewer)}
        self.pair = pair
        self.colour = colour
        #: Whether moving the pointer is enough, or a click is needed.
        self.follows = True
        #: RAS mm of the cursor in either scan; NaN where the map says nothing.
        self.points: dict[str, FloatArray] = {}
        self._busy = False
        self._pending: tuple[Side, FloatArray] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._catch_up)
        self._connections = Connections()
        self._callbacks: list[tuple[Any, Any]] = []
        self._listen("fixed", fixed_viewer)
        self._listen("moving", moving_viewer)
        for viewer in (fixed_viewer, moving_viewer):
            watch_removals(viewer)

    def _listen(self, side: Side, viewer: ViewerModel) -> None:
        this = ref(self)

        def hover(model: ViewerModel, event: Any) -> None:
            cursor = this()
            if cursor is not None and cursor.follows:
                cursor.request(side, np.array(event.position))

        def press(model: ViewerModel, event: Any) -> None:
            cursor = this()
            if cursor is not None and event.button == 1:
                cursor.request(side, np.array(event.position))

        def slide(event: Any = None) -> None:
            cursor = this()
            if cursor is not None:
                cursor._slid(side)

        def turn(event: Any = None) -> None:
            cursor = this()
            if cursor is not None:
                cursor._turned(side)

        def zoom(event: Any = None) -> None:
            cursor = this()
            if cursor is not None:
                cursor._zoomed(side)

        viewer.mouse_move_callbacks.append(hover)
        viewer.mouse_drag_callbacks.append(press)
        self._callbacks += [
            (viewer.mouse_move_callbacks, hover),
            (viewer.mouse_drag_callbacks, press),
        ]
        self._connections.connect(viewer.dims.events.current_step, slide)
        self._connections.connect(viewer.dims.events.order, turn)
        self._connections.connect(viewer.dims.events.ndisplay, turn)
        self._connections.connect(viewer.camera.events.zoom, zoom)

    def viewer(self, side: Side) -> ViewerModel | None:
        """Return a viewer while it lives."""
        return self._viewers[side]()

    def grid(self, side: Side) -> CanvasGrid:
        """Return the canvas grid of a scan."""
        return self.pair.fixed_grid if side == "fixed" else self.pair.moving_grid

    # -- moving --------------------------------------------------------------------------------

    def request(self, side: Side, position: FloatArray) -> None:
        """Move to a canvas position soon; of many requests the last counts."""
        self._pending = (side, position)
        if not self._timer.isActive():
            self._timer.start()

    def _catch_up(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        side, position = pending
        grid = self.grid(side)
        data = world_to_data(grid, position)
        if np.all(data > -0.5) and np.all(data < np.array(grid.shape) - 0.5):
            self.move_to(side, grid.data_to_world(data))

    def move_to(self, side: Side, world: FloatArray) -> None:
        """Put the cursor on a point of one scan; the other viewer goes to its partner.

        Parameters
        ----------
        side
            Whose point it is.
        world
            (d,) RAS mm.
        """
        point = np.asarray(world, dtype=np.float64)
        if side == "fixed":
            partner = self.pair.map_fixed_to_moving(point)
        else:
            partner = self.pair.map_moving_to_fixed(point)
        other = _OTHER[side]
        self.points = {side: point, other: partner}
        self._busy = True
        try:
            self._show(other, slide=True)
            self._show(side, slide=False)
        finally:
            self._busy = False
        self.moved.emit()

    def jump_to(self, side: Side, world: FloatArray) -> None:
        """Put the cursor on a point and show its slice in both viewers."""
        self.move_to(side, world)
        self._busy = True
        try:
            self._show(side, slide=True)
        finally:
            self._busy = False

    def _show(self, side: Side, *, slide: bool) -> None:
        viewer = self.viewer(side)
        if viewer is None:
            return
        grid = self.grid(side)
        data = grid.world_to_data(self.points[side])
        high = np.array(grid.shape) - 1
        known = bool(np.isfinite(data).all())
        inside = known and bool(np.all(data > -0.5) and np.all(data < high + 0.5))
        place = np.clip(data, 0, high) if known else high / 2
        if slide and known:
            extra = viewer.dims.ndim - grid.ndim
            axes = [axis + extra for axis in range(grid.ndim)]
            viewer.dims.set_point(axes, list(data_to_world(grid, place)))
            self._keep_in_sight(side)
        self._mark(viewer, side, place, inside)

    def _mark(self, viewer: ViewerModel, side: Side, place: FloatArray, visible: bool) -> None:
        from napari.layers import Vectors

        layer, grid = first(viewer, ROLE), self.grid(side)
        data = crosshair(grid, place, shown_plane(viewer, grid))
        if layer is None:
            layer = Vectors(
                data,
                ndim=grid.ndim,
                name="linked cursor",
                vector_style="line",
                edge_color=self.colour,
                edge_width=max(grid.shape) / 130,
                blending="translucent_no_depth",
                metadata=metadata_of(ROLE, grid, self.pair),
                **grid.layer_options(),
            )
            plain_thumbnail(layer)
            put(viewer, layer)
        else:
            layer.data = data
        with same_selection(viewer):
            if layer.visible != visible:
                layer.visible = visible

    # -- what the user does to a viewer --------------------------------------------------------

    def _slid(self, side: Side) -> None:
        """Follow a slider: the cursor keeps its place in the plane and changes the slice."""
        viewer = self.viewer(side)
        if self._busy or viewer is None or viewer.dims.ndim != self.pair.ndim:
            return
        if any(model is not None and removing(model) for model in map(self.viewer, _OTHER)):
            return
        grid = self.grid(side)
        data = world_to_data(grid, viewer.dims.point)
        if side in self.points:
            last = grid.world_to_data(self.points[side])
            for axis in viewer.dims.displayed:
                if np.isfinite(last[axis]):
                    data[axis] = last[axis]
        self.move_to(side, grid.data_to_world(data))

    def _turned(self, side: Side) -> None:
        """Show the same plane in both viewers."""
        other = _OTHER[side]
        this, that = self.viewer(side), self.viewer(other)
        if self._busy or this is None or that is None or this.dims.ndim != that.dims.ndim:
            return
        self._busy = True
        try:
            if that.dims.order != this.dims.order:
                that.dims.order = this.dims.order
            if that.dims.ndisplay != this.dims.ndisplay:
                that.dims.ndisplay = this.dims.ndisplay
        finally:
            self._busy = False

    def _zoomed(self, side: Side) -> None:
        """Show a millimetre equally long in both viewers."""
        this, that = self.viewer(side), self.viewer(_OTHER[side])
        if self._busy or this is None or that is None:
            return
        self._busy = True
        try:
            that.camera.zoom = this.camera.zoom
            self._keep_in_sight(_OTHER[side])
        finally:
            self._busy = False

    def fit(self) -> None:
        """Show all of both scans, at one scale."""
        viewers = [viewer for viewer in (self.viewer("fixed"), self.viewer("moving")) if viewer]
        self._busy = True
        try:
            for viewer in viewers:
                viewer.reset_view()
            if self.pair.fixed_grid.unit == self.pair.moving_grid.unit:
                zoom = min(viewer.camera.zoom for viewer in viewers)
                for viewer in viewers:
                    viewer.camera.zoom = zoom
        finally:
            self._busy = False

    def _keep_in_sight(self, side: Side) -> None:
        """Move a camera when the cursor's partner is out of its sight."""
        viewer = self.viewer(side)
        if viewer is None or viewer.dims.ndisplay != 2 or side not in self.points:
            return
        grid = self.grid(side)
        data = grid.world_to_data(self.points[side])
        if viewer.dims.ndim != grid.ndim or not np.isfinite(data).all():
            return
        place = data_to_world(grid, np.clip(data, 0, np.array(grid.shape) - 1))
        keep_in_sight(viewer, place[list(viewer.dims.displayed)])

    def tear_down(self) -> None:
        """Let go of both viewers."""
        self._timer.stop()
        self._connections.drop()
        for callbacks, function in self._callbacks:
            if function in callbacks:
                callbacks.remove(function)
        self._callbacks = []
