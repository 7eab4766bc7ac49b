"""TIFF: what is read and written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import (
    read_volume,
)
from napari_gemini.volumes.writing import write_volume
from tests.volumes.helpers import (
    refused,
)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_tiff_reads_and_writes(tmp_path: Path, kind: type) -> None:
    rows = np.arange(42).reshape(6, 7).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", rows)
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, rows.T)
    assert not volume.spacing_known
    write_volume(tmp_path / "b.tiff", volume.data, volume)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tiff"), rows)
    assert sitk.ReadImage(str(tmp_path / "b.tiff")).GetSpacing() == (1, 1)


def test_tiff_resolution_is_spacing_unless_it_is_an_empty_default(tmp_path: Path) -> None:
    rows = np.arange(42, dtype=np.uint8).reshape(6, 7)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rows, resolution=(72, 72), resolutionunit="INCH")
    assert not read_volume(path).spacing_known
    tifffile.imwrite(path, rows, resolution=(40, 20), resolutionunit="CENTIMETER")
    volume = read_volume(path)
    assert volume.spacing_known
    assert volume.spacing == pytest.approx((0.25, 0.5))
    write_volume(tmp_path / "b.tif", volume.data.astype(np.float32), volume)
    assert read_volume(tmp_path / "b.tif").spacing == pytest.approx((0.25, 0.5))
    whole = np.full((7, 6), 3_000_000_000, np.uint32)
    with pytest.raises(InputError, match="above 2147483647"):
        write_volume(tmp_path / "c.tif", whole, volume)


def test_bad_tiffs(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"no tiff")
    refused(path, "is not a TIFF image")
    tifffile.imwrite(path, np.zeros((6, 7, 3), np.uint8), photometric="rgb")
    refused(path, r"colour \(RGB\)")
    tifffile.imwrite(path, np.zeros((3, 6, 7), np.uint8), photometric="minisblack")
    refused(path, "several pages")
    tifffile.imwrite(path, np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32))
    content = path.read_bytes()
    for length in (10, 200, len(content) - 100):
        path.write_bytes(content[:length])
        refused(path, "truncated or damaged")
