"""Changing the labels of a case as one step that undo takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_gemini.study.scheme import BACKGROUND

if TYPE_CHECKING:
    from napari_gemini.widgets.study.case_view import CaseView

Way = Literal["fill", "replace"]


def merged(current: NDArray[Any], given: NDArray[Any], way: Way) -> NDArray[Any]:
    """Put labels together.

    Parameters
    ----------
    current, given : (*shape) int
        What is there, and what comes.
    way
        ``fill``: only voxels without a label take what is given; ``replace``: all do.

    Returns
    -------
    (*shape) int
        Of the type of `current`.
    """
    given = np.asarray(given).astype(current.dtype, copy=False)
    return given if way == "replace" else np.where(current == BACKGROUND, given, current)


def apply_labels(view: CaseView, given: NDArray[Any], way: Way) -> int:
    """Put labels on the layer of a case, as one step of its undo history.

    Parameters
    ----------
    view
        The case; its labels must not be locked.
    given : (*shape) int
        On the grid of the scan's file.
    way
        See :func:`merged`.

    Returns
    -------
    int
        Voxels that changed.
    """
    layer = view.labels
    current = np.asarray(layer.data)
    target = merged(current, view.grid.to_canvas(np.asarray(given)), way)
    places = np.nonzero(target != current)
    if places[0].size:
        layer.data_setitem(places, target[places])
    return int(places[0].size)
