"""From the study's label scheme to what napari needs to draw and paint it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.study.scheme import BACKGROUND, LabelScheme

if TYPE_CHECKING:
    from napari.utils.colormaps import DirectLabelColormap

#: Of values outside the scheme, which cannot be saved: nothing in nature looks like this.
STRANGE = "#ff00ff"


def label_colormap(scheme: LabelScheme) -> DirectLabelColormap:
    """Return the scheme's colours; background is transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[Any, Any] = {None: STRANGE, BACKGROUND: "transparent"}
    return DirectLabelColormap(color_dict={**colours, **scheme.colors})


def label_dtype(scheme: LabelScheme) -> np.dtype[Any]:
    """Return the smallest type that holds every value of a scheme."""
    return np.dtype(np.uint8 if max(scheme.allowed) <= 255 else np.uint16)


def label_name(scheme: LabelScheme, value: int) -> str:
    """Return what a value is called."""
    if value == BACKGROUND:
        return "background"
    if value == scheme.ignore:
        return "ignore"
    return scheme.names.get(value, f"label {value}")
