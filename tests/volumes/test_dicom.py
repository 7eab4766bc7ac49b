"""DICOM series and single files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from napari_gemini.volumes.itk_image import ItkGeometry
from napari_gemini.volumes.reading import (
    is_supported,
    read_labels,
    read_volume,
)
from napari_gemini.volumes.writing import write_labels
from tests.volumes.helpers import (
    refused,
)


def save_dicom(
    folder: Path, data: np.ndarray, affine: np.ndarray, series: str = "1", **change: Any
) -> Path:
    """Write a series with SimpleITK, slice by slice in a shuffled order of names."""
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    order = np.random.default_rng(3).permutation(data.shape[2])
    turn = change.get("turn", lambda n: direction)
    for index in range(data.shape[2]):
        if index in change.get("missing", ()):
            continue
        image = sitk.GetImageFromArray(np.ascontiguousarray(data[:, :, index].T))
        image.SetSpacing(spacing[:2].tolist())
        shift = change.get("shift", lambda n: np.zeros(3))(index)
        where = lps[:3, :3] @ [0, 0, index] + lps[:3, 3] + shift
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.3.4.{series}.{index + 1}",
            "0020|000e": f"1.2.3.4.{series}",
            "0020|000d": "1.2.3.4",
            "0020|0032": "\\".join(f"{v:.10g}" for v in where),
            "0020|0037": "\\".join(f"{v:.10g}" for v in turn(index)[:, :2].T.ravel()),
            "0020|0013": str(int(order[index]) + 1),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{order[index]:03d}.dcm"))
        writer.Execute(image)
    return folder


@pytest.fixture
def dicom_affine() -> np.ndarray:
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    affine[:3, :3] = turn * [0.7, 0.8, 2.5]
    # A DICOM stack is right-handed; RAS and LPS have the same hand.
    affine[:3, 3] = [12, -34, 56]
    return affine


def test_dicom_series(tmp_path: Path, dicom_affine: np.ndarray) -> None:
    data = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 5)).astype(np.int16)
    folder = save_dicom(tmp_path / "series", data, dicom_affine)
    (folder / "README.txt").write_text("not a slice")
    assert is_supported(folder)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, dicom_affine, atol=1e-6)
    assert isinstance(volume.header, ItkGeometry)
    write_labels(tmp_path / "l.nii.gz", (data > 0).astype(np.uint8), volume)
    np.testing.assert_allclose(read_labels(tmp_path / "l.nii.gz").affine, dicom_affine, atol=1e-4)


def test_single_dicom_file(tmp_path: Path, dicom_affine: np.ndarray) -> None:
    data = np.arange(42, dtype=np.int16).reshape(6, 7, 1)
    axial = np.diag([-0.7, -0.8, 2.5, 1])
    folder = save_dicom(tmp_path / "one", data, axial)
    for path in (folder, next(folder.glob("*.dcm"))):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data, data[..., 0])
        assert volume.spacing == pytest.approx((0.7, 0.8))
        assert volume.axcodes == ("L", "P")
    path.write_bytes(path.read_bytes()[:200])
    refused(path, "truncated or damaged")


def test_bad_dicom_folders(tmp_path: Path, dicom_affine: np.ndarray) -> None:
    data = np.zeros((6, 7, 8), np.int16)
    data[3] = 5
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "without a DICOM series")
    refused(save_dicom(tmp_path / "gap", data, dicom_affine, missing=(4,)), "a slice is missing")
    two = save_dicom(tmp_path / "two", data, dicom_affine, series="1")
    refused(save_dicom(two, data, dicom_affine, series="2"), "holds 2 DICOM series")
    tilted = save_dicom(
        tmp_path / "tilt", data, dicom_affine, shift=lambda n: dicom_affine[:3, 0] * n * -0.5
    )
    refused(tilted, "tilted gantry")
    step = dicom_affine[:3, 2] * [-1, -1, 1]
    folder = save_dicom(
        tmp_path / "4d", data, dicom_affine, shift=lambda n: -step if n == 7 else np.zeros(3)
    )
    refused(folder, "one position")
    quarter = [np.eye(3), np.array([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])]
    twisted = save_dicom(tmp_path / "turn", data, np.eye(4), turn=lambda n: quarter[n == 3])
    refused(twisted, "turned against each other|holds 2 DICOM series")


def test_damaged_dicom_folder(tmp_path: Path, dicom_affine: np.ndarray) -> None:
    data = np.zeros((60, 70, 4), np.int16)
    folder = save_dicom(tmp_path / "a", data, dicom_affine)
    first = sorted(folder.glob("*.dcm"))[0]
    whole = first.read_bytes()
    for length in (300, 3000, len(whole) - 2):
        first.write_bytes(whole[:length])
        refused(folder, f"{first.name}, which is DICOM and no readable slice")
    first.write_bytes(whole)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert read_volume(folder).shape == data.shape
