"""The two canvases of a pair: the main one shows the fixed scan, its partner the moving one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.sight import keep_in_sight
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.partner import PartnerView, dock_of
from napari_gemini.widgets.pair.shown import data_to_world
from napari_gemini.widgets.probing.landmarks import Side

if TYPE_CHECKING:
    from napari.components import ViewerModel


def find_partner(session: Session) -> PartnerView | None:
    """Return the canvas of the moving scan in a session's window, None while there is none."""
    from napari.qt import QtViewer

    for window in QApplication.topLevelWidgets():
        viewers = window.findChildren(QtViewer)
        if any(view.viewer is session.viewer for view in viewers):
            return next((p for p in window.findChildren(PartnerView) if p.alive), None)
    return None


def viewers_of(session: Session) -> dict[Side, ViewerModel]:
    """Return the viewers of a session's pair that are there."""
    found: dict[Side, ViewerModel] = {"fixed": session.viewer}
    partner = find_partner(session)
    if partner is not None:
        found["moving"] = partner.model
    return found


def grid_of(pair: PairData, side: Side) -> CanvasGrid:
    """Return the canvas grid of a scan of a pair."""
    return pair.fixed_grid if side == "fixed" else pair.moving_grid


def jump(viewer: ViewerModel, grid: CanvasGrid, world: FloatArray) -> None:
    """Show the slice of a point, and move the camera when the point is out of its sight.

    Parameters
    ----------
    viewer
        Shows the scan.
    grid
        Of the scan.
    world
        (d,) RAS mm; nothing happens where it is not finite.
    """
    data = grid.world_to_data(world)
    if not np.isfinite(data).all() or viewer.dims.ndim < grid.ndim:
        return
    place = data_to_world(grid, np.clip(data, 0, np.array(grid.shape) - 1))
    extra = viewer.dims.ndim - grid.ndim
    viewer.dims.set_point([axis + extra for axis in range(grid.ndim)], list(place))
    if viewer.dims.ndisplay != 2:
        return
    keep_in_sight(viewer, place[[axis - extra for axis in viewer.dims.displayed]])


def join_tabs(dock: QWidget) -> None:
    """Lay a dock over the Correspondence dock, as a tab, so that the canvases keep their room."""
    from napari_gemini.widgets.pair.dock import CorrespondenceDock

    mine = dock_of(dock)
    main = None if mine is None else mine.parent()
    if mine is None or mine.isFloating() or not isinstance(main, QMainWindow):
        return
    for other in main.findChildren(CorrespondenceDock):
        theirs = dock_of(other)
        if theirs is None or theirs.isFloating() or theirs in main.tabifiedDockWidgets(mine):
            continue
        if main.dockWidgetArea(theirs) == main.dockWidgetArea(mine):
            main.tabifyDockWidget(theirs, mine)
            mine.raise_()
            return
