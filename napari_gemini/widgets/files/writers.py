"""Writing layers of ours on the grid of the scan they belong to, header and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import INFO_KEY, LayerInfo


def write_image_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI, NRRD or TIFF.

    Raises
    ------
    InputError
        If the layer does not know where in the body it lies, or the file cannot be written.
    """
    info = _info(attributes, path)
    values = info.grid.from_canvas(np.asarray(data))
    write_volume(path, values, _like(info, values))
    return [path]


def write_labels_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as NIfTI, NRRD or PNG.

    Raises
    ------
    InputError
        If the layer does not know where in the body it lies, or the file cannot be written.
    """
    info = _info(attributes, path)
    values = info.grid.from_canvas(np.asarray(data))
    write_labels(path, values, _like(info, values))
    return [path]


def _info(attributes: dict[str, Any], path: str) -> LayerInfo:
    info = attributes.get("metadata", {}).get(INFO_KEY)
    if not isinstance(info, LayerInfo):
        # Guessing an orientation here is how left and right get exchanged.
        raise InputError(
            f"The layer does not know how it lies in the body, so {Path(path).name} was not "
            "written: open the scan with napari-gemini, or save as .tif with napari's own writer."
        )
    return info


def _like(info: LayerInfo, values: np.ndarray) -> Volume:
    """Return a scan on the layer's grid, with the header of its file where there is one."""
    plain = Volume(values, info.grid.affine, info.grid.spacing_known)
    if info.path is None or not info.path.exists():
        return plain
    try:
        source = read_volume(info.path)
    except GeminiError:
        return plain
    same = CanvasGrid.of(source).same_place(info.grid)
    return source.with_data(values) if same else plain
