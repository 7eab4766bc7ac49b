"""Carry any layer of one scan to the other: images, labels, points, shapes and vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import INFO_KEY, LayerInfo, layer_info
from napari_gemini.widgets.pair.carrying import (
    Side,
    carry_points,
    carry_vectors,
    carry_volume,
    other_side,
    scan_of,
)
from napari_gemini.widgets.pair.deformation import clip
from napari_gemini.widgets.pair.inputs import volume_of
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import MAKER, provenance_of, world_to_data

if TYPE_CHECKING:
    from napari.layers import Layer

ROLE = "carried"
#: Straight edges are bent by the map: each is carried as so many pieces.
_PIECES = 8
KINDS = ("image", "labels", "points", "shapes", "vectors")

#: Makes the new layer; called on the GUI thread.
Finish = Callable[[], "Layer"]


def can_be_carried(layer: Layer) -> bool:
    """Whether a layer is of a kind that can be carried and is not one of the dock's own."""
    info = layer_info(layer)
    if info is not None and info.provenance.get("made_by") == MAKER and info.role != ROLE:
        return False
    return _kind(layer) in KINDS and not getattr(layer, "rgb", False)


def side_of(pair: PairData, layer: Layer, shown_with: Side | None = None) -> Side | None:
    """Return which scan a layer lies on, None where nobody can say.

    Parameters
    ----------
    pair
        The two scans. Where they share a grid, it does not say which of them a layer lies on.
    layer
        The layer.
    shown_with
        The scan whose canvas it is on.
    """
    info = layer_info(layer)
    if info is None:
        return None
    sides: tuple[Side, Side] = ("moving", "fixed")
    lies_on = [side for side in sides if info.grid.same_place(_grid(pair, side))]
    if len(lies_on) < len(sides):
        return next(iter(lies_on), None)
    for known, moving, fixed in (
        (info.case, pair.moving_case, pair.fixed_case),
        (info.path, pair.moving.path, pair.fixed.path),
    ):
        if known is not None and moving != fixed and known in (moving, fixed):
            return "moving" if known == moving else "fixed"
    return shown_with


def carry_layer(pair: PairData, layer: Layer, side: Side) -> Finish:
    """Carry a layer to the other scan.

    The slow part is done here, off the GUI thread; it reads the layer and changes nothing.

    Parameters
    ----------
    pair
        The map.
    layer
        What is carried.
    side
        The scan it lies on.

    Returns
    -------
    callable
        Makes the result, not yet in a viewer.

    Raises
    ------
    InputError
        If the layer is of another dimension or kind, or nothing of it arrives.
    """
    kind = _kind(layer)
    if layer.ndim != pair.ndim:
        raise InputError(
            f"The layer {layer.name} is {layer.ndim}D and the pair is {pair.ndim}D; choose one of "
            "the same dimension."
        )
    if kind in ("image", "labels"):
        return _carry_voxels(pair, layer, side, labels=kind == "labels")
    if kind == "points":
        return _carry_points(pair, layer, side)
    if kind == "shapes":
        return _carry_shapes(pair, layer, side)
    if kind == "vectors":
        return _carry_vectors(pair, layer, side)
    raise InputError(
        f"The layer {layer.name} is of a kind ({kind}) that cannot be carried; choose an image, "
        "labels, points, shapes or vectors."
    )


def _kind(layer: Layer) -> str:
    return str(getattr(layer, "_type_string", type(layer).__name__.lower()))


def _grid(pair: PairData, side: Side) -> CanvasGrid:
    return pair.moving_grid if side == "moving" else pair.fixed_grid


def _options(pair: PairData, layer: Layer, side: Side, **more: Any) -> dict[str, Any]:
    """Return what every result has: name, place, provenance."""
    target = other_side(side)
    grid = _grid(pair, target)
    mapped = f"{side} to {target}"
    provenance = provenance_of(pair, source=layer.name, mapped=mapped, **more)
    onto = pair.fixed_name if target == "fixed" else pair.moving_name
    case = pair.fixed_case if target == "fixed" else pair.moving_case
    return {
        "name": f"{layer.name} → {onto}",
        "metadata": {INFO_KEY: LayerInfo(ROLE, grid, case=case, provenance=provenance)},
        **grid.layer_options(),
    }


def _volume(pair: PairData, layer: Layer, side: Side) -> Volume:
    volume = volume_of(layer)
    if layer_info(layer) is None and volume.data.shape == scan_of(pair, side).shape:
        # Made in napari on that scan, it lies on its voxels, whatever napari knows of them.
        scan, grid = scan_of(pair, side), _grid(pair, side)
        return scan.with_data(grid.from_canvas(np.asarray(layer.data)))
    return volume


def _carry_voxels(pair: PairData, layer: Any, side: Side, *, labels: bool) -> Finish:
    volume = _volume(pair, layer, side)
    found = carry_volume(pair, volume, side, labels=labels)
    if not found.any() and volume.data.any():
        raise _nothing(layer)
    how = "nearest" if labels else "linear"
    options = _options(pair, layer, side, interpolation=how)
    data = _grid(pair, other_side(side)).to_canvas(found)

    def finish() -> Layer:
        from napari.layers import Image, Labels

        if labels:
            return Labels(data, opacity=layer.opacity, colormap=layer.colormap, **options)
        return Image(
            data,
            contrast_limits=layer.contrast_limits,
            colormap=layer.colormap,
            opacity=layer.opacity,
            blending=layer.blending,
            **options,
        )

    return finish


