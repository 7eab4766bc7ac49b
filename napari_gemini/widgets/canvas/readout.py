"""The status line: where in the body the cursor is, and what else is known of that voxel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import grid_of_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

#: (layer, canvas data index (d,)) -> a few words, or nothing.
Provider = Callable[[Any, FloatArray], str]


def world_words(grid: CanvasGrid, data_position: FloatArray) -> str:
    """Say where a canvas data index is: ``R 12.0 A -3.5 S 40.1 mm``, or the pixel."""
    if not grid.oriented:
        row, column = grid.data_to_voxel(data_position)[::-1][-2:]
        return f"row {row:.1f} column {column:.1f}"
    world = grid.data_to_world(data_position)
    parts = [f"{letter} {x:.1f}" for letter, x in zip("RAS", world, strict=False)]
    return " ".join(parts) + " mm"


class Readout:
    """Adds the true world position to napari's status line, and what others know.

    Parameters
    ----------
    viewer
        Whose status line it is.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self._providers: list[Provider] = []
        self._ours: Any = None
        # After napari's own listeners: the last text is the one that is seen.
        viewer.events.status.connect(self._on_status, position="last")

    def add(self, provider: Provider) -> None:
        """Let `provider` add words for the layer and voxel under the cursor."""
        if provider not in self._providers:
            self._providers.append(provider)

    def remove(self, provider: Provider) -> None:
        """Leave a provider out from now on."""
        if provider in self._providers:
            self._providers.remove(provider)

    def words(self) -> str:
        """Return our part of the status line for the cursor's position, maybe empty."""
        viewer = self._viewer()
        layer = None if viewer is None else _layer_read(viewer)
        if viewer is None or layer is None:
            return ""
        grid = grid_of_layer(layer)
        assert grid is not None
        position = np.array(layer.world_to_data(viewer.cursor.position), dtype=np.float64)
        if position.shape != (grid.ndim,):
            return ""
        inside = np.all(position > -0.5) and np.all(position < np.array(grid.shape) - 0.5)
        if not inside:
            return ""
        words = [world_words(grid, position)]
        words += [provider(layer, position) for provider in self._providers]
        return " · ".join(word for word in words if word)

    def _on_status(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is None or viewer.status == self._ours:
            return
        words = self.words()
        if not words:
            return
        status = viewer.status
        if isinstance(status, dict):
            self._ours = {**status, "coordinates": f"{status.get('coordinates', '')}  {words}"}
        else:
            self._ours = f"{status}  {words}"
        viewer.status = self._ours


def _layer_read(viewer: ViewerModel) -> Layer | None:
    """Return the layer whose place counts: the selected one, else the topmost visible of ours."""
    active = viewer.layers.selection.active
    if active is not None and grid_of_layer(active) is not None:
        return active
    for layer in reversed(list(viewer.layers)):
        if layer.visible and grid_of_layer(layer) is not None:
            return layer
    return None
