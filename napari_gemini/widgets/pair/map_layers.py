"""The maps beside a pair as layers: log-Jacobian, folds, similarity, mask, inverse consistency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import image_layer, labels_layer
from napari_gemini.widgets.common.preferences import Preferences
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import provenance_of

if TYPE_CHECKING:
    from napari.layers import Layer

#: Stem -> (what it is called, what it shows).
MAPS: dict[str, tuple[str, str]] = {
    "log_jacobian": (
        "log-Jacobian",
        "logarithm of the local change of volume: 0 is none, above 0 the moving scan is larger",
    ),
    "folds": (
        "Folds",
        "where the map turns space inside out: yellow by the digital criterion only, red by "
        "central differences too",
    ),
    "gss": ("GSS", "similarity of the features of matched voxels, 1 is best"),
    "gvs": ("GVS", "squared local correlation of the matched images, 1 is best"),
    "inverse_consistency": (
        "Inverse consistency",
        "distance between a point and where there-and-back ends",
    ),
    "mask": ("Mask", "where the moving scan covers the fixed one"),
    "labels": ("Warped labels", "labels of the moving scan, carried over"),
    "fixed_labels": ("Known labels", "labels of the fixed scan, where they are known"),
}
#: log J where J is not positive, at most; a fold, not extreme shrinkage.
NO_LOG = np.log(1e-8)
_FOLD_COLOURS: dict[int | None, str] = {
    0: "transparent",
    1: "#ffd000",
    2: "#ff2a2a",
    None: "transparent",
}


def role_of(stem: str) -> str:
    """Return the role of a map's layer; labels of a result are not those of the study."""
    return {"labels": "carried_labels", "fixed_labels": "known_labels"}.get(stem, stem)


def label_colours(colours: Mapping[int, str]) -> Any:
    """Return napari's colour map for the labels of a study."""
    from napari.utils.colormaps import direct_colormap

    table: dict[int | None, str] = {0: "transparent", None: "gray"}
    for value, colour in colours.items():
        table[value] = colour
    return direct_colormap(table)


def map_layer(
    pair: PairData,
    stem: str,
    volume: Volume,
    preferences: Preferences,
    colours: Mapping[int, str] | None = None,
) -> Layer:
    """Make the layer of a map; it is not in a viewer yet.

    Parameters
    ----------
    pair
        Whose map it is.
    stem
        Key of :data:`MAPS`.
    volume
        The map on the fixed scan's grid.
    preferences
        Colours of the maps.
    colours
        Of labels by value; napari's own without.
    """
    name = f"{MAPS[stem][0]}"
    options: dict[str, Any] = {"role": role_of(stem), "provenance": provenance_of(pair, map=stem)}
    # Colours stay readable over a bright scan only when the scan shines through a little.
    shown: dict[str, Any] = {"opacity": 0.65, "blending": "translucent_no_depth"}
    if stem in ("folds", "mask", "labels", "fixed_labels"):
        return _labels(stem, volume, name, options, colours)
    data, limits, colormap = _picture(pair, stem, volume, preferences)
    unit = f", {pair.unit}" if stem == "inverse_consistency" else ""
    layer = image_layer(
        volume.with_data(data),
        f"{name}{unit}",
        contrast_limits=limits,
        colormap=colormap,
        interpolation2d="nearest",
        **options,
        **shown,
    )
    layer.colorbar.visible = True
    return layer


def _picture(
    pair: PairData, stem: str, volume: Volume, preferences: Preferences
) -> tuple[Any, tuple[float, float], str]:
    data = np.asarray(volume.data, dtype=np.float32)
    mask = pair.known("mask")
    if mask is not None:
        data = np.where(mask.data != 0, data, np.float32(np.nan))
    if stem == "log_jacobian":
        data = np.where(data > NO_LOG, data, np.float32(np.nan))
        finite = np.abs(data[np.isfinite(data)])
        limit = max(float(np.percentile(finite, 99.5)), 0.1) if finite.size else 1.0
        limit = _round_up(limit)
        return data, (-limit, limit), preferences.jacobian_colormap
    if stem == "inverse_consistency":
        finite = data[np.isfinite(data)]
        limit = max(float(np.percentile(finite, 99)), 1e-3) if finite.size else 1.0
        return data, (0.0, _round_up(limit)), "inferno"
    return data, (_low(data) if stem == "gss" else 0.0, 1.0), preferences.similarity_colormap


def _low(data: Any) -> float:
    """Return where the colours of GSS begin.

    Features of some networks resemble each other everywhere: from 0 on, all would be one colour.
    """
    finite = data[np.isfinite(data)]
    if not finite.size:
        return 0.0
    low = np.floor(float(np.percentile(finite, 1)) * 20) / 20
    return float(np.clip(low, -1.0, 0.95))


_PLAIN = (1, 1.5, 2, 3, 4, 5, 7.5, 10)


def _round_up(value: float) -> float:
    """Return the next of 0.1, 0.15, 0.2, 0.3 ..., so that a colour bar has plain numbers."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * step for step in _PLAIN if power * step >= value - 1e-9))


def _labels(
    stem: str,
    volume: Volume,
    name: str,
    options: dict[str, Any],
    colours: Mapping[int, str] | None,
) -> Layer:
    from napari.utils.colormaps import direct_colormap

    if stem == "folds":
        layer = labels_layer(
            volume, name, colormap=direct_colormap(_FOLD_COLOURS), opacity=0.9, **options
        )
    elif stem == "mask":
        # What the moving scan does not cover is darkened.
        layer = labels_layer(
            volume.with_data((np.asarray(volume.data) == 0).astype(np.uint8)),
            name,
            colormap=direct_colormap({0: "transparent", 1: "#000000", None: "transparent"}),
            opacity=0.6,
            **options,
        )
    else:
        layer = labels_layer(volume, name, opacity=0.5, **options)
        if stem == "fixed_labels":
            layer.contour = 1
        if colours:
            layer.colormap = label_colours(colours)
    layer.editable = False
    return layer
