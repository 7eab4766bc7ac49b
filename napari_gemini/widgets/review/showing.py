"""Results on the canvas: a predicted label map over its case, a pair in its dock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError
from napari_gemini.widgets.canvas.layers import add, find_layers, labels_layer, layer_info
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.review.decisions import load_prediction
from napari_gemini.widgets.review.items import Item
from napari_gemini.widgets.study.colours import label_colormap

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_gemini.widgets.common.session import Session

#: Role of the layer that shows a prediction to review.
ROLE = "prediction"

Say = Callable[[Level, str], None]


class Showing:
    """Shows the result that is selected, and takes it away again.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    """

    def __init__(self, session: Session, say: Say) -> None:
        self._session = session
        self._say = say
        self._wanted: Item | None = None
        self._data: NDArray[Any] | None = None
        self.closed = False

    def show(self, item: Item) -> None:
        """Show a result; it appears when its files are read."""
        self.clear()
        self._wanted = item
        if item.kind == "pair":
            self._show_pair(item)
            return
        study = self._session.study
        if study is None or item.case is None:
            return
        in_background(
            lambda: load_prediction(study, item),
            lambda data: self._read(item, data),
            self._fail,
        )
        try:
            self._session.show_case(item.case)
        except GeminiError as error:
            self._fail(str(error))

    def _fail(self, sentence: str) -> None:
        if not self.closed:
            self._say("error", sentence)

    def _read(self, item: Item, data: NDArray[Any]) -> None:
        if not self.closed and item is self._wanted:
            self._data = data
            self.place()

    def place(self) -> None:
        """Put the prediction over its case once both are there; called again on a new case."""
        item, session = self._wanted, self._session
        if item is None or item.case is None or self._data is None or session.study is None:
            return
        if session.case != item.case or find_layers(session.viewer, ROLE, item.case):
            return
        layer = put_labels(session, item.case, self._data, f"{item.case} prediction", ROLE)
        if layer is not None:
            info = layer_info(layer)
            assert info is not None
            info.path = item.path
            info.provenance = {"source": item.source, "evidence": dict(item.values)}

    def _show_pair(self, item: Item) -> None:
        from napari_gemini.widgets.pair.loading import load_pair

        def loaded(pair: Any) -> None:
            if self.closed or item is not self._wanted:
                return
            self._session.set_pair(pair)
            if not _is_open(self._session, "CorrespondenceDock"):
                self._say(
                    "info", f"{item.name} is loaded: open the Correspondence dock to look at it."
                )

        try:
            load_pair(
                self._session.engine, item.path, loaded, self._fail, study=self._session.study
            )
        except GeminiError as error:
            self._fail(str(error))

    def clear(self) -> None:
        """Take the prediction that is shown away."""
        self._wanted = self._data = None
        viewer = self._session.viewer
        for layer in find_layers(viewer, ROLE):
            viewer.layers.remove(layer)

    def close(self) -> None:
        """Show nothing more."""
        self.closed = True
        if self._session.closed:
            return
        with contextlib.suppress(RuntimeError):  # the viewer may have gone
            self.clear()


def _is_open(session: Session, dock: str) -> bool:
    """Say whether the viewer has a dock of a class."""
    try:
        docks = session.viewer.window.dock_widgets.values()
    except (AttributeError, RuntimeError):
        return False
    return any(type(widget).__name__ == dock for widget in docks)


def put_labels(
    session: Session, case: str, data: NDArray[Any], name: str, role: str
) -> Labels | None:
    """Put a label map over the scan of a case, in place where such a layer is there already.

    Parameters
    ----------
    session
        Of the viewer.
    case
        The case; its image has to be shown.
    data : (*shape) int
        On the grid of the scan's file.
    name, role
        Of the layer.

    Returns
    -------
    Labels or None
        The layer; None where the scan is not shown (any more).
    """
    study, viewer = session.study, session.viewer
    images = find_layers(viewer, "image", case)
    info = layer_info(images[-1]) if images else None
    if study is None or info is None or data.shape != info.grid.volume_shape:
        return None
    there = find_layers(viewer, role, case)
    if there:
        there[-1].data = info.grid.to_canvas(np.asarray(data))
        there[-1].editable = False  # new data make a layer editable
        return there[-1]
    volume = study.outline(case).with_data(np.asarray(data))
    layer = labels_layer(
        volume,
        name,
        role,
        case,
        colormap=label_colormap(study.scheme),
        opacity=session.preferences.label_opacity,
    )
    # Outlined, so that it can be told from labels made by hand under it.
    layer.contour = 2
    selected = set(viewer.layers.selection)
    add(viewer, layer)
    layer.editable = False
    viewer.layers.selection = selected
    return layer
