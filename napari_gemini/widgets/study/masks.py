"""Labels that may overlap, in a viewer that paints one map of integers.

One label is painted at a time, on its own mask; the others are outlined beneath, on a layer that
cannot be painted. Choosing another label saves the one that was painted and puts the other in its
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.summary import LabelSummary, summarise
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.layers import labels_layer
from napari_gemini.widgets.study.colours import label_colormap, label_dtype

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_gemini.widgets.study.case_view import CaseView

ROLE = "other labels"
_OPACITY = 0.9


class MaskView:
    """The masks of the case that is shown.

    Parameters
    ----------
    masks
        Label value -> mask (*shape), file order.
    scheme
        Their names and colours.
    value
        The label that is painted.
    """

    def __init__(
        self, masks: Mapping[int, NDArray[np.bool_]], scheme: LabelScheme, value: int
    ) -> None:
        self._masks = dict(masks)
        self._scheme = scheme
        self.value = value if value in self._masks else scheme.values[0]
        self._others: Labels | None = None

    def painted(self) -> NDArray[Any]:
        """Return the map of the label that is painted: its value or 0."""
        kind = label_dtype(self._scheme)
        return np.asfortranarray(self._masks[self.value].astype(kind) * kind.type(self.value))

    def take(self, labels: NDArray[Any]) -> None:
        """Keep what was painted of the present label."""
        self._masks[self.value] = labels != 0

    def add(self, scheme: LabelScheme) -> None:
        """Take another scheme; new labels are empty."""
        shape = self._masks[self.value].shape
        for value in sorted(scheme.allowed - {0}):
            self._masks.setdefault(value, np.zeros(shape, np.bool_))
        self._scheme = scheme

    def own(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return what a label map or a mask says of the label that is painted, as its map."""
        labels = np.asarray(labels)
        is_mask = set(np.unique(labels)) <= {0, 1}
        inside = labels != 0 if is_mask else labels == self.value
        return (inside * self.value).astype(label_dtype(self._scheme))

    def summary(self, labels: NDArray[Any], affine: FloatArray) -> LabelSummary:
        """Summarise all masks, the painted one as it is in `labels`."""
        masks = {**self._masks, self.value: labels != 0}
        union = np.any(list(masks.values()), axis=0)
        flat = summarise(union.astype(np.uint8), affine)
        values = tuple(v for v, mask in sorted(masks.items()) if mask.any())
        return LabelSummary(values, flat.slices, flat.of)

    def _rest(self) -> NDArray[Any]:
        """Return the other labels as one map; where they overlap the highest is seen."""
        flat = np.zeros(self._masks[self.value].shape, label_dtype(self._scheme))
        for value, mask in sorted(self._masks.items()):
            if value != self.value:
                flat[mask] = value
        return flat

    def draw(self, viewer: ViewerModel, view: CaseView) -> None:
        """Outline the other labels beneath the one that is painted."""
        rest = self._rest()
        if self._others is not None and self._others in viewer.layers:
            self._others.data = view.grid.to_canvas(rest)
            self._others.editable = False  # other data make a layer editable
            self._others.colormap = label_colormap(self._scheme)
            return
        layer = labels_layer(
            view.outline.with_data(rest),
            f"{view.case} other labels",
            role=ROLE,
            case=view.case,
            colormap=label_colormap(self._scheme),
            opacity=_OPACITY,
        )
        layer.contour = 1
        layer.editable = False
        self._others = layer
        viewer.layers.insert(viewer.layers.index(view.labels), layer)
        viewer.layers.selection.active = view.labels
