"""Layers of a pair in a viewer: put there without disturbing the user, taken away again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

import numpy as np
from numpy.typing import ArrayLike
from qtpy.QtCore import QTimer

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import INFO_KEY, LayerInfo, layer_info
from napari_gemini.widgets.pair.deformation import Plane
from napari_gemini.widgets.pair.pair_data import PairData

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Layer

#: Key in a layer's provenance that says which dock made it.
MAKER = "correspondence"


def provenance_of(pair: PairData, **more: Any) -> dict[str, Any]:
    """Return how a layer of a pair came to be."""
    return {
        "made_by": MAKER,
        "moving": str(pair.moving.path) if pair.moving.path else pair.moving_name,
        "fixed": str(pair.fixed.path) if pair.fixed.path else pair.fixed_name,
        "result": None if pair.folder is None else str(pair.folder),
        "model": pair.report.get("model"),
        "created": pair.report.get("created"),
        **more,
    }


def metadata_of(role: str, grid: CanvasGrid, pair: PairData, **more: Any) -> dict[str, Any]:
    """Return the metadata of a layer that is not made from a file."""
    return {INFO_KEY: LayerInfo(role, grid, provenance=provenance_of(pair, **more))}


def ours(viewer: ViewerModel, *roles: str) -> list[Any]:
    """Return the layers of a viewer that this dock made, with one of some roles or any."""
    found = []
    for layer in viewer.layers:
        info = layer_info(layer)
        if info is None or info.provenance.get("made_by") != MAKER:
            continue
        if not roles or info.role in roles:
            found.append(layer)
    return found


def opened_by_us(layer: Layer) -> bool:
    """Whether a scan was put on the canvas by this dock and not by the user."""
    info = layer_info(layer)
    return info is not None and info.provenance.get("opened_by") == MAKER


def first(viewer: ViewerModel, *roles: str) -> Any | None:
    """Return the lowest of :func:`ours`, None when there is none."""
    return next(iter(ours(viewer, *roles)), None)


@contextmanager
def same_selection(viewer: ViewerModel) -> Iterator[None]:
    """Keep the user's active layer while layers come and go."""
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    try:
        yield
    finally:
        left = {layer for layer in selected if layer in viewer.layers}
        if left:
            viewer.layers.selection = left
            if active in left:
                viewer.layers.selection.active = active


def put(viewer: ViewerModel, layer: Layer, below: Sequence[str] = ()) -> Layer:
    """Add a layer without selecting it.

    Parameters
    ----------
    viewer
        Where to.
    layer
        What.
    below
        Roles of ours that stay above it.
    """
    had = bool(viewer.layers.selection)
    with same_selection(viewer):
        above = [viewer.layers.index(other) for other in ours(viewer, *below)] if below else []
        viewer.layers.insert(min(above, default=len(viewer.layers)), layer)
    if not had and viewer.layers:
        # Something has to be selected for the status line; the scan at the bottom is.
        viewer.layers.selection.active = viewer.layers[0]
    return layer


_watched: WeakSet[Any] = WeakSet()
_removing: WeakSet[Any] = WeakSet()


def watch_removals(viewer: ViewerModel) -> None:
    """Let :func:`removing` know when layers leave a viewer."""
    if viewer in _watched:
        return
    _watched.add(viewer)
    weak = ref(viewer)

    def settled() -> None:
        model = weak()
        if model is not None:
            _removing.discard(model)

    def begins(event: Any = None) -> None:
        model = weak()
        if model is not None and model not in _removing:
            _removing.add(model)
            QTimer.singleShot(0, settled)

    viewer.layers.events.removing.connect(begins)


def removing(viewer: ViewerModel) -> bool:
    """Say whether layers are leaving a viewer right now.

    Their going moves the sliders. Whoever follows sliders must not put layers back meanwhile: a
    viewer that is being emptied would never become empty.
    """
    return viewer in _removing


def plain_thumbnail(layer: Any) -> None:
    """Keep napari from painting every vector into a layer's thumbnail, piece by piece in Python.

    For a grid of 2,000 pieces it takes longer than all the rest of an update.
    """
    layer._max_vectors_thumbnail = 32


def take_away(viewer: ViewerModel, *roles: str) -> None:
    """Remove what this dock made, of some roles or all."""
    before = removing(viewer)
    with same_selection(viewer):
        for layer in ours(viewer, *roles):
            if layer in viewer.layers:
                viewer.layers.remove(layer)
    if not before:
        _removing.discard(viewer)


def world_to_data(grid: CanvasGrid, position: ArrayLike) -> FloatArray:
    """Turn a canvas position (as napari's cursor has it) into canvas data indices of a grid."""
    options = grid.layer_options()
    place = np.asarray(position, dtype=np.float64)[..., -grid.ndim :]
    return np.asarray((place - options["translate"]) / np.array(options["scale"]))


def data_to_world(grid: CanvasGrid, data: ArrayLike) -> FloatArray:
    """Turn canvas data indices of a grid into a canvas position."""
    options = grid.layer_options()
    return np.asarray(np.asarray(data) * np.array(options["scale"]) + options["translate"])


def shown_plane(viewer: ViewerModel, grid: CanvasGrid) -> Plane | None:
    """Return the slice of a grid that a viewer shows; None in 3D or for another dimension."""
    if viewer.dims.ndisplay != 2 or viewer.dims.ndim < grid.ndim:
        return None
    extra = viewer.dims.ndim - grid.ndim
    axes = tuple(axis - extra for axis in viewer.dims.displayed)
    if min(axes) < 0:
        return None
    place = world_to_data(grid, viewer.dims.point)
    plane = Plane((axes[0], axes[1]))
    through = plane.through(grid.ndim)
    if through is None:
        return plane
    return Plane((axes[0], axes[1]), float(np.rint(place[through])))
