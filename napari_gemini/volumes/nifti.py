"""Read NIfTI files, trusting nothing that their headers say.

The header is checked against the size of the file before voxels are loaded, and a file whose
header gives two different places in the world is refused, since other programs would choose the
other one. A sheared sform is taken as it is, like nibabel does; ITK cannot read such a file, so
there a field on disk cannot be applied to the original by others.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import check_announced_size, check_file, damaged
from napari_gemini.volumes.geometry import FloatArray, largest_distance
from napari_gemini.volumes.pictures import PIXEL_AFFINE
from napari_gemini.volumes.plane import plane_affine, squeezed_axes
from napari_gemini.volumes.volume import Volume, check_affine

NiftiHeader = nib.Nifti1Header  # nib.Nifti2Header derives from it

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_HEADER = 1 << 26
_AGREE_MM = 1e-3
# Quaternions are stored in float32; two writers may round the same rotation differently.
_QUATERNION_ROUNDING = 5e-7
# Millimetres per unit of the header: metre, millimetre, micrometre. Unknown counts as millimetre.
_UNITS = {1: 1e3, 2: 1.0, 3: 1e-3}


def read_nifti(path: Path, volume_index: int | None = None) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file (``.nii``, ``.nii.gz``).

    Parameters
    ----------
    path
        The file.
    volume_index
        Which volume of a 4D file.

    Returns
    -------
    Volume
        Voxels as stored, or scaled to float where the header has a slope; the affine that nibabel
        gives, in mm; the header itself.

    Raises
    ------
    InputError
        If the file is damaged, not of this kind, or would be placed differently by other programs.
    """
    size = check_file(path)
    compressed = path.name.lower().endswith(".gz")
    _check_compression(path, compressed)
    try:
        with _opened(path, compressed) as stream:
            header, offset = _read_header(path, stream, size, compressed)
            shape = _checked_shape(path, header)
            dtype = _checked_dtype(path, header)
            frames, index = _choose_frame(path, shape, volume_index)
            frame_shape = shape[:3]
            frame_bytes = int(np.prod(frame_shape, dtype=object)) * dtype.itemsize
            check_announced_size(
                path, frame_bytes * frames, max(0, size - (0 if compressed else offset)), compressed
            )
            raw = _read_exactly(path, stream, frame_bytes * index, frame_bytes)
            if compressed:
                _check_rest(path, stream, frame_bytes * (frames - index - 1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, "the compressed data end early or do not fit") from error
    except OSError as error:
        raise InputError(f"{path} could not be read ({error}); check the disk.") from error
    # Copied where the byte order is foreign; a view of the buffer otherwise.
    data = np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="), copy=False)
    data = _scaled(path, data.reshape(frame_shape, order="F"), header)
    return _placed(path, data, header)


def _check_compression(path: Path, compressed: bool) -> None:
    with path.open("rb") as handle:
        magic = handle.read(2)
    if compressed and magic != _GZIP_MAGIC:
        raise InputError(
            f"{path} is named .gz and is not gzip-compressed; rename it to .nii if it is a plain "
            "NIfTI file, or copy it again."
        )
    if not compressed and magic == _GZIP_MAGIC:
        raise InputError(f"{path} is gzip-compressed; rename it to .nii.gz.")


@contextmanager
def _opened(path: Path, compressed: bool) -> Iterator[BinaryIO]:
    if compressed:
        with gzip.open(path, "rb") as stream:
            yield cast(BinaryIO, stream)
    else:
        with path.open("rb") as plain:
            yield plain


def _read_header(
    path: Path, stream: BinaryIO, size: int, compressed: bool
) -> tuple[NiftiHeader, int]:
    """Read everything before the voxels; the stream then stands at the first voxel."""
    start = stream.read(348)
    if len(start) < 348:
        raise InputError(f"{path} is not a NIfTI image (it is too short for a header).")
    length = {348: 348, 540: 540}.get(int.from_bytes(start[:4], "little")) or {
        348: 348,
        540: 540,
    }.get(int.from_bytes(start[:4], "big"))
    if length is None:
        raise InputError(f"{path} is not a NIfTI image; check what kind of file it is.")
    start += stream.read(length - 348)
    magic = start[344:348] if length == 348 else start[4:8]
    if magic[:2] == b"ni":
        raise InputError(f"{path} keeps its voxels in a second file (.img); convert it to .nii.gz.")
    if magic[:2] != b"n+":
        raise InputError(f"{path} is not a NIfTI image; check what kind of file it is.")
    kind = nib.Nifti1Header if length == 348 else nib.Nifti2Header
    try:
        bare = kind(start, check=False)
        offset = int(bare["vox_offset"])
    except Exception as error:
        raise damaged(path, "its header cannot be read") from error
    if not length + 4 <= offset <= min(_LARGEST_HEADER, size if not compressed else 1 << 62):
        raise damaged(path, "its header gives an impossible place for the voxels")
    start += stream.read(offset - length)
    if len(start) < offset:
        raise damaged(path, "it ends before the first voxel")
    try:
        header = kind.from_fileobj(io.BytesIO(start), check=False)
    except Exception:
        # Broken extensions carry nothing that is needed to place or read the voxels.
        header = bare
    return header, offset


def _checked_shape(path: Path, header: NiftiHeader) -> tuple[int, ...]:
    dims = [int(value) for value in header["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        raise damaged(path, f"its header gives the dimensions {dims}")
    shape = dims[1 : dims[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 4:
        raise InputError(
            f"{path} has several channels per voxel; give an image with one value per voxel."
        )
    if len(shape) < 2 or sum(n > 1 for n in shape[:3]) < 2:
        raise InputError(f"{path} is not an image of two or three dimensions (it has {shape}).")
    return tuple(shape)


def _checked_dtype(path: Path, header: NiftiHeader) -> np.dtype[Any]:
    try:
        dtype = header.get_data_dtype()
    except Exception as error:
        raise InputError(
            f"{path} has voxels of an unknown type (code {int(header['datatype'])}); "
            "convert it to integers or floats."
        ) from error
    if dtype.names is not None:
        raise InputError(f"{path} is a colour (RGB) image; convert it to grey values.")
    if dtype.kind == "c":
        raise InputError(f"{path} has complex voxels; convert it to magnitudes.")
    if dtype.kind not in "iuf":
        raise InputError(
            f"{path} has voxels of type {dtype}, which cannot be read; convert it to integers or "
            "floats."
        )
    return dtype


def _choose_frame(path: Path, shape: tuple[int, ...], volume_index: int | None) -> tuple[int, int]:
    frames = shape[3] if len(shape) == 4 else 1
    if frames > 1 and volume_index is None:
        raise InputError(
            f"{path} is a 4D file with {frames} volumes; choose one of them (0 to {frames - 1})."
        )
    index = volume_index or 0
    if not 0 <= index < frames:
        raise InputError(f"{path} has no volume {index}; choose 0 to {frames - 1}.")
    return frames, index


def _read_exactly(path: Path, stream: BinaryIO, skip: int, count: int) -> bytearray:
    if stream.seekable() and skip:
        stream.seek(skip, io.SEEK_CUR)
    buffer = bytearray(count)
    view = memoryview(buffer)
    done = 0
    while done < count:
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise damaged(path, f"{count} bytes of voxels are announced and {done} are there")
        done += got
    return buffer


def _check_rest(path: Path, stream: BinaryIO, expected: int) -> None:
    """Read to the end of a gzip stream, where its checksum is: a flipped bit is noticed there."""
    # What follows the last volume is of no interest, and a hostile file may have no end.
    allowed = expected + _LARGEST_HEADER
    done = 0
    while chunk := stream.read(1 << 20):
        done += len(chunk)
        if done > allowed:
            raise damaged(path, "there is far more in it than its header announces")
    if done < expected:
        raise damaged(path, "it ends before its last volume")


def _scaled(path: Path, data: NDArray[Any], header: NiftiHeader) -> NDArray[Any]:
    if data.dtype.itemsize > 8:
        data = data.astype(np.float64)
    try:
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise damaged(path, "its scaling (scl_slope, scl_inter) is not a number") from error
    if slope is None or (slope == 1 and intercept == 0):
        return data
    scaled = apply_read_scaling(data, slope, intercept)
    return scaled.astype(np.float64 if data.dtype.itemsize > 4 else np.float32)


def _placed(path: Path, data: NDArray[Any], header: NiftiHeader) -> Volume:
    axes = squeezed_axes(data.shape)
    shape = (*data.shape, 1)[:3]
    _check_pixdim(path, header, data.ndim)
    known = True
    units = int(header["xyzt_units"]) & 7
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        affine, known = _affine_without_codes(path, header, len(axes), units)
    else:
        affine = _agreed_affine(path, header, codes, shape, len(axes))
    affine[:3] *= _UNITS.get(units, 1.0)
    if len(axes) == 2:
        affine = plane_affine(affine, axes)
        # What this program writes for a picture that says nothing about millimetres.
        known = known and not (units == 0 and np.array_equal(affine, PIXEL_AFFINE))
        data = data.reshape([data.shape[axis] for axis in axes], order="F")
    return Volume(data, affine, known, path, header)


def _check_pixdim(path: Path, header: NiftiHeader, ndim: int) -> None:
    spacing = np.asarray(header["pixdim"], dtype=np.float64)[1 : ndim + 1]
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(
            f"{path} has the spacing {spacing.tolist()} in its header (pixdim); every value has to "
            "be a positive number of millimetres, correct it and try again."
        )


def _affine_without_codes(
    path: Path, header: NiftiHeader, ndim: int, units: int
) -> tuple[FloatArray, bool]:
    """Place an image whose header says nothing: only a 2D one may be looked at without knowing.

    nibabel and ITK differ in what they make of such a header; this follows ITK.
    """
    if ndim == 3:
        raise InputError(
            f"{path} does not say how it is oriented (qform_code and sform_code are both 0), and "
            "programs guess differently; export it with its orientation, or set the sform."
        )
    spacing = np.asarray(header["pixdim"], dtype=np.float64)[1:4]
    spacing[spacing <= 0] = 1.0
    known = units != 0 or not np.array_equal(spacing[:2], [1.0, 1.0])
    return np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]), known


def _agreed_affine(
    path: Path, header: NiftiHeader, codes: tuple[int, int], shape: tuple[int, ...], ndim: int
) -> FloatArray:
    """Return the affine that all programs agree on, or refuse.

    nibabel takes the sform where there is one; ITK takes the qform in some of these cases, and its
    spacing from pixdim.
    """
    try:
        qform = header.get_qform(coded=True)[0] if codes[0] > 0 else None
    except Exception as error:
        raise damaged(path, "its qform is not a rotation") from error
    if codes[1] <= 0:
        return _checked_affine(path, qform, ndim)
    affine = _checked_affine(path, header.get_sform(), ndim)
    _check_sform_spacing(path, header, affine, shape)
    if qform is not None:
        distance = largest_distance(affine, qform, shape)
        if distance > _AGREE_MM and not _only_rounded(header, affine, shape):
            raise InputError(
                f"{path} gives two places in the world: its qform and sform disagree by up to "
                f"{distance:.3g} mm, and programs choose differently; keep one of them (copy it "
                "over the other, or set the other's code to 0) and try again."
            )
    return affine


def _checked_affine(path: Path, affine: Any, ndim: int) -> FloatArray:
    affine = np.array(affine, dtype=np.float64)
    # The axis across a single slice may well have no length: only the plane is used.
    used = affine if ndim == 3 else np.where(np.isfinite(affine), np.eye(4), affine)
    check_affine(used, 3, str(path))
    return affine


def _check_sform_spacing(
    path: Path, header: NiftiHeader, affine: FloatArray, shape: tuple[int, ...]
) -> None:
    ndim = int(min(3, header["dim"][0]))
    stated = np.asarray(header["pixdim"], dtype=np.float64)[1 : ndim + 1]
    meant = np.linalg.norm(affine[:3, :3], axis=0)[:ndim]
    steps = np.maximum(np.array(shape[:ndim]) - 1, 1)
    if (np.abs(stated - meant) * steps).max() > _AGREE_MM:
        raise InputError(
            f"{path} gives two spacings: {_list(stated)} in pixdim and {_list(meant)} in its sform,"
            " and programs choose differently; correct one of them and try again."
        )


def _only_rounded(header: NiftiHeader, sform: FloatArray, shape: tuple[int, ...]) -> bool:
    """Whether the qform is the sform, but for what float32 quaternions cannot hold.

    For rotations near 180 degrees the fourth quaternion component is lost to cancellation, which
    can move a corner by some hundredths of a millimetre.
    """
    encoded = header.copy()
    try:
        encoded.set_qform(sform, code=1, strip_shears=False)
    except Exception:
        return False
    quaternion = [f"quatern_{name}" for name in "bcd"]
    turned = max(abs(float(encoded[name]) - float(header[name])) for name in quaternion)
    moved = max(abs(float(encoded[f"qoffset_{n}"]) - float(header[f"qoffset_{n}"])) for n in "xyz")
    steps = np.array(shape[:3]) - 1
    stretched = np.abs(
        np.asarray(encoded["pixdim"][1:4], dtype=np.float64) - header["pixdim"][1:4]
    )[: len(steps)]
    same_hand = (encoded["pixdim"][0] < 0) == (header["pixdim"][0] < 0)
    return bool(
        same_hand
        and turned <= _QUATERNION_ROUNDING
        and moved <= _AGREE_MM
        and (stretched * steps).max() <= _AGREE_MM
    )


def _list(values: NDArray[Any]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
