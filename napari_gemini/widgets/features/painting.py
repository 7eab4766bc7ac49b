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
    layer_info,
)
from napari_gemini.widgets.features.exploration import Exploration
from napari_gemini.widgets.pair.shown import put, same_selection

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

SELECTION, CLUSTERS = "selection", "clusters"
MAKER = "features"
#: Of the longest side of a scan: how wide a drawn voxel is painted, so that it can be seen.
_WIDTH = 1 / 40


def viewer_showing(
    viewers: Iterable[ViewerModel], found: Exploration, number: int
) -> ViewerModel | None:
    """Return the first viewer that shows a scan of an exploration, None where there is none."""
    for viewer in viewers:
        if any(_shows(layer, found, number) for layer in viewer.layers):
            return viewer
    return None


def _shows(layer: Layer, found: Exploration, number: int) -> bool:
    """Whether a layer is a scan: one on its grid of which nothing says that it is another one."""
    from napari.layers import Image

    info = layer_info(layer)
    if info is None or not isinstance(layer, Image) or info.provenance.get("made_by"):
        return False
    if not info.grid.same_place(found.grids[number]):
        return False
    case = found.cases[number] if found.cases else None
    if case is not None and info.case is not None:
        return case == info.case
    path = found.paths[number] if found.paths else None
    if path is not None and info.path is not None and info.path.exists():
        return path.resolve() == info.path.resolve()
    return True


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
        viewer = viewer_showing(viewers, found, number)
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
        _set_labels(viewer, SELECTION, "selected voxels", data, own, found, number)
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
    for number, data in enumerate(maps):
        viewer = viewer_showing(viewers, found, number)
        if viewer is not None:
            shown += 1
            _set_labels(viewer, CLUSTERS, name, data, colours, found, number)
    return shown


def _set_labels(
    viewer: ViewerModel,
    role: str,
    name: str,
    data: NDArray[Any],
    colours: dict[int, Any],
    found: Exploration,
    number: int,
) -> None:
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    for value, colour in colours.items():
        table[value] = colour
    colormap = DirectLabelColormap(color_dict=table)
    grid = found.grids[number]
    provenance = {"made_by": MAKER, **found.facts, "scan": number}
    known = (one for one in _ours(viewer, role, number) if grid.same_place(_grid(one)))
    layer = next(known, None)
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


def _ours(viewer: ViewerModel, role: str, number: int | None = None) -> Iterator[Labels]:
    for layer in find_layers(viewer, role):
        if is_ours(layer) and number in (None, layer.metadata[INFO_KEY].provenance["scan"]):
            yield layer


def _grid(layer: Labels) -> CanvasGrid:
    grid: CanvasGrid = layer.metadata[INFO_KEY].grid
    return grid


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


def points_under(
    found: Exploration, layer: Labels, label: int, viewers: Iterable[ViewerModel] = ()
) -> NDArray[np.bool_] | None:
    """Return which voxels (n,) a labels layer gives a label; None where it is on no scan's grid.

    Where two scans share their grid, the layer lies on the one that its viewer shows.
    """
    scans = _scans_under(found, layer, list(viewers))
    result = np.zeros(len(found), bool)
    for number in scans:
        mine = found.image == number
        places = np.rint(found.grids[number].voxel_to_data(found.index[mine])).astype(int)
        result[mine] = np.asarray(layer.data)[tuple(places.T)] == label
    return result if scans else None


def _scans_under(found: Exploration, layer: Labels, viewers: list[ViewerModel]) -> list[int]:
    """Return the scans that a labels layer may lie on, by their numbers."""
    info = layer_info(layer)
    here = next((viewer for viewer in viewers if layer in viewer.layers), None)
    scans = []
    for number, known in enumerate(found.grids):
        fits = known.shape == layer.data.shape and (info is None or known.same_place(info.grid))
        case = found.cases[number] if found.cases else None
        another = info is not None and None not in (case, info.case) and case != info.case
        if fits and not another:
            scans.append(number)
    shown = {number: viewer_showing(viewers, found, number) for number in scans}
    on_it = [number for number in scans if here is not None and shown[number] is here]
    return on_it or [number for number in scans if shown[number] is None or here is None]
