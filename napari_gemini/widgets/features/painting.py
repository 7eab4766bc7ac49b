"""From points of the scatter to voxels in the viewers, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import (
    INFO_KEY,
    LayerInfo,
    find_layers,
    grid_of_layer,
    layer_info,
)
from napari_gemini.widgets.features.exploration import Exploration
from napari_gemini.widgets.pair.shown import put, same_selection

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

SELECTION, CLUSTERS = "selection", "clusters"
MAKER = "features"
#: Of the longest side of a scan: how wide a drawn voxel is painted, so that it can be seen.
_WIDTH = 1 / 40


def viewer_showing(viewers: Iterable[ViewerModel], grid: CanvasGrid) -> ViewerModel | None:
    """Return the first viewer that has a layer on a grid, None where there is none."""
    for viewer in viewers:
        grids = [grid_of_layer(layer) for layer in viewer.layers]
        if any(known is not None and known.same_place(grid) for known in grids):
            return viewer
    return None


def default_width(shape: tuple[int, ...]) -> int:
    """Return how many voxels wide a drawn voxel is painted: odd, 1 in small scans."""
    return 2 * (round(max(shape) * _WIDTH) // 2) + 1


def paint(
    shape: tuple[int, ...], index: NDArray[np.int64], values: NDArray[np.int64], width: int
) -> NDArray[np.uint8]:
    """Paint voxels as cubes into an empty label map.

    Parameters
    ----------
    shape
        Of the scan, file order.
    index
        (n, d) voxels.
    values
        (n,) what they are painted with, 1 to 255.
    width
        Of a cube in voxels, odd.
    """
    data = np.zeros(shape, np.uint8)
    reach = width // 2
    offsets = np.indices((width,) * len(shape)).reshape(len(shape), -1).T - reach
    limit = np.array(shape)
    # The voxels themselves last, so that no neighbour hides one.
    for offset in [*offsets[np.any(offsets, axis=1)], np.zeros(len(shape), int)]:
        places = index + offset
        inside = np.all((places >= 0) & (places < limit), axis=1)
        data[tuple(places[inside].T)] = values[inside]
    return data


def show_selection(
    viewers: list[ViewerModel],
    found: Exploration,
    selected: NDArray[np.bool_],
    colours: NDArray[np.float32],
    width: int | None = None,
) -> int:
    """Paint the selected voxels into a labels layer of each viewer that shows their scan.

    Parameters
    ----------
    viewers
        Where to look for the scans.
    found
        The voxels.
    selected
        (n,) mask.
    colours
        (n, 4) RGBA of the points: voxels get the colour of their point.
    width
        In voxels; None for one that can be seen.

    Returns
    -------
    int
        In how many viewers voxels were painted.
    """
    # Up to 255 colours: as many categories as anybody tells apart, or a coarse scale of position.
    palette, values = np.unique(np.round(colours * 5) / 5, axis=0, return_inverse=True)
    values = np.minimum(values.reshape(-1), 254) + 1
    shown = 0
    for number, grid in enumerate(found.grids):
        viewer = viewer_showing(viewers, grid)
        if viewer is None:
            continue
        shown += 1
        mine = selected & (found.image == number)
        wide = default_width(grid.volume_shape) if width is None else width
        data = paint(grid.volume_shape, found.index[mine], values[mine], wide)
        # What a value looks like is the first point's own colour, not the rounded one.
        own = {int(k): colours[np.argmax(values == k)] for k in np.unique(values[mine])} or {
            1: palette[0]
        }
        _set_labels(viewer, SELECTION, "selected voxels", data, grid, own, found)
    return shown


def show_clusters(
    viewers: list[ViewerModel],
    found: Exploration,
    maps: list[NDArray[Any]],
    colours: dict[int, Any],
    name: str,
) -> int:
    """Show cluster maps as labels layers; returns in how many viewers."""
    shown = 0
    for grid, data in zip(found.grids, maps, strict=True):
        viewer = viewer_showing(viewers, grid)
        if viewer is not None:
            shown += 1
            _set_labels(viewer, CLUSTERS, name, data, grid, colours, found)
    return shown


def _set_labels(
    viewer: ViewerModel,
    role: str,
    name: str,
    data: NDArray[Any],
    grid: CanvasGrid,
    colours: dict[int, Any],
    found: Exploration,
) -> None:
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    for value, colour in colours.items():
        table[value] = colour
    colormap = DirectLabelColormap(color_dict=table)
    provenance = {"made_by": MAKER, **found.facts}
    layer = next(iter(_ours(viewer, role, grid)), None)
    if layer is not None:
        layer.data = grid.to_canvas(data)
        layer.colormap = colormap
        layer.metadata[INFO_KEY].provenance = provenance
        return
    layer = Labels(
        grid.to_canvas(data),
        name=name,
        colormap=colormap,
        opacity=0.8,
        metadata={INFO_KEY: LayerInfo(role, grid, provenance=provenance)},
        **grid.layer_options(),
    )
    put(viewer, layer)


def _ours(viewer: ViewerModel, role: str, grid: CanvasGrid | None = None) -> Iterator[Labels]:
    for layer in find_layers(viewer, role):
        info = layer_info(layer)
        assert info is not None
        if info.provenance.get("made_by") == MAKER and (grid is None or info.grid.same_place(grid)):
            yield layer


def is_ours(layer: Any) -> bool:
    """Whether a layer was made here."""
    info = layer_info(layer)
    return info is not None and info.provenance.get("made_by") == MAKER


def take_selection_away(viewers: list[ViewerModel]) -> None:
    """Remove the painted voxels; cluster maps are the user's and stay."""
    for viewer in viewers:
        with same_selection(viewer):
            for layer in list(_ours(viewer, SELECTION)):
                viewer.layers.remove(layer)


def points_under(found: Exploration, layer: Labels, label: int) -> NDArray[np.bool_] | None:
    """Return which voxels (n,) a labels layer gives a label; None where it is on no scan's grid."""
    grid = grid_of_layer(layer)
    result = np.zeros(len(found), bool)
    hit = False
    for number, known in enumerate(found.grids):
        fits = known.same_place(grid) if grid is not None else known.shape == layer.data.shape
        if not fits or layer.data.shape != known.shape:
            continue
        hit = True
        mine = found.image == number
        places = np.rint(known.voxel_to_data(found.index[mine])).astype(int)
        result[mine] = np.asarray(layer.data)[tuple(places.T)] == label
    return result if hit else None
