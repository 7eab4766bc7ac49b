"""Fixed and warped scan on the fixed scan's canvas, looked at in one of several ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_gemini.volumes.intensity import robust_range
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import image_layer, layer_info
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.pair.map_layers import label_colours
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import (
    MAKER,
    first,
    metadata_of,
    ours,
    put,
    same_selection,
    shown_plane,
    take_away,
)
from napari_gemini.widgets.pair.warped_array import (
    EdgeArray,
    WarpedArray,
    checkerboard,
    curtain,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

Mode = Literal["fade", "overlay", "contours", "blink", "curtain", "checkerboard"]

#: What each way of looking is called, and what its slider does.
MODES: dict[str, tuple[str, str]] = {
    "fade": ("Fade", "fixed ↔ warped"),
    "overlay": ("Two colours", "warped brightness"),
    "contours": ("Contours", "line opacity"),
    "blink": ("Blink", "blinks per second"),
    "curtain": ("Curtain", "curtain position"),
    "checkerboard": ("Checkerboard", "tile size"),
}
#: Where the slider starts.
AMOUNTS = {
    "fade": 0.5,
    "overlay": 1.0,
    "contours": 1.0,
    "blink": 0.35,
    "curtain": 0.5,
    "checkerboard": 0.35,
}
FIXED, WARPED, LABELS, EDGES = "image", "warped", "warped_labels", "warped_edges"
#: Below these of ours the warped image is put, so that they stay visible.
_ABOVE = ("log_jacobian", "folds", "gss", "gvs", "mask", "inverse_consistency", "grid", "vectors",
          "cursor", "carried_labels", "known_labels")  # fmt: skip


class Composition(QObject):
    """Shows a pair in the fixed scan's space.

    Parameters
    ----------
    viewer
        The main viewer.
    pair
        What is shown.
    colours
        Of labels by value; napari's own without.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        pair: PairData,
        colours: Mapping[int, str] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._colours = colours
        self._viewer = ref(viewer)
        self.pair = pair
        self.mode: Mode = "fade"
        self.amounts = dict(AMOUNTS)
        self.t = 1.0
        self._restore: Callable[[], None] | None = None
        self._image = WarpedArray(pair, pair.moving)
        low, high = robust_range(pair.moving.data)
        self._window = (low, high if high > low else low + 1)
        self._edges = EdgeArray(self._image, self._window[1] - self._window[0])
        self._labels: WarpedArray | None = None
        self._blink = QTimer(self)
        self._blink.timeout.connect(self._tick)
        self._connections = Connections()
        self._connections.connect(viewer.dims.events.order, self._on_view)
        self._connections.connect(viewer.dims.events.ndisplay, self._on_view)

    @property
    def viewer(self) -> ViewerModel | None:
        """The main viewer while it lives."""
        return self._viewer()

    def show_fixed(self) -> Layer | None:
        """Return the layer of the fixed scan, added when the viewer has none on its grid."""
        viewer = self.viewer
        if viewer is None:
            return None
        for layer in viewer.layers:
            info = layer_info(layer)
            if info is None or info.role != FIXED or info.path != self.pair.fixed.path:
                continue
            if info.grid.same_place(self._grid):
                return layer
        layer = image_layer(
            self.pair.fixed,
            self.pair.fixed_name,
            case=self.pair.fixed_case,
            provenance={"opened_by": MAKER},
        )
        with same_selection(viewer):
            viewer.layers.insert(0, layer)
        viewer.layers.selection.active = layer
        return layer

    @property
    def _grid(self) -> Any:
        return self.pair.fixed_grid

    def set_labels(self, labels: Volume | None) -> None:
        """Say what the labels of the moving scan are; contours show them."""
        self._labels = None
        viewer = self.viewer
        if viewer is not None:
            take_away(viewer, LABELS)
        if labels is not None:
            self._labels = WarpedArray(self.pair, labels, labels=True, t=self.t)
            if self.mode == "contours":
                self.set_mode("contours")

    # -- one control ---------------------------------------------------------------------------

    def set_mode(self, mode: Mode) -> None:
        """Look in another way."""
        viewer = self.viewer
        if viewer is None:
            return
        self._undo()
        self.mode = mode
        fixed = self.show_fixed()
        contours = mode == "contours"
        warped = self._layer(WARPED)
        with same_selection(viewer):
            warped.visible = not contours
        if contours:
            lines = self._layer(EDGES if self._labels is None else LABELS)
            lines.visible = True
        for role in (EDGES, LABELS):
            wanted = contours and (role == LABELS) == (self._labels is not None)
            layer = first(viewer, role)
            if layer is not None:
                layer.visible = wanted
        warped.blending = "additive" if mode == "overlay" else "translucent_no_depth"
        warped.colormap = "magenta" if mode == "overlay" else "gray"
        if mode == "overlay" and fixed is not None:
            self._colour_fixed(fixed)
        self._apply_amount()

    def _colour_fixed(self, fixed: Any) -> None:
        """Make the fixed scan green until another way of looking is chosen."""
        layer = ref(fixed)
        colormap, blending = fixed.colormap, fixed.blending
        fixed.colormap = "green"

        def restore() -> None:
            found = layer()
            if found is not None:
                found.colormap, found.blending = colormap, blending

        self._restore = restore

    def _undo(self) -> None:
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()
        self._blink.stop()
        self._image.hide = None

    def turn(self) -> None:
        """Hide what lies over the fixed scan, or show it again."""
        viewer = self.viewer
        lines = EDGES if self._labels is None else LABELS
        role = lines if self.mode == "contours" else WARPED
        layer = None if viewer is None else first(viewer, role)
        if layer is not None:
            layer.visible = not layer.visible

    def set_amount(self, amount: float) -> None:
        """Move the slider of the current way of looking, 0 to 1."""
        self.amounts[self.mode] = float(amount)
        self._apply_amount()

    def amount_words(self) -> str:
        """Say what the slider means now."""
        amount = self.amounts[self.mode]
        if self.mode == "blink":
            return f"{self._rate:.1f} per second"
        if self.mode == "checkerboard":
            return f"{self._tile:.0f} {self._grid.unit}"
        return f"{100 * amount:.0f} %"

    @property
    def _rate(self) -> float:
        return 0.5 + 3.5 * self.amounts["blink"]

    @property
    def _tile(self) -> float:
        longest = float(np.max(np.array(self._grid.shape) * self._grid.spacing))
        return longest * (0.02 + 0.28 * self.amounts["checkerboard"])

    def _apply_amount(self) -> None:
        viewer = self.viewer
        warped = None if viewer is None else first(viewer, WARPED)
        if viewer is None or warped is None:
            return
        amount = self.amounts[self.mode]
        warped.opacity = amount if self.mode in ("fade", "overlay") else 1.0
        if self.mode == "contours":
            for layer in ours(viewer, EDGES, LABELS):
                layer.opacity = amount
        elif self.mode == "blink":
            self._blink.start(int(500 / self._rate))
        elif self.mode in ("curtain", "checkerboard"):
            self._cut(amount)

    def _cut(self, amount: float) -> None:
        """Hide a part of the warped image, as seen in the plane shown."""
        viewer, grid = self.viewer, self._grid
        plane = None if viewer is None else shown_plane(viewer, grid)
        if plane is None:
            self._image.hide = None
        elif self.mode == "curtain":
            axis = plane.displayed[1]
            self._image.hide = curtain(axis, amount * grid.shape[axis])
        else:
            self._image.hide = checkerboard(plane.displayed, grid.spacing, self._tile)
        self.refresh(WARPED)

    def _tick(self) -> None:
        viewer = self.viewer
        warped = None if viewer is None else first(viewer, WARPED)
        if warped is None:
            self._blink.stop()
            return
        # Opacity, not visibility: the layer list would flicker along.
        warped.opacity = 0.0 if warped.opacity > 0 else 1.0

    def set_t(self, t: float) -> None:
        """Go from the placed (0) to the warped moving scan (1); labels and edges follow."""
        self.t = float(t)
        self._image.t = self.t
        if self._labels is not None:
            self._labels.t = self.t
        self.refresh(WARPED, LABELS, EDGES)

    def refresh(self, *roles: str) -> None:
        """Draw the slice that is shown anew."""
        viewer = self.viewer
        for layer in [] if viewer is None else ours(viewer, *roles):
            if layer.visible:
                layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _on_view(self, event: Any = None) -> None:
        if self.mode in ("curtain", "checkerboard"):
            self._cut(self.amounts[self.mode])

    # -- layers --------------------------------------------------------------------------------

    def _layer(self, role: str) -> Any:
        """Return a layer of ours, made when it is missing (the user may have deleted it)."""
        viewer = self.viewer
        assert viewer is not None
        layer = first(viewer, role)
        if layer is None:
            layer = put(viewer, self._make(role), below=_ABOVE)
        return layer

    def _make(self, role: str) -> Layer:
        from napari.layers import Image, Labels

        pair, name = self.pair, self.pair.moving_name
        options = self._grid.layer_options()
        if role == LABELS:
            assert self._labels is not None
            metadata = metadata_of(LABELS, self._grid, pair, interpolation="nearest")
            layer = Labels(
                self._labels, name=f"{name} labels, warped", metadata=metadata, **options
            )
            layer.contour = 1
            layer.editable = False
            if self._colours:
                layer.colormap = label_colours(self._colours)
            return layer
        metadata = metadata_of(role, self._grid, pair, interpolation="linear")
        if role == EDGES:
            return Image(
                self._edges,
                name=f"{name} edges, warped",
                colormap="yellow",
                contrast_limits=(0, 1),
                interpolation2d="nearest",
                blending="translucent_no_depth",
                metadata=metadata,
                **options,
            )
        return Image(
            self._image,
            name=f"{name}, warped",
            contrast_limits=self._window,
            interpolation2d="nearest",
            blending="translucent_no_depth",
            metadata=metadata,
            **options,
        )

    def tear_down_look(self) -> None:
        """Bring the fixed scan's colours back and stop blinking."""
        self._undo()

    def tear_down(self) -> None:
        """Let go of the viewer and bring the fixed scan's colours back; layers stay."""
        self._undo()
        self._connections.drop()
