"""A case in the viewer: its image, and its labels to paint on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.study.scheme import BACKGROUND, LabelScheme
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import (
    add,
    image_layer,
    labels_layer,
    layer_info,
)
from napari_gemini.widgets.study.colours import label_colormap, label_dtype

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_gemini.widgets.common.session import Session

#: What tells where a layer lies and what it shows; the name comes last, so that lists show it once.
_PLACE = ("metadata", "data", "scale", "translate", "units", "axis_labels", "name")
#: What a user set on one labels layer and wants on the next.
_KEPT = ("brush_size", "contour", "n_edit_dimensions", "preserve_labels", "contiguous", "opacity")


def show_case(session: Session, case_id: str) -> None:
    """Show a case of the open study, its image and its labels; small scans at once.

    Large scans and formats that the engine's child reads appear a moment later, when
    ``session.case_changed`` is emitted.

    Parameters
    ----------
    session
        Of the viewer to show it in.
    case_id
        The case.

    Raises
    ------
    StudyError
        If no study is open, the image is gone, or the labels of the case shown before could not
        be saved.
    InputError
        If there is no such case.
    """
    from napari_gemini.widgets.study.labelling import labelling_of

    labelling_of(session).show(case_id)


@dataclass(eq=False)
class CaseView:
    """The layers of the case that is shown.

    Parameters
    ----------
    case
        Its id.
    grid
        The scan's voxel grid.
    image, labels
        The layers; a user may have deleted them.
    outline
        The scan without its voxels.
    locked
        Why the labels cannot be changed, empty when they can.
    """

    case: str
    grid: CanvasGrid
    image: Image
    labels: Labels
    outline: Volume
    locked: str = ""

    @classmethod
    def put(
        cls,
        viewer: ViewerModel,
        case: str,
        image: Volume,
        labels: Volume | None,
        scheme: LabelScheme,
        opacity: float,
        old: CaseView | None = None,
    ) -> CaseView:
        """Put image and labels of a case into a viewer.

        Parameters
        ----------
        viewer
            Where to.
        case
            Id of the case.
        image
            The scan.
        labels
            Its labels; None gives an empty map.
        scheme
            Colours of the labels.
        opacity
            Of the labels.
        old
            The case shown before. Its layers are used again where they can be, which is many
            times faster than new ones and keeps brush, mode and colour map; they go otherwise.
        """
        kind = label_dtype(scheme)
        if labels is None:
            painted = image.with_data(np.zeros(image.shape, kind, order="F"))
        else:
            # Own memory, of a type that holds the whole scheme: it is painted on.
            wide = np.promote_types(kind, labels.data.dtype)
            painted = labels.with_data(np.array(labels.data, dtype=wide, order="F"))
        shown = image_layer(image, case, case=case)
        drawn = labels_layer(
            painted, f"{case} labels", case=case, colormap=label_colormap(scheme), opacity=opacity
        )
        drawn.selected_label = scheme.values[0]
        if old is not None and old.alive(viewer) and old.grid.ndim == image.ndim:
            shown = _reused(old.image, shown, (*_PLACE, "contrast_limits_range", "contrast_limits"))
            drawn = _reused(old.labels, drawn, _PLACE)
            old.remove(viewer, keep=(shown, drawn))
        else:
            if old is not None:
                old.remove(viewer)
            add(viewer, shown)
            add(viewer, drawn)
            if old is not None:
                _take_settings(drawn, old.labels)
        outline = image.with_data(np.broadcast_to(np.uint8(0), image.shape))
        return cls(case, CanvasGrid.of(image), shown, drawn, outline)

    def values(self) -> NDArray[Any]:
        """Return the labels as they are now, file order, not copied.

        Raises
        ------
        InputError
            If the layer was given an array that is not on the scan's grid.
        """
        try:
            return self.grid.from_canvas(np.asarray(self.labels.data))
        except ValueError:
            raise InputError(
                f"The labels layer of {self.case} has the shape {tuple(self.labels.data.shape)} "
                f"and its scan {self.grid.shape}: give the layer labels on the grid of the scan."
            ) from None

    def alive(self, viewer: ViewerModel) -> bool:
        """Whether both layers are still in the viewer."""
        return self.image in viewer.layers and self.labels in viewer.layers

    def lock(self, reason: str) -> None:
        """Keep the labels from being changed, or let them be, with an empty reason.

        Either way there is nothing to undo afterwards: the steps belong to what was.
        """
        self.locked = reason
        mode = str(self.labels.mode)
        self.labels.editable = False
        if not reason:
            self.labels.editable = True
            self.labels.mode = mode

    def use_scheme(self, scheme: LabelScheme) -> None:
        """Draw with the colours of a scheme, and hold its values."""
        data = self.labels.data
        wide = np.promote_types(label_dtype(scheme), data.dtype)
        if wide != data.dtype:
            own = np.array(self.values(), dtype=wide, order="F")
            self.labels.data = self.grid.to_canvas(own)
            if self.locked:
                self.labels.editable = False  # other data make a layer editable
        selected = self.labels.selected_label
        self.labels.colormap = label_colormap(scheme)
        if selected in scheme.allowed:
            self.labels.selected_label = selected

    def bind_keys(self, scheme: LabelScheme, select: Callable[[int], None]) -> None:
        """Let the scheme's keys (and 0) choose the label, on this layer only."""
        for key in "0123456789":
            self.labels.bind_key(key, None, overwrite=True)
        choices = {"0": BACKGROUND, **{key: value for value, key in scheme.keys.items()}}
        for key, value in choices.items():
            self.labels.bind_key(key, _chooser(select, value), overwrite=True)

    def remove(self, viewer: ViewerModel, keep: Sequence[Any] = ()) -> None:
        """Take every layer of this case out of a viewer, except some."""
        for layer in list(viewer.layers):
            info = layer_info(layer)
            if info is not None and info.case == self.case and layer not in keep:
                viewer.layers.remove(layer)


