"""NIfTI files that are refused: missing, damaged, hostile, or of nothing this program means."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import read_labels, read_volume
from tests.volumes.helpers import (
    AFFINE,
    refused,
    save_raw,
)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_missing_empty_and_foreign_files(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "does not exist")
    (tmp_path / name).write_bytes(b"")
    refused(tmp_path / name, "is empty")
    text = b"this is no image at all. " * 40
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    refused(tmp_path / name, "is not a NIfTI image")
    short = b"\x5c\x01\0\0short"
    (tmp_path / name).write_bytes(gzip.compress(short) if name.endswith("gz") else short)
    refused(tmp_path / name, "is not a NIfTI image")


def test_wrong_gzip(tmp_path: Path, ramp: np.ndarray) -> None:
    plain = save_raw(tmp_path / "a.nii", ramp, lambda h: None)
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    refused(tmp_path / "b.nii.gz", "is not gzip-compressed")
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    refused(tmp_path / "c.nii", "rename it to .nii.gz")


def test_truncated_at_every_place(tmp_path: Path, ramp: np.ndarray) -> None:
    plain = save_raw(tmp_path / "a.nii", ramp, lambda h: None).read_bytes()
    packed = gzip.compress(plain)
    for name, content in (("b.nii", plain), ("b.nii.gz", packed)):
        path = tmp_path / name
        for length in [*range(2, len(content), 37), len(content) - 1]:
            path.write_bytes(content[:length])
            refused(path, "truncated or damaged|is not a NIfTI image")
        path.write_bytes(content)
        np.testing.assert_array_equal(read_volume(path).data, ramp)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 12)).astype(np.uint8)
    packed = bytearray(save_raw(tmp_path / "a.nii.gz", noise, lambda h: None).read_bytes())
    for position in range(400, len(packed) - 8, 97):
        flipped = packed.copy()
        flipped[position] ^= 0x10
        (tmp_path / "b.nii.gz").write_bytes(flipped)
        with pytest.raises(InputError):
            read_volume(tmp_path / "b.nii.gz")


def test_hostile_headers_never_crash(tmp_path: Path, ramp: np.ndarray) -> None:
    """Any byte of the header may be anything: an image or a sentence, nothing else."""
    content = bytearray(save_raw(tmp_path / "a.nii", ramp, lambda h: None).read_bytes())
    path = tmp_path / "b.nii"
    rng = np.random.default_rng(1)
    sentences: list[str] = []
    for position in range(352):
        for value in {255, int(rng.integers(256))}:
            broken = content.copy()
            broken[position] = value
            path.write_bytes(broken)
            try:
                assert read_volume(path).data.size <= ramp.nbytes
            except InputError as error:
                sentences.append(str(error))
    assert len(sentences) > 100
    assert all(sentence.endswith(".") for sentence in sentences)


def absurd(header: nib.Nifti1Header) -> None:
    header["dim"][:4] = [3, 2600, 2600, 2700]
    header["datatype"], header["bitpix"] = 4, 16


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_absurd_size_is_refused_before_it_is_allocated(tmp_path: Path, name: str) -> None:
    """377 bytes that ask for 36 GB."""
    header = nib.Nifti1Header()
    header.set_sform(AFFINE, 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    absurd(header)
    content = header.binaryblock + b"\0" * 29
    assert len(content) == 377
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    import tracemalloc

    tracemalloc.start()
    refused(tmp_path / name, r"announces 36\.5 GB of voxels and the file holds")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_more_than_the_memory_is_refused(
    tmp_path: Path, ramp: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_raw(tmp_path / "a.nii", ramp, lambda h: None)
    monkeypatch.setattr("napari_gemini.volumes.checks.total_memory", lambda: 100)
    refused(path, "needs 420 bytes and this machine has 100 bytes of memory")
    monkeypatch.setattr("napari_gemini.volumes.checks.total_memory", lambda: None)
    assert read_volume(path).shape == ramp.shape


def test_a_compressed_file_without_end_is_refused(
    tmp_path: Path, ramp: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_gemini.volumes.nifti._LARGEST_HEADER", 1 << 20)
    plain = save_raw(tmp_path / "a.nii", ramp, lambda h: None).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain + bytes(5 << 20)))
    refused(tmp_path / "b.nii.gz", "far more in it than its header announces")


def test_nan_and_infinite_voxels(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = np.nan
    data[0, 0, 0] = -np.inf
    path = save_raw(tmp_path / "a.nii", data, lambda h: None)
    refused(path, "2 voxels that are NaN or infinite")
    with pytest.raises(InputError, match="NaN or infinite"):
        read_labels(path)
    volume = read_volume(path, allow_nonfinite=True)
    np.testing.assert_array_equal(volume.data, data)


def test_complex_rgb_vector_and_other_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    refused(save_raw(path, np.zeros((4, 5, 6), np.complex64), lambda h: None), "complex voxels")
    colour = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refused(save_raw(path, colour, lambda h: None), r"colour \(RGB\)")
    refused(save_raw(path, np.zeros((4, 5, 6, 1, 3), np.float32), lambda h: None), "channels")
    refused(
        save_raw(path, np.zeros((4, 5, 6), np.uint8), lambda h: h.__setitem__("datatype", 999)),
        "unknown type",
    )
    refused(save_raw(path, np.zeros((4, 1, 1), np.uint8), lambda h: None), "two or three dim")
    refused(save_raw(path, np.zeros((4,), np.uint8), lambda h: None), "two or three dim")


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf])
def test_spacing_of_zero_or_less(tmp_path: Path, ramp: np.ndarray, value: float) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["pixdim"][2] = value

    refused(
        save_raw(tmp_path / "a.nii", ramp, change), r"pixdim\); every value has to be a positive"
    )


def test_singular_and_undefined_affines(tmp_path: Path, ramp: np.ndarray) -> None:
    def parallel(header: nib.Nifti1Header) -> None:
        header["qform_code"] = 0
        header["srow_x"], header["srow_y"], header["srow_z"] = (
            [2, 2, 0, 0],
            [0, 0, 0, 0],
            [0, 0, 4, 0],
        )

    def zero(header: nib.Nifti1Header) -> None:
        header["srow_x"] = header["srow_y"] = header["srow_z"] = 0

    def undefined(header: nib.Nifti1Header) -> None:
        header["srow_x"][1] = np.nan

    def no_rotation(header: nib.Nifti1Header) -> None:
        header["sform_code"] = 0
        header["quatern_b"] = 5

    path = tmp_path / "a.nii"
    refused(save_raw(path, ramp, parallel), "singular affine")
    refused(save_raw(path, ramp, zero), "spacing of zero")
    refused(save_raw(path, ramp, undefined), "not numbers")
    refused(save_raw(path, ramp, no_rotation), "qform is not a rotation")

    def parallel_in_plane(header: nib.Nifti1Header) -> None:
        parallel(header)
        header["pixdim"][1:4] = [2, 2, 4]

    refused(save_raw(path, ramp[..., 0], parallel_in_plane), "singular affine")


def test_bad_scaling_and_a_separate_voxel_file(tmp_path: Path, ramp: np.ndarray) -> None:
    path = tmp_path / "a.nii"

    def infinite(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = 2.0, np.nan

    refused(save_raw(path, ramp, infinite), "scaling")
    refused(save_raw(path, ramp, lambda h: h.__setitem__("magic", b"ni1")), "second file")
    refused(save_raw(path, ramp, lambda h: h.__setitem__("magic", b"")), "is not a NIfTI image")
    refused(save_raw(path, ramp, lambda h: h.__setitem__("vox_offset", 3)), "impossible place")
    refused(save_raw(path, ramp, lambda h: h["dim"].__setitem__(2, -4)), "dimensions")


def test_a_broken_extension_does_not_stop_the_voxels(tmp_path: Path, ramp: np.ndarray) -> None:
    path = save_raw(tmp_path / "a.nii", ramp, lambda h: h.__setitem__("vox_offset", 368))
    content = path.read_bytes()
    extension = b"\1\0\0\0" + struct.pack("<ii", 7, 6) + b"\0" * 8
    path.write_bytes(content[:348] + extension + content[352:])
    np.testing.assert_array_equal(read_volume(path).data, ramp)
