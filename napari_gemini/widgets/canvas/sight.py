"""Moving a camera as little as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gemini.volumes.geometry import FloatArray

if TYPE_CHECKING:
    from napari.components import ViewerModel


def keep_in_sight(viewer: ViewerModel, place: FloatArray) -> None:
    """Centre a camera on a place of the slice that is shown, if the place is out of its sight.

    Parameters
    ----------
    viewer
        Shows a slice.
    place
        (2,) world coordinates of napari along the displayed axes.
    """
    sight = np.array(viewer.canvas.size) / viewer.camera.zoom / 2
    if np.any(np.abs(place - np.array(viewer.camera.center)[-2:]) > sight):
        viewer.camera.center = (0.0, float(place[0]), float(place[1]))
