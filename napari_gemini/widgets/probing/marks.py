"""What a probe puts on the two canvases: marks, the similarity map, and kept landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import INFO_KEY, LayerInfo, find_layers
from napari_gemini.widgets.common.preferences import Preferences
from napari_gemini.widgets.pair.linked import ROLE as CURSOR
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import put, same_selection
from napari_gemini.widgets.probing.landmarks import Probe, Side
from napari_gemini.widgets.probing.viewers import grid_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Points

PROBE, SIMILARITY, LANDMARKS = "probe", "probe_similarity", "landmarks"
_ROLES = (SIMILARITY, LANDMARKS, PROBE)
#: Rows of the probe's layer: the probed point or its partner, the best match, the user's own.
_SYMBOLS = ("cross", "ring", "star")
_WORDS = ("", "best match", "mine")
_SHARE = 0.75
#: Of the longest side of a scan: how large a mark is.
_SIZE = 0.035


def provenance(pair: PairData, **more: Any) -> dict[str, Any]:
    """Return how a layer of a probe came to be."""
    return {
        "made_by": "probe",
        "moving": str(pair.moving.path or pair.moving_name),
        "fixed": str(pair.fixed.path or pair.fixed_name),
        **more,
    }


def show_probe(
    viewers: dict[Side, ViewerModel], pair: PairData, probe: Probe, preferences: Preferences
) -> None:
    """Mark the probed point in its scan and its partners in the other."""
    for side, viewer in viewers.items():
        if side == probe.side:
            rows: list[FloatArray | None] = [probe.point, None, None]
        else:
            rows = [probe.partner, probe.best, probe.chosen]
        grid = grid_of(pair, side)
        data, shown = _rows(grid, rows)
        layer = _first(viewer, PROBE)
        if layer is None:
            layer = _probe_layer(grid, data, pair, preferences)
            put(viewer, layer)
        layer.data = data
        _hide(layer, grid, shown)


def _hide(layer: Points, grid: CanvasGrid, shown: NDArray[np.bool_]) -> None:
    """Let only some marks of a probe be seen.

    napari heeds ``shown`` where it cuts slices alone, neither in flat scans nor in the 3D view.
    """
    layer.shown = shown
    layer.size = np.where(shown, max(grid.shape) * _SIZE, 0.0)
    layer.features = {"what": [w if on else "" for w, on in zip(_WORDS, shown, strict=True)]}


def _rows(
    grid: CanvasGrid, rows: Sequence[FloatArray | None]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return canvas data indices of points, and which of them are within the scan."""
    data = np.zeros((len(rows), grid.ndim))
    shown = np.zeros(len(rows), dtype=bool)
    high = np.array(grid.shape) - 1
    for k, world in enumerate(rows):
        if world is None:
            continue
        place = grid.world_to_data(world)
        shown[k] = bool(
            np.isfinite(place).all() and np.all(place > -1) and np.all(place < high + 1)
        )
        if shown[k]:
            data[k] = np.clip(place, 0, high)
    if shown.any():
        data[~shown] = data[shown][0]  # of a mark of no size a dot may stay: under another one
    return data, shown


def _probe_layer(
    grid: CanvasGrid, data: NDArray[np.float64], pair: PairData, preferences: Preferences
) -> Points:
    from napari.layers import Points

    colours = [preferences.landmark_colour, "cyan", "white"]
    return Points(
        data,
        name="probe",
        ndim=grid.ndim,
        symbol=list(_SYMBOLS),
        size=max(grid.shape) * _SIZE,
        face_color=colours,
        border_color=colours,
        border_width=0.05,
        opacity=1.0,
        blending="translucent_no_depth",
        features={"what": list(_WORDS)},
        text={"string": "{what}", "size": 9, "color": "white", "translation": _beside(grid)},
        metadata={INFO_KEY: LayerInfo(PROBE, grid, provenance=provenance(pair))},
        **grid.layer_options(),
    )


def _beside(grid: CanvasGrid) -> NDArray[np.float64]:
    """Return where a mark's text is, off the mark itself, in canvas units."""
    offset = np.zeros(grid.ndim)
    offset[-2] = -max(grid.shape) * _SIZE
    return offset