def _on_canvas(layer: Layer, data: NDArray[Any]) -> NDArray[Any]:
    """Apply a layer's own transform to (N, d) positions (napari's method takes one at a time)."""
    flat = np.asarray(data, dtype=np.float64).reshape(-1, data.shape[-1])
    moved = np.array([layer.data_to_world(point) for point in flat])
    return moved.reshape(data.shape)


def _world_points(pair: PairData, layer: Layer, side: Side, data: Any) -> FloatArray:
    array = np.asarray(data, dtype=np.float64)
    if not array.size:
        raise InputError(f"The layer {layer.name} is empty; draw something first.")
    grid = _grid(pair, side)
    return grid.data_to_world(world_to_data(grid, _on_canvas(layer, array)))


def _carry_points(pair: PairData, layer: Any, side: Side) -> Finish:
    world = _world_points(pair, layer, side, layer.data)
    grid = _grid(pair, other_side(side))
    data = grid.world_to_data(carry_points(pair, world, side))
    kept = _inside(data, grid)
    if not kept.any():
        raise _nothing(layer)
    features = layer.features.iloc[np.flatnonzero(kept)].reset_index(drop=True)
    colours, sizes = np.asarray(layer.face_color)[kept], np.asarray(layer.size)[kept]
    options = _options(pair, layer, side, left_out=int((~kept).sum()))

    def finish() -> Layer:
        from napari.layers import Points

        return Points(
            data[kept], features=features, face_color=colours, size=sizes,
            symbol=np.asarray(layer.symbol)[kept], **options,
        )  # fmt: skip

    return finish


def _carry_vectors(pair: PairData, layer: Any, side: Side) -> Finish:
    given = np.asarray(layer.data, dtype=np.float64)
    ends = np.stack([given[:, 0], given[:, 0] + given[:, 1]], axis=1)
    world = _world_points(pair, layer, side, ends)
    landed, directions = carry_vectors(pair, world[:, 0], world[:, 1] - world[:, 0], side)
    grid = _grid(pair, other_side(side))
    found = np.stack([grid.world_to_data(landed), grid.vectors_to_data(directions)], axis=1)
    found = found[np.isfinite(found).all(axis=(1, 2))]
    data, _ = clip(found, grid.shape)
    if not len(data):
        raise _nothing(layer)
    options = _options(pair, layer, side, left_out=len(given) - len(data))

    def finish() -> Layer:
        from napari.layers import Vectors

        return Vectors(
            data, edge_color="cyan", edge_width=layer.edge_width,
            vector_style=layer.vector_style, **options,
        )  # fmt: skip

    return finish


def _carry_shapes(pair: PairData, layer: Any, side: Side) -> Finish:
    grid = _grid(pair, other_side(side))
    shapes, kinds, left_out, moved = [], [], 0, 0.0
    for corners, kind in zip(layer.data, layer.shape_type, strict=True):
        outline, closed = _outline(np.asarray(corners, dtype=np.float64), str(kind))
        world = _world_points(pair, layer, side, outline)
        landed = grid.world_to_data(carry_points(pair, world, side))
        if not np.isfinite(landed).all() or not _inside(landed, grid).any():
            left_out += 1
            continue
        flat, away = _flattened(np.clip(landed, 0, np.array(grid.shape) - 1), outline)
        moved = max(moved, away)
        shapes.append(flat)
        kinds.append("polygon" if closed else "path")
    if not shapes:
        raise _nothing(layer)
    options = _options(pair, layer, side, left_out=left_out, flattened_voxels=round(moved, 2))

    def finish() -> Layer:
        from napari.layers import Shapes

        return Shapes(
            shapes, shape_type=kinds, edge_color="cyan", face_color="transparent",
            edge_width=max(grid.shape) / 200, **options,
        )  # fmt: skip

    return finish


def _outline(corners: FloatArray, kind: str) -> tuple[FloatArray, bool]:
    """Return a shape as a line with many vertices, and whether it is closed."""
    closed = kind not in ("line", "path")
    if kind == "ellipse":
        middle = corners.mean(axis=0)
        first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        angle = np.linspace(0, 2 * np.pi, 4 * _PIECES, endpoint=False)[:, None]
        return middle + np.cos(angle) * first + np.sin(angle) * second, True
    ends = np.concatenate([corners[1:], corners[:1]]) if closed else corners[1:]
    starts = corners if closed else corners[:-1]
    share = np.arange(_PIECES)[:, None] / _PIECES
    pieces = [a + share * (b - a) for a, b in zip(starts, ends, strict=True)]
    if not closed:
        pieces.append(corners[-1:])
    return np.concatenate(pieces), closed


def _flattened(landed: FloatArray, source: FloatArray) -> tuple[FloatArray, float]:
    """Put a 3D shape that was drawn in one slice into one slice again.

    napari shows a shape in the slices that all of its vertices lie in, and the map bends it.
    """
    if landed.shape[1] < 3:
        return landed, 0.0
    axis = int(np.argmin(np.ptp(source, axis=0)))
    if np.ptp(source[:, axis]) > 0.5:
        return landed, 0.0
    middle = float(np.rint(landed[:, axis].mean()))
    away = float(np.abs(landed[:, axis] - middle).max())
    flat = landed.copy()
    flat[:, axis] = middle
    return flat, away


def _inside(data: FloatArray, grid: CanvasGrid) -> NDArray[np.bool_]:
    high = np.array(grid.shape) - 0.5
    with np.errstate(invalid="ignore"):
        return np.asarray(((data > -0.5) & (data < high)).all(axis=-1))


def _nothing(layer: Layer) -> InputError:
    return InputError(
        f"Nothing of the layer {layer.name} arrives on the other scan; check which scan it lies on."
    )
