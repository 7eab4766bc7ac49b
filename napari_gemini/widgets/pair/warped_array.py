"""A moving scan seen through the map, computed for the slice that is looked at.

napari takes anything that has a shape and can be indexed as an image. So nothing is resampled ahead
of time: moving a slider costs one slice, however large the scans are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.sampling import sample_linear, sample_nearest
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.pair.pair_data import PairData

#: Canvas indices along each axis -> True where nothing is to be seen (curtain, checkerboard).
Hide = Callable[[Sequence[NDArray[np.intp]]], NDArray[np.bool_]]

#: A request above this many voxels (a whole volume, for 3D display) is answered coarsely.
MOST_VOXELS = 400_000
_REMEMBERED = 3


class WarpedArray:
    """A scan or label map of the moving scan's world on the canvas grid of the fixed scan.

    Parameters
    ----------
    pair
        The map.
    volume
        Anything that lies in the moving scan's world: the scan, its labels.
    labels
        Take the voxel that a position lies in instead of interpolating.
    t
        0: only placed (rigidly, before anything was deformed); 1: warped.
    """

    def __init__(
        self, pair: PairData, volume: Volume, *, labels: bool = False, t: float = 1.0
    ) -> None:
        self.pair = pair
        self.volume = volume
        self.labels = labels
        self.t = t
        #: What is cut out of the picture, None for nothing.
        self.hide: Hide | None = None
        self.grid: CanvasGrid = pair.fixed_grid
        self._positions: OrderedDict[Any, tuple[FloatArray, FloatArray]] = OrderedDict()

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each canvas axis of the fixed scan."""
        return self.grid.shape

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return self.grid.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels; float32 for images."""
        return self.volume.data.dtype if self.labels else np.dtype(np.float32)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes that the whole array would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Compute every voxel, slab by slab; for saving, never for showing."""
        result = np.empty(self.shape, self.dtype)
        axes = [np.arange(n) for n in self.shape]
        for start in axes[0]:
            result[start] = self._compute([axes[0][start : start + 1], *axes[1:]], None)[0]
        return result if dtype is None else result.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Compute the voxels of a basic index (numbers and slices)."""
        indices, scalars = _indices(key, self.shape)
        found = self._compute(indices, _key_of(indices)) if _few(indices) else self._rough(indices)
        return found[tuple(0 if scalar else slice(None) for scalar in scalars)]

    def _rough(self, indices: list[NDArray[np.intp]]) -> NDArray[Any]:
        """Answer a large request from every n-th voxel."""
        voxels = np.prod([len(axis) for axis in indices], dtype=float)
        step = int(np.ceil((voxels / MOST_VOXELS) ** (1 / len(indices))))
        found = self._compute([axis[step // 2 :: step] for axis in indices], None)
        for axis, wanted in enumerate(indices):
            place = np.minimum(np.arange(len(wanted)) // step, found.shape[axis] - 1)
            found = np.take(found, place, axis=axis)
        return found

    def _compute(self, indices: list[NDArray[np.intp]], key: Any) -> NDArray[Any]:
        placed, partner = self._ends(indices, key)
        # Blended in voxels of the moving scan: the way there is affine, so it is the same.
        positions = partner if self.t == 1 else placed + self.t * (partner - placed)
        if self.labels:
            found = sample_nearest(self.volume.data, positions)
        else:
            found = sample_linear(self.volume.data, positions, np.nan).astype(np.float32)
        if self.hide is not None:
            found[self.hide(indices)] = 0 if self.labels else np.nan
        return found

    def _ends(self, indices: list[NDArray[np.intp]], key: Any) -> tuple[FloatArray, FloatArray]:
        """Return where voxels are in the moving scan when placed and when warped, (d, ...)."""
        if key in self._positions:
            self._positions.move_to_end(key)
            return self._positions[key]
        mesh = np.stack(np.meshgrid(*indices, indexing="ij"), axis=-1).astype(np.float64)
        world = self.grid.data_to_world(mesh)
        initial, d = self.pair.initial, self.ndim
        placed = world @ initial[:d, :d].T + initial[:d, 3]
        ends = tuple(
            np.moveaxis(self.volume.world_to_voxel(points), -1, 0)
            for points in (placed, self.pair.map_fixed_to_moving(world))
        )
        if key is not None:
            self._positions[key] = (ends[0], ends[1])
            while len(self._positions) > _REMEMBERED:
                self._positions.popitem(last=False)
        return ends[0], ends[1]


class EdgeArray:
    """The edges of a warped image, slice by slice: 1 on an edge, transparent elsewhere.

    Parameters
    ----------
    image
        What is looked at.
    contrast
        The span of intensities that the image is shown with.
    """

    #: Gradient across a voxel, as a share of the contrast, that counts as an edge.
    threshold = 0.12

    def __init__(self, image: WarpedArray, contrast: float) -> None:
        self.image = image
        self.contrast = contrast
        self.shape, self.ndim = image.shape, image.ndim
        self.dtype = np.dtype(np.float32)
        self.size, self.nbytes = image.size, image.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Find the edges in all slices."""
        found = np.stack([self[index] for index in range(len(self))])
        return found if dtype is None else found.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Find the edges in the voxels of a basic index."""
        values = self.image[key]
        if values.ndim == 0:
            return np.full((), np.nan, np.float32)
        smooth = np.nan_to_num(values)
        wide = [axis for axis in range(smooth.ndim) if smooth.shape[axis] > 1]
        gradients = [ndimage.sobel(smooth, axis, mode="nearest") for axis in wide]
        # A Sobel filter weighs 2 * 4^(axes - 1) for a step of one.
        weight = 2.0 * 4.0 ** (smooth.ndim - 1)
        steepness = np.sqrt(sum(g * g for g in gradients)) if gradients else np.zeros_like(smooth)
        edge = steepness / weight > self.threshold * self.contrast
        # A sharp border is steep on both of its sides; the brighter one is taken.
        edge &= smooth >= ndimage.uniform_filter(smooth, 3, mode="nearest")
        return np.where(edge & np.isfinite(values), np.float32(1), np.float32(np.nan))


def checkerboard(
    axes: Sequence[int], spacing: Sequence[float], tile: float, turned: bool = False
) -> Hide:
    """Return what hides every other tile.

    Parameters
    ----------
    axes
        Canvas axes that are displayed.
    spacing
        Of the canvas axes.
    tile
        Length of a tile's side in the unit of the spacing.
    turned
        Hide the others.
    """

    def hide(indices: Sequence[NDArray[np.intp]]) -> NDArray[np.bool_]:
        parity = np.zeros((), dtype=np.intp)
        for axis in range(len(indices)):
            count = np.zeros(len(indices[axis]), dtype=np.intp)
            if axis in axes:
                count = np.floor(indices[axis] * spacing[axis] / tile).astype(np.intp)
            parity = parity + _along(count, axis, len(indices))
        return np.asarray(parity % 2 == (0 if turned else 1))

    return hide


def curtain(axis: int, position: float) -> Hide:
    """Return what hides all voxels before `position` (an index) along a canvas axis."""

    def hide(indices: Sequence[NDArray[np.intp]]) -> NDArray[np.bool_]:
        before = _along(indices[axis] < position, axis, len(indices))
        return np.broadcast_to(before, [len(values) for values in indices])

    return hide


def _along(values: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    return values.reshape([-1 if k == axis else 1 for k in range(ndim)])


def _indices(key: Any, shape: Sequence[int]) -> tuple[list[NDArray[np.intp]], list[bool]]:
    """Spell a basic index out: the voxels along each axis, and which axes it drops."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    indices, scalars = [], []
    for part, n in zip(parts, shape, strict=True):
        scalar = not isinstance(part, slice) and np.ndim(part) == 0
        scalars.append(scalar)
        if scalar:
            number = int(part)
            if not -n <= number < n:
                raise IndexError(f"index {number} is out of bounds for {n} voxels")
            indices.append(np.array([number % n]))
        else:
            indices.append(np.atleast_1d(np.arange(n)[part]))
    return indices, scalars


def _few(indices: Sequence[NDArray[np.intp]]) -> bool:
    wide = sum(len(axis) > 1 for axis in indices)
    return wide < 3 or bool(np.prod([len(axis) for axis in indices], dtype=float) <= MOST_VOXELS)


def _key_of(indices: Sequence[NDArray[np.intp]]) -> Any:
    return tuple((int(a[0]), int(a[-1]), len(a)) if len(a) else () for a in indices)
