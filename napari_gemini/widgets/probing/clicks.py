"""Clicks in the two canvases of a pair, told as points of the scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod, ref

import numpy as np

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import world_to_data
from napari_gemini.widgets.probing.landmarks import Side
from napari_gemini.widgets.probing.viewers import grid_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

#: What a hand may move during a click, in pixels.
_STILL = 4.0
#: (side, RAS mm, with Shift)
OnClick = Callable[[Side, FloatArray, bool], None]


class Clicks:
    """Listens to the canvases of a pair.

    Parameters
    ----------
    on_click
        A bound method, held weakly; called with the scan, the point and whether Shift was held.
    """

    def __init__(self, on_click: OnClick) -> None:
        self._on_click = WeakMethod(on_click)
        self.pair: PairData | None = None
        self.enabled = True
        self._heard: list[tuple[Any, Any]] = []

    def attach(self, pair: PairData, viewers: dict[Side, ViewerModel]) -> None:
        """Listen to these canvases and no others from now on."""
        self.detach()
        self.pair = pair
        for side, viewer in viewers.items():
            callback = self._callback(side)
            viewer.mouse_drag_callbacks.append(callback)
            self._heard.append((viewer.mouse_drag_callbacks, callback))

    def detach(self) -> None:
        """Listen to nothing."""
        for callbacks, callback in self._heard:
            if callback in callbacks:
                callbacks.remove(callback)
        self._heard, self.pair = [], None

    def _callback(self, side: Side) -> Callable[[ViewerModel, Any], Iterator[None]]:
        this = ref(self)

        def press(viewer: ViewerModel, event: Any) -> Iterator[None]:
            clicks = this()
            if clicks is None or not clicks.enabled or event.button != 1 or _busy(viewer):
                return
            start, position = np.array(event.pos), np.array(event.position)
            shift = "Shift" in {str(getattr(key, "name", key)) for key in event.modifiers}
            farthest = 0.0
            yield
            while event.type == "mouse_move":
                farthest = max(farthest, float(np.abs(np.array(event.pos) - start).max()))
                yield
            if farthest <= _STILL:
                clicks.click(side, position, shift)

        return press

    def click(self, side: Side, position: FloatArray, shift: bool = False) -> None:
        """Take a click at a canvas position; one beside the scan is none."""
        told = self._on_click()
        if self.pair is None or told is None:
            return
        grid = grid_of(self.pair, side)
        data = world_to_data(grid, position)
        if np.all(data > -0.5) and np.all(data < np.array(grid.shape) - 0.5):
            told(side, grid.data_to_world(data), shift)


def _busy(viewer: ViewerModel) -> bool:
    """Whether clicks mean something else now: painting, moving points, turning in 3D."""
    active = viewer.layers.selection.active
    mode = str(getattr(active, "mode", "pan_zoom"))
    return viewer.dims.ndisplay != 2 or mode not in ("pan_zoom", "Mode.PAN_ZOOM")
