"""Where the voxels of a scan are on the canvas.

napari draws oblique slices wrongly, so a scan is shown on its own voxel grid: axes permuted and
flipped to point as a reader expects, spacing as scale, never a rotation. The full affine stays at
hand for the true world position. Voxel indices are never read from the viewer's sliders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.volumes.geometry import (
    FloatArray,
    canonical_axes,
    decompose,
    reorient_affine,
    reorient_array,
    spacing_of,
    transform_points,
)
from napari_gemini.volumes.volume import Volume

#: Letters of the low and the high end of the world axes x, y and z in RAS.
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
#: Files of these kinds say how a 2D image lies in the body; pictures do not.
_ORIENTED_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")


@dataclass(frozen=True, eq=False)
class CanvasGrid:
    """The voxel grid of a scan as napari shows it.

    In 3D the canvas axes run towards Inferior, Posterior and Left: axial slices are in
    radiological convention, coronal and sagittal ones have the head up, and napari's default
    camera shows the volume unmirrored. A 2D image is shown row by row as stored, or, where its
    file knows directions, with Posterior down and Left to the right.

    Parameters
    ----------
    affine
        (4, 4) voxel index of the file to RAS mm.
    volume_shape
        Voxels along each axis of the file.
    spacing_known
        False where lengths are pixels.
    oriented
        Whether the file says how the image lies in the body.
    """

    affine: FloatArray
    volume_shape: tuple[int, ...]
    spacing_known: bool = True
    oriented: bool = True

    @classmethod
    def of(cls, volume: Volume) -> CanvasGrid:
        """Return the grid of a scan or label map."""
        return cls.of_affine(volume.affine, volume.shape, volume.spacing_known, volume.path)

    @classmethod
    def of_affine(
        cls,
        affine: ArrayLike,
        shape: Sequence[int],
        spacing_known: bool = True,
        path: Path | None = None,
    ) -> CanvasGrid:
        """Return the grid of an affine.

        Parameters
        ----------
        affine
            (4, 4) voxel index to RAS mm.
        shape
            Voxels along each axis, file order.
        spacing_known
            False where lengths are pixels.
        path
            Of the file; its kind says whether a 2D image has directions.
        """
        oriented = spacing_known and (
            len(shape) == 3
            or path is None
            or path.is_dir()
            or path.name.lower().endswith(_ORIENTED_SUFFIXES)
        )
        return cls(
            np.array(affine, dtype=np.float64),
            tuple(int(n) for n in shape),
            spacing_known,
            oriented,
        )

    # -- layout --------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.volume_shape)

    @cached_property
    def permutation(self) -> tuple[int, ...]:
        """Which axis of the file each canvas axis is."""
        if not self.oriented:
            return tuple(reversed(range(self.ndim)))
        return tuple(reversed(canonical_axes(self.affine, self.ndim)[0]))

    @cached_property
    def flips(self) -> tuple[bool, ...]:
        """Whether each canvas axis runs against its axis of the file."""
        if not self.oriented:
            return (False,) * self.ndim
        # The canvas runs against RAS, so an axis that follows RAS is turned.
        return tuple(not flip for flip in reversed(canonical_axes(self.affine, self.ndim)[1]))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each canvas axis."""
        return tuple(self.volume_shape[axis] for axis in self.permutation)

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Length of a voxel along each canvas axis, in :attr:`unit`."""
        file_spacing = spacing_of(self.affine, self.ndim)
        return tuple(file_spacing[axis] for axis in self.permutation)

    @cached_property
    def data_affine(self) -> FloatArray:
        """(4, 4) canvas data index to RAS mm."""
        return reorient_affine(self.affine, self.volume_shape, self.permutation, self.flips)

    @cached_property
    def ends(self) -> tuple[tuple[str, str], ...]:
        """Letters at the low and the high end of each canvas axis; empty where unknown."""
        if not self.oriented:
            return (("", ""),) * self.ndim
        return tuple((high, low) for low, high in reversed(_ENDS[: self.ndim]))

    @property
    def axcodes(self) -> tuple[str, ...]:
        """Where each canvas axis points, such as ``("I", "P", "L")``."""
        return tuple(high for _, high in self.ends)

    @property
    def axis_labels(self) -> tuple[str, ...]:
        """Names of the canvas axes, such as ``S-I``; rows and columns where unknown."""
        if not self.oriented:
            return ("slice", "row", "column")[-self.ndim :]
        return tuple(f"{low}-{high}" for low, high in self.ends)

    @property
    def unit(self) -> str:
        """``mm``, or ``pixel`` where the file does not tell."""
        return "mm" if self.spacing_known else "pixel"

    @cached_property
    def is_oblique(self) -> bool:
        """Whether the scan lies at an angle to the body's axes."""
        if not self.oriented:
            return False
        _, _, direction = decompose(self.affine, self.ndim)
        return bool(np.sort(np.abs(direction), axis=0)[:-1].max() > 1e-4)

    @cached_property
    def translate(self) -> tuple[float, ...]:
        """Canvas position of the first voxel.

        Along each axis it counts away from RAS's origin, so that scans of one orientation that
        overlap in the body overlap on the canvas; an oblique scan is right at its centre.
        """
        if not self.oriented:
            return (0.0,) * self.ndim
        centre = (np.array(self.shape) - 1) / 2
        world = self.data_to_world(centre)
        return tuple(float(x) for x in -world[::-1] - centre * np.array(self.spacing))

    def layer_options(self) -> dict[str, Any]:
        """Return what every layer on this grid is made with."""
        return {
            "scale": self.spacing,
            "translate": self.translate,
            "units": (self.unit,) * self.ndim,
            "axis_labels": self.axis_labels,
        }

    # -- arrays and positions ------------------------------------------------------------------

    def to_canvas(self, data: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of the file's order; a view, so painting reaches the array given.

        Raises
        ------
        ValueError
            If the array is not on this grid.
        """
        if data.shape != self.volume_shape:
            raise ValueError(f"an array of shape {data.shape} is not on {self.volume_shape}")
        return reorient_array(data, self.permutation, self.flips)

    def from_canvas(self, data: NDArray[Any]) -> NDArray[Any]:
        """Turn an array of the canvas's order back into the file's; a view.

        Raises
        ------
        ValueError
            If the array is not on this grid.
        """
        if data.shape != self.shape:
            raise ValueError(f"an array of shape {data.shape} is not on {self.shape}")
        turned = data[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.transpose(turned, np.argsort(self.permutation))

    def voxel_to_data(self, points: ArrayLike) -> FloatArray:
        """Map voxel indices of the file (..., d) to canvas data indices (..., d)."""
        moved = np.asarray(points, dtype=np.float64)[..., list(self.permutation)]
        return np.where(self.flips, np.array(self.shape) - 1 - moved, moved)

    def data_to_voxel(self, points: ArrayLike) -> FloatArray:
        """Map canvas data indices (..., d) to voxel indices of the file (..., d)."""
        data = np.asarray(points, dtype=np.float64)
        turned = np.where(self.flips, np.array(self.shape) - 1 - data, data)
        return turned[..., np.argsort(self.permutation)]

    def data_to_world(self, points: ArrayLike) -> FloatArray:
        """Map canvas data indices (..., d) to RAS mm (..., d), oblique part included."""
        return transform_points(self.data_affine, points)

    def world_to_data(self, points: ArrayLike) -> FloatArray:
        """Map RAS mm (..., d) to canvas data indices (..., d)."""
        return transform_points(np.linalg.inv(self.data_affine), points)

    def vectors_to_data(self, vectors: ArrayLike) -> FloatArray:
        """Map directions in RAS mm (..., d) to canvas data indices (..., d)."""
        matrix = np.linalg.inv(self.data_affine[: self.ndim, : self.ndim])
        return np.asarray(vectors, dtype=np.float64) @ matrix.T

    def same_place(self, other: CanvasGrid) -> bool:
        """Say whether two grids have the same voxels at the same places."""
        return self.volume_shape == other.volume_shape and bool(
            np.allclose(self.affine, other.affine, atol=1e-3)
        )
