"""Layers that know which scan they show, and where in the body each voxel is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.intensity import robust_range
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

#: Key of a layer's metadata under which its :class:`LayerInfo` is kept.
INFO_KEY = "napari_gemini"


@dataclass
class LayerInfo:
    """What a layer of ours shows and where it came from.

    Parameters
    ----------
    role
        ``image``, ``labels``, ``warped``, ``log_jacobian``, ``folds``, ``gss``, ``gvs``, ``mask``,
        ``grid``, ``vectors``, ``probe`` and the like.
    grid
        The voxel grid it lies on.
    case
        Of the open study, None for other files.
    path
        File it came from, None for what was computed.
    provenance
        How it was made: model, settings, files; plain data.
    """

    role: str
    grid: CanvasGrid
    case: str | None = None
    path: Path | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def layer_info(layer: Layer) -> LayerInfo | None:
    """Return what a layer says of itself; None for layers that are not ours."""
    info = layer.metadata.get(INFO_KEY)
    return info if isinstance(info, LayerInfo) else None


def grid_of_layer(layer: Layer) -> CanvasGrid | None:
    """Return the grid of a layer of ours, None for others."""
    info = layer_info(layer)
    return None if info is None else info.grid


def image_layer(
    volume: Volume,
    name: str,
    role: str = "image",
    case: str | None = None,
    provenance: dict[str, Any] | None = None,
    **options: Any,
) -> Image:
    """Make an image layer on the scan's own grid; it is not in a viewer yet.

    Parameters
    ----------
    volume
        The scan; its array is shown, not copied.
    name, role, case, provenance
        See :class:`LayerInfo`.
    **options
        Of :class:`napari.layers.Image`. Contrast limits are taken from the intensities of the
        whole scan unless given: napari looks at the middle slices only.
    """
    from napari.layers import Image

    if "contrast_limits" not in options and not options.get("rgb"):
        options["contrast_limits"] = _contrast_limits(volume.data)
    return Image(**_arguments(volume, name, role, case, provenance), **options)


def labels_layer(
    volume: Volume,
    name: str,
    role: str = "labels",
    case: str | None = None,
    provenance: dict[str, Any] | None = None,
    **options: Any,
) -> Labels:
    """Make a labels layer on the grid of a label map; painting changes the map's array.

    Parameters
    ----------
    volume
        The label map, integers.
    name, role, case, provenance
        See :class:`LayerInfo`.
    **options
        Of :class:`napari.layers.Labels`.
    """
    from napari.layers import Labels

    return Labels(**_arguments(volume, name, role, case, provenance), **options)


def _arguments(
    volume: Volume, name: str, role: str, case: str | None, provenance: dict[str, Any] | None
) -> dict[str, Any]:
    grid = CanvasGrid.of(volume)
    info = LayerInfo(role, grid, case, volume.path, dict(provenance or {}))
    return {
        "data": grid.to_canvas(np.asarray(volume.data)),
        "name": name,
        "metadata": {INFO_KEY: info},
        **grid.layer_options(),
    }


def add(viewer: ViewerModel, layer: Layer) -> Layer:
    """Put a layer into a viewer and return it."""
    return viewer.add_layer(layer)


def find_layers(viewer: ViewerModel, role: str | None = None, case: str | None = None) -> list[Any]:
    """Return the layers of ours with a role and a case, bottom first.

    Parameters
    ----------
    viewer
        Where to look.
    role, case
        None takes any.
    """
    found = []
    for layer in viewer.layers:
        info = layer_info(layer)
        if info is None or role not in (None, info.role) or case not in (None, info.case):
            continue
        found.append(layer)
    return found


def _contrast_limits(data: NDArray[Any]) -> tuple[float, float]:
    low, high = robust_range(data)
    return (low, high) if high > low else (low, low + 1.0)