def _reused(layer: Any, other: Any, names: Sequence[str]) -> Any:
    """Let a layer show what another shows, and return it."""
    for name in names:
        value = getattr(other, name)
        # Each change draws the slice anew, so what is the same already is left alone.
        if name in ("metadata", "data") or not np.array_equal(getattr(layer, name), value):
            setattr(layer, name, value)
    if not layer.visible:
        layer.visible = True  # only then, since it ends the mode of painting
    return layer


def _take_settings(layer: Labels, other: Labels) -> None:
    """Go on with brush, mode and label of the layer that was painted on before."""
    for name in _KEPT:
        with contextlib.suppress(AttributeError, ValueError):
            setattr(layer, name, getattr(other, name))
    with contextlib.suppress(ValueError):
        layer.selected_label = other.selected_label
        layer.mode = str(other.mode)


def hide_other_scans(viewer: ViewerModel, grid: CanvasGrid) -> int:
    """Hide layers of ours that lie on another grid, and say how many.

    Scans on different grids in one viewer would seem to correspond where they do not.
    """
    hidden = 0
    for layer in viewer.layers:
        info = layer_info(layer)
        if info is not None and layer.visible and not info.grid.same_place(grid):
            layer.visible = False
            hidden += 1
    return hidden


def centre_slices(viewer: ViewerModel, view: CaseView) -> None:
    """Show the middle of a scan."""
    middle = view.image.data_to_world((np.array(view.grid.shape) - 1) // 2)
    viewer.dims.set_point(range(viewer.dims.ndim), middle)
    viewer.reset_view()


def _chooser(select: Callable[[int], None], value: int) -> Callable[[Any], None]:
    def choose(_layer: Any) -> None:
        select(value)

    choose.__doc__ = f"Paint label {value}"
    return choose