def show_similarity(
    viewer: ViewerModel,
    pair: PairData,
    side: Side,
    similarity: NDArray[np.float32],
    affine: ArrayLike,
    stride: int,
    colormap: str,
    **facts: Any,
) -> tuple[float, float]:
    """Show a map of cosines as a heat map over a scan.

    Parameters
    ----------
    viewer
        Shows the scan.
    pair, side
        The scan.
    similarity
        On a lattice of the scan, file order.
    affine, stride
        Of the lattice: index to RAS mm, and voxels between lattice points.
    colormap
        Whose colours fade to nothing at the low end.
    **facts
        For the layer's provenance.

    Returns
    -------
    tuple of float
        From which to which cosine the colours go: the highest quarter of the scan.
    """
    grid = grid_of(pair, side)
    scan = pair.fixed if side == "fixed" else pair.moving
    lattice = CanvasGrid.of_affine(affine, similarity.shape, scan.spacing_known, scan.path)
    data = lattice.to_canvas(similarity)
    sample = similarity.ravel()[:: max(similarity.size // 50_000, 1)]
    high = float(similarity.max())
    low = min(float(np.quantile(sample, _SHARE)), high - 1e-3)
    layer = _first(viewer, SIMILARITY)
    if layer is not None and layer.data.shape == data.shape:
        layer.data = data
    else:
        if layer is not None:
            with same_selection(viewer):
                viewer.layers.remove(layer)
        layer = _similarity_layer(grid, lattice, data, stride, colormap, (low, high))
        put(viewer, layer)
        _below_marks(viewer, layer)
    layer.contrast_limits_range = (-1.0, 1.0)
    layer.contrast_limits = (low, high)
    layer.metadata[INFO_KEY] = LayerInfo(SIMILARITY, lattice, provenance=provenance(pair, **facts))
    return low, high


def _below_marks(viewer: ViewerModel, layer: Layer) -> None:
    """Bring a map down to where it covers no mark."""
    marks = {id(mark) for role in (PROBE, LANDMARKS, CURSOR) for mark in find_layers(viewer, role)}
    places = [k for k, other in enumerate(viewer.layers) if id(other) in marks]
    if places:
        viewer.layers.move(viewer.layers.index(layer), min(places))


def _similarity_layer(
    grid: CanvasGrid,
    lattice: CanvasGrid,
    data: NDArray[np.float32],
    stride: int,
    colormap: str,
    limits: tuple[float, float],
) -> Image:
    from napari.layers import Image

    options = grid.layer_options()
    spacing = np.array(grid.spacing)
    # The lattice has the scan's centre; what its stride leaves over is shared by both ends.
    left = (np.array(grid.shape) - 1 - stride * (np.array(lattice.shape) - 1)) / 2
    options["scale"] = tuple(spacing * stride)
    options["translate"] = tuple(np.array(options["translate"]) + left * spacing)
    return Image(
        data,
        name="similarity of the probed voxel",
        colormap=fading(colormap),
        contrast_limits=limits,
        blending="translucent_no_depth",
        opacity=0.75,
        interpolation2d="linear",
        **options,
    )


def fading(name: str) -> Any:
    """Return a colour map of napari's that is transparent at its low end."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    base = ensure_colormap(name)
    places = np.linspace(0, 1, 64)
    colours = np.array(base.map(places), dtype=np.float32)
    colours[:, 3] *= np.minimum(places * 2, 1)
    return Colormap(colours, name=f"{name} fading", interpolation="linear")


def show_landmarks(
    viewers: dict[Side, ViewerModel],
    pair: PairData,
    landmarks: Sequence[LandmarkPair],
    preferences: Preferences,
) -> dict[Side, Points]:
    """Show kept landmarks in both scans and return the layers that there are."""
    layers: dict[Side, Points] = {}
    for side, viewer in viewers.items():
        layer = _first(viewer, LANDMARKS)
        if not landmarks and layer is None:
            continue
        grid = grid_of(pair, side)
        ends = [mark.a if side == "fixed" else mark.b for mark in landmarks]
        world = np.array(ends, dtype=np.float64).reshape(-1, grid.ndim)
        data = grid.world_to_data(world).reshape(-1, grid.ndim)
        if layer is None or len(layer.data) != len(data):
            old, layer = layer, _landmark_layer(grid, data, landmarks, pair, preferences)
            if old is not None:
                with same_selection(viewer):
                    viewer.layers.remove(old)
            put(viewer, layer)
        else:
            layer.data = data
            layer.features = {"name": [mark.name for mark in landmarks]}
        layers[side] = layer
    return layers


def _landmark_layer(
    grid: CanvasGrid,
    data: NDArray[np.float64],
    landmarks: Sequence[LandmarkPair],
    pair: PairData,
    preferences: Preferences,
) -> Points:
    from napari.layers import Points

    return Points(
        data,
        name="landmarks",
        ndim=grid.ndim,
        symbol="x",
        size=max(grid.shape) * _SIZE * 0.8,
        face_color=preferences.grid_colour,
        border_color=preferences.grid_colour,
        border_width=0.05,
        blending="translucent_no_depth",
        features={"name": [mark.name for mark in landmarks]},
        text={
            "string": "{name}",
            "size": 9,
            "color": preferences.grid_colour,
            "translation": _beside(grid),
        },
        metadata={INFO_KEY: LayerInfo(LANDMARKS, grid, provenance=provenance(pair))},
        **grid.layer_options(),
    )


def take_away(viewers: dict[Side, ViewerModel], *roles: str) -> None:
    """Remove what probes put on the canvases."""
    for viewer in viewers.values():
        with same_selection(viewer):
            for role in roles or _ROLES:
                for layer in _ours(viewer, role):
                    viewer.layers.remove(layer)


def _ours(viewer: ViewerModel, role: str) -> list[Any]:
    found = find_layers(viewer, role)
    return [
        layer for layer in found if layer.metadata[INFO_KEY].provenance.get("made_by") == "probe"
    ]


def _first(viewer: ViewerModel, role: str) -> Any | None:
    return next(iter(_ours(viewer, role)), None)
