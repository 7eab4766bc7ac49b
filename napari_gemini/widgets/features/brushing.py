"""Listens to labels layers: a picked label, or a painted region, selects its points."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod, ref

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.features.exploration import Exploration
from napari_gemini.widgets.features.painting import points_under

if TYPE_CHECKING:
    from napari.components import ViewerModel

#: Milliseconds that a brush has to rest.
_REST = 150


class LabelBrush:
    """Tells which label of which layer the user picked or painted last.

    Parameters
    ----------
    on_label
        A bound method, held weakly; called with the layer and the label.
    """

    def __init__(self, on_label: Callable[[Any, int], None]) -> None:
        self._on_label = WeakMethod(on_label)
        self._viewers: list[Any] = []
        self._of_viewers = Connections()
        self._of_layers = Connections()
        self._last: Any = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST)
        self._timer.timeout.connect(self._tell)

    def listen(self, viewers: list[ViewerModel]) -> None:
        """Listen to the active labels layers of these viewers and no others."""
        self._of_viewers.drop()
        self._viewers = [ref(viewer) for viewer in viewers]
        for viewer in viewers:
            self._of_viewers.connect(viewer.layers.selection.events.active, self._on_active)
        self._on_active()

    def _on_active(self, event: Any = None) -> None:
        from napari.layers import Labels

        self._of_layers.drop()
        for weak in self._viewers:
            viewer = weak()
            layer = None if viewer is None else viewer.layers.selection.active
            if isinstance(layer, Labels):
                for signal in (layer.events.selected_label, layer.events.paint):
                    self._of_layers.connect(signal, self._on_layer)

    def _on_layer(self, event: Any) -> None:
        self._last = ref(event.source)
        self._timer.start()

    def _tell(self) -> None:
        layer = None if self._last is None else self._last()
        told = self._on_label()
        if layer is not None and told is not None:
            told(layer, int(layer.selected_label))

    def points(self, found: Exploration, layer: Any, label: int) -> NDArray[np.bool_] | None:
        """Return the points (n,) that a layer gives a label; None where it is on no scan."""
        viewers = [viewer for viewer in (weak() for weak in self._viewers) if viewer is not None]
        return points_under(found, layer, label, viewers)

    def tear_down(self) -> None:
        """Listen to nothing any more."""
        self._timer.stop()
        self._of_viewers.drop()
        self._of_layers.drop()
