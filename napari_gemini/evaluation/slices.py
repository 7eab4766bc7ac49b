"""Orthogonal slices of a scan as a radiologist looks at them.

The patient's right is on the left of the picture, front or head is up, and a sagittal slice looks
to the left. Pictures are measured in mm from the centre of their first pixel, so that anisotropic
voxels keep their shape and points of the world can be drawn onto them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.volumes.geometry import (
    canonical_axes,
    reorient_affine,
    reorient_array,
    transform_points,
)
from napari_gemini.volumes.volume import Volume

Floats = NDArray[np.float64]
_TOWARDS = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True)
class View:
    """One direction of looking: which canonical axes run across, down and through the picture."""

    name: str
    across: int
    down: int
    through: int | None

    @property
    def letters(self) -> dict[str, str]:
        """Patient direction at each edge of the picture."""
        left, right = _TOWARDS[self.across]
        top, bottom = _TOWARDS[self.down]
        return {"left": left, "right": right, "top": top, "bottom": bottom}


VIEWS = (View("axial", 0, 1, 2), View("coronal", 0, 2, 1), View("sagittal", 1, 2, 0))
FLAT_VIEW = View("image", 0, 1, None)


class Slicer:
    """Cuts pictures from arrays on the grid of one scan.

    Parameters
    ----------
    volume
        The scan whose grid it is; 2D or 3D.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._permutation, self._flips = canonical_axes(volume.affine, volume.ndim)
        self.affine = reorient_affine(volume.affine, volume.shape, self._permutation, self._flips)
        self.shape = tuple(volume.shape[axis] for axis in self._permutation)
        self.spacing = tuple(volume.spacing[axis] for axis in self._permutation)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The views that show more than a line."""
        if self.volume.ndim == 2:
            return (FLAT_VIEW,)
        wide = [v for v in VIEWS if self.shape[v.across] > 1 and self.shape[v.down] > 1]
        return tuple(wide) or VIEWS[:1]

    def canonical(self, array: NDArray) -> NDArray:
        """Return an array of the scan's grid with its axes along right, anterior and superior."""
        return reorient_array(array, self._permutation, self._flips)

    def middle(self, mask: NDArray | None = None) -> tuple[int, ...]:
        """Return the canonical index of the centre of gravity of a mask, or of the whole grid."""
        if mask is not None and mask.any():
            return tuple(round(float(axis.mean())) for axis in np.nonzero(self.canonical(mask)))
        return tuple(length // 2 for length in self.shape)

    def cut(self, array: NDArray, view: View, position: tuple[int, ...]) -> NDArray:
        """Return the picture (rows, columns) of an array in a view through `position`."""
        moved = self.canonical(array)
        if view.through is not None:
            moved = np.take(moved, position[view.through], axis=view.through)
        return moved[::-1, ::-1].T

    def size(self, view: View) -> tuple[float, float]:
        """Return width and height of a picture in mm, pixel edges included."""
        return (
            self.shape[view.across] * self.spacing[view.across],
            self.shape[view.down] * self.spacing[view.down],
        )

    def extent(
        self, view: View, margin: tuple[int, int] = (0, 0)
    ) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of a picture in mm, for ``imshow``.

        `margin` is the number of pixels (across, down) that the picture has more on each side.
        """
        width, height = self.size(view)
        across, down = self.spacing[view.across], self.spacing[view.down]
        left, top = -(margin[0] + 0.5) * across, -(margin[1] + 0.5) * down
        return (left, width - across - left, height - down - top, top)

    def world_points(
        self, view: View, position: tuple[int, ...], margin: tuple[int, int] = (0, 0)
    ) -> Floats:
        """Return the world place of every pixel centre, shape (rows, columns, d), RAS mm."""
        columns = np.arange(-margin[0], self.shape[view.across] + margin[0])[::-1]
        rows = np.arange(-margin[1], self.shape[view.down] + margin[1])[::-1]
        index = np.empty((rows.size, columns.size, self.volume.ndim))
        if view.through is not None:
            index[..., view.through] = position[view.through]
        index[..., view.across] = columns[None, :]
        index[..., view.down] = rows[:, None]
        return transform_points(self.affine, index)

    def picture_points(self, view: View, world: ArrayLike) -> Floats:
        """Return where world points (..., d) in RAS mm fall on a picture: (..., 2), x and y in mm.

        The distance of a point from the slice is dropped.
        """
        index = transform_points(np.linalg.inv(self.affine), world)
        x = (self.shape[view.across] - 1 - index[..., view.across]) * self.spacing[view.across]
        y = (self.shape[view.down] - 1 - index[..., view.down]) * self.spacing[view.down]
        return np.stack([x, y], axis=-1)


def sample(volume: Volume, world: Floats) -> NDArray[np.float32]:
    """Return a scan's values at world points by linear interpolation, NaN outside of it.

    Parameters
    ----------
    volume
        The scan.
    world
        Points (..., d) in RAS mm.

    Returns
    -------
    numpy.ndarray
        Shape of `world` without its last axis.
    """
    from scipy.ndimage import map_coordinates

    index = volume.world_to_voxel(world)
    limits = np.array(volume.shape) - 1
    inside = ((index >= -0.5) & (index <= limits + 0.5)).all(axis=-1)
    values = map_coordinates(
        np.asarray(volume.data, dtype=np.float32),
        np.moveaxis(np.clip(index, 0, limits), -1, 0),
        order=1,
        mode="nearest",
    )
    return np.where(inside, values, np.nan).astype(np.float32)
