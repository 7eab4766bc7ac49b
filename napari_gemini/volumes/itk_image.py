"""The bridge to SimpleITK: volumes and grids as ITK sees them.

ITK computes positions from origin, spacing and direction in LPS, and for NIfTI files it takes them
from the header in its own way, a few float32 roundings away from nibabel's affine. Where an exact
agreement with ITK matters (voxels half way between two labels), its own numbers have to be used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.geometry import (
    FloatArray,
    compose,
    decompose,
    largest_distance,
    ras_lps,
    spacing_of,
)
from napari_gemini.volumes.plane import squeezed_axes
from napari_gemini.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

# ITK's reading of a header is taken for the same place as ours within this share of a voxel.
_SAME_PLACE = 0.1


@dataclass(frozen=True)
class ItkGeometry:
    """Origin, spacing and direction of an ITK image, LPS mm.

    Parameters
    ----------
    origin, spacing
        (d,) each.
    direction
        d * d numbers, row by row.
    shape
        The voxels of the file, which has one axis more where a single slice was made an image.
    """

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.origin)

    @property
    def affine(self) -> FloatArray:
        """(4, 4) voxel index to RAS mm."""
        return ras_lps(compose(self.origin, self.spacing, self.direction))

    def in_plane(self, axes: tuple[int, ...]) -> ItkGeometry:
        """Keep two of three axes, as SimpleITK does when it takes a slice."""
        matrix = np.array(self.direction).reshape(3, 3)[np.ix_(axes, axes)]
        return ItkGeometry(
            tuple(self.origin[axis] for axis in axes),
            tuple(self.spacing[axis] for axis in axes),
            tuple(float(value) for value in matrix.ravel()),
            tuple(self.shape[axis] for axis in axes),
        )


def geometry_of_affine(affine: FloatArray, shape: tuple[int, ...]) -> ItkGeometry:
    """Turn an RAS affine into ITK's three parts."""
    origin, spacing, direction = decompose(ras_lps(affine), len(shape))
    return ItkGeometry(_floats(origin), _floats(spacing), _floats(direction), tuple(shape))


def geometry_of_image(image: sitk.Image | sitk.ImageFileReader) -> ItkGeometry:
    """Take the geometry of a SimpleITK image, or of a reader that has read the header."""
    return ItkGeometry(
        tuple(image.GetOrigin()),
        tuple(image.GetSpacing()),
        tuple(image.GetDirection()),
        tuple(int(n) for n in image.GetSize()),
    )


def itk_geometry(volume: Volume) -> ItkGeometry:
    """Give the geometry that SimpleITK sees when it reads the file of this volume.

    Parameters
    ----------
    volume
        Any volume. For one that did not come from a file, or whose header ITK cannot read or
        places elsewhere (sheared NIfTI, tilted 2D slices), the geometry is that of its affine.

    Returns
    -------
    ItkGeometry
        With as many axes as the volume.
    """
    seen = _seen_by_itk(volume.header)
    if seen is not None and seen.ndim > volume.ndim:
        axes = squeezed_axes(seen.shape)
        seen = seen.in_plane(axes) if len(axes) == volume.ndim else None
    if seen is not None and seen.ndim == volume.ndim and seen.shape == volume.shape:
        limit = _SAME_PLACE * min(spacing_of(volume.affine, volume.ndim))
        if largest_distance(seen.affine, volume.affine, volume.shape) <= limit:
            return seen
    return geometry_of_affine(volume.affine, volume.shape)


def image_to_itk(volume: Volume, data: NDArray[Any] | None = None) -> sitk.Image:
    """Make a SimpleITK image of a volume (or of another array on its grid).

    Parameters
    ----------
    volume
        Gives the place.
    data
        (i, j[, k]) array; the volume's own by default.

    Returns
    -------
    SimpleITK.Image
        With the index order (i, j, k) that the array has.
    """
    geometry = itk_geometry(volume)
    return array_to_itk(volume.data if data is None else data, geometry)


def array_to_itk(data: NDArray[Any], geometry: ItkGeometry, vectors: bool = False) -> sitk.Image:
    """Make a SimpleITK image of an array.

    Parameters
    ----------
    data
        (i, j[, k]), or with `vectors` (i, j[, k], components).
    geometry
        Where it lies.
    vectors
        Whether the last axis holds the components of one vector per voxel.
    """
    import SimpleITK as sitk

    order = [*reversed(range(geometry.ndim)), *([geometry.ndim] if vectors else [])]
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(np.transpose(_itk_type(data), order)), isVector=vectors
    )
    image.SetOrigin(geometry.origin)
    image.SetSpacing(geometry.spacing)
    image.SetDirection(geometry.direction)
    return image


def itk_to_array(image: sitk.Image) -> NDArray[Any]:
    """Give the voxels of a SimpleITK image as (i, j[, k]) (Fortran order, as NIfTI has them)."""
    import SimpleITK as sitk

    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    return array.transpose()


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the screen: what matters in them is said by an error of ours."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _itk_type(data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _seen_by_itk(header: object | None) -> ItkGeometry | None:
    if isinstance(header, ItkGeometry):
        return header
    if isinstance(header, nib.Nifti1Header):
        return _seen_in_nifti(header)
    return None


def _seen_in_nifti(header: nib.Nifti1Header) -> ItkGeometry | None:
    """Let ITK read the header, which is put alone into a temporary file."""
    import SimpleITK as sitk

    alone = header.copy()
    alone.extensions.clear()
    alone["vox_offset"] = alone.single_vox_offset
    alone["magic"] = alone.single_magic
    reader = sitk.ImageFileReader()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "header.nii"
        path.write_bytes(alone.binaryblock + b"\0" * 4)
        reader.SetFileName(str(path))
        try:
            with quiet_itk():
                reader.ReadImageInformation()
            geometry = geometry_of_image(reader)
        except RuntimeError:
            return None
    axes = tuple(range(3))
    if geometry.ndim <= 3:
        return geometry
    # One volume of a 4D file.
    matrix = np.array(geometry.direction).reshape(geometry.ndim, geometry.ndim)[:3, :3]
    return ItkGeometry(
        geometry.origin[:3],
        geometry.spacing[:3],
        _floats(matrix),
        tuple(geometry.shape[axis] for axis in axes),
    )


def _floats(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.ravel(values))
