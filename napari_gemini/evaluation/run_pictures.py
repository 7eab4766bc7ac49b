"""Pictures of predicted cases: mid slices with outlines of predicted and true labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError
from napari_gemini.evaluation import pictures
from napari_gemini.evaluation.run_sources import RunSources, read_layers
from napari_gemini.evaluation.slices import Slicer, View
from napari_gemini.volumes.reading import read_volume

Layers = list[tuple[str, NDArray[Any]]]


def case_picture(sources: RunSources, case: str, *, small: bool = False) -> str:
    """Draw a case's mid slices with outlines: predicted labels solid, true ones dashed white.

    Parameters
    ----------
    sources
        Where image, prediction and reference are.
    case
        Its id.
    small
        For a table instead of a figure.

    Returns
    -------
    str
        PNG as a data URI; empty where there is no image or it cannot be read.
    """
    if case not in sources.images:
        return ""
    try:
        volume = read_volume(sources.images[case])
        predicted = _layers(sources.predictions.get(case), volume.shape)
        expected = _layers(sources.references.get(case), volume.shape)
    except GeminiError:
        return ""
    slicer = Slicer(volume)
    window = pictures.window_of(np.asarray(volume.data, dtype=np.float32))
    position = slicer.middle(_union(expected) if expected else _union(predicted))
    width = 1.1 if small else 1.6

    def draw(axes: Any, view: View) -> None:
        image = slicer.cut(volume.data, view, position).astype(np.float32)
        pictures.gray(axes, slicer, view, image, window)
        for _, mask in expected:
            cut = slicer.cut(mask, view, position)
            pictures.contours(
                axes, slicer, view, cut, {1: "#ffffff"}, dashed=True, width=0.7 * width
            )
        for key, mask in predicted:
            color = pictures.label_color(key, sources.colors)
            cut = slicer.cut(mask, view, position)
            pictures.contours(axes, slicer, view, cut, {1: color}, width=width)

    if small:
        inches = 3.3 if len(slicer.views) > 1 else 1.3
        return pictures.slice_row(slicer, draw, width=inches, dpi=120, letters=False)
    # Three stand side by side, so they are drawn smaller than other figures for larger letters.
    inches = 6.5 if len(slicer.views) > 1 else 4.5
    return pictures.slice_row(slicer, draw, width=inches, dpi=160)


def _layers(path: Any, shape: tuple[int, ...]) -> Layers:
    if path is None:
        return []
    return [(key, mask) for key, mask in read_layers(path) if mask.shape == shape]


def _union(layers: Layers) -> NDArray[np.bool_] | None:
    if not layers:
        return None
    return np.logical_or.reduce([mask for _, mask in layers])
