"""Random places in the world, files of them, and judges that know nothing of our code."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import read_volume

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True, database=None)
FEW = settings(PROPERTY, max_examples=12)

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Where hand-written headers are.
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
Change = Callable[[nib.Nifti1Header], Any]


@dataclass(frozen=True)
class Place:
    """A shape, its affine (RAS) and which NIfTI codes its header has."""

    shape: tuple[int, ...]
    affine: np.ndarray
    codes: tuple[int, int] = (1, 1)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def center(self) -> np.ndarray:
        d = self.ndim
        return self.affine[:d, :d] @ ((np.array(self.shape) - 1) / 2) + self.affine[:d, 3]


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def places(
    draw: Any,
    ndim: int = 3,
    low: int = 5,
    high: int = 12,
    spacing: tuple[float, float] = (0.6, 3.0),
    oblique: bool | None = None,
    center: float = 80.0,
) -> Place:
    """Oblique, anisotropic, flipped and permuted places, non-cubic."""
    shape = tuple(draw(st.integers(low, high)) for _ in range(ndim))
    order = draw(st.sampled_from(list(permutations(range(ndim)))))
    signs = np.array([draw(st.sampled_from([-1.0, 1.0])) for _ in range(ndim)])
    direction = np.eye(ndim)[:, list(order)] * signs
    tilted = draw(st.booleans()) if oblique is None else oblique
    if tilted and ndim == 3:
        angles = [draw(number(-40.0, 40.0)) for _ in range(3)]
        direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ direction
    elif tilted:
        angle = np.deg2rad(draw(number(-40.0, 40.0)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        direction = turn @ direction
    spacings = np.array([draw(number(*spacing)) for _ in range(ndim)])
    affine = np.eye(4)
    affine[:ndim, :ndim] = direction * spacings
    middle = np.array([draw(number(-center, center)) for _ in range(ndim)])
    affine[:ndim, 3] = middle - affine[:ndim, :ndim] @ ((np.array(shape) - 1) / 2)
    return Place(shape, affine, draw(st.sampled_from([(1, 1), (1, 0), (0, 2), (2, 1)])))


def voxels_of(place: Place) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(0, n - 1) for n in place.shape])


def save_nifti(path: Path, data: np.ndarray, place: Place, trailing: int = 0) -> Path:
    """Write with nibabel alone; `trailing` adds axes of one voxel."""
    header = nib.Nifti1Header()
    data = data.reshape(data.shape + (1,) * trailing)
    header.set_data_dtype(data.dtype)
    image = nib.Nifti1Image(data, place.affine, header)
    image.header.set_qform(place.affine, code=place.codes[0])
    image.header.set_sform(place.affine, code=place.codes[1])
    nib.save(image, path)
    return path


def save_itk(path: Path, data: np.ndarray, place: Place) -> Path:
    """Write with SimpleITK alone."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    lps = FLIP @ place.affine
    d = place.ndim
    spacing = np.linalg.norm(lps[:d, :d], axis=0)
    image.SetOrigin(lps[:d, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:d, :d] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def where_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values above 0 and their RAS positions, as nibabel sees the file."""
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    voxels = np.argwhere(data > 0)
    points = np.zeros((len(voxels), 3))
    points[:, : min(3, voxels.shape[1])] = voxels[:, :3]
    return data[data > 0], nib.affines.apply_affine(image.affine, points)


def where_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values above 0 and their RAS positions, as SimpleITK sees the file."""
    image = sitk.ReadImage(str(path))
    data = sitk.GetArrayFromImage(image).T
    voxels = np.argwhere(data > 0)
    points = np.array([image.TransformIndexToPhysicalPoint(v.tolist()) for v in voxels])
    return data[data > 0], points * np.array([-1, -1, 1])[: points.shape[-1]]


def marker(shape: tuple[int, ...], voxel: tuple[int, ...], value: int = 7) -> np.ndarray:
    data = np.zeros(shape, dtype=np.uint8)
    data[voxel] = value
    return data


def smooth_random(rng: np.random.Generator, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """Smooth fields of about unit size."""
    from scipy.ndimage import gaussian_filter

    raw = np.stack([gaussian_filter(rng.normal(size=shape), 3.0) for _ in range(channels)])
    return raw / np.abs(raw).max()


def blocks(rng: np.random.Generator, shape: tuple[int, ...], labels: int = 9) -> np.ndarray:
    """Label maps where almost every voxel has a neighbour of another label."""
    return rng.integers(0, labels, size=shape).astype(np.uint8)


def refused(path: Path, words: str, read: Callable[[Path], Any] = read_volume) -> None:
    """Require that a file is refused with one whole sentence that names it."""
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def save_raw(path: Path, data: np.ndarray, change: Change, affine: np.ndarray = AFFINE) -> Path:
    """Write a header as it is, without nibabel's help to keep it consistent."""
    header = nib.Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_data_dtype(data.dtype)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1, strip_shears=True)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    change(header)
    content = header.binaryblock + b"\0" * 4 + data.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
