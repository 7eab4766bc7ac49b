"""PNG: what is read and written, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import (
    read_labels,
    read_volume,
)
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.volumes.helpers import (
    refused,
)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_has_columns_first_and_no_spacing(tmp_path: Path, kind: type) -> None:
    rows = (np.arange(42).reshape(6, 7) * (1 if kind is np.uint8 else 1000)).astype(kind)
    path = tmp_path / "a.png"
    Image.fromarray(rows).save(path, dpi=(72, 72))
    volume = read_volume(path)
    assert volume.data.dtype == kind
    np.testing.assert_array_equal(volume.data, rows.T)
    assert not volume.spacing_known
    judge = sitk.ReadImage(str(path))
    assert judge.GetPixel(5, 2) == volume.data[5, 2]
    np.testing.assert_array_equal(
        volume.voxel_to_world([5.0, 2]), np.array(judge.TransformIndexToPhysicalPoint((5, 2))) * -1
    )
    write_volume(tmp_path / "b.png", volume.data, volume)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "b.png")), rows)
    # A map of the picture as NIfTI lies where the picture lies, and claims no millimetres either.
    write_volume(tmp_path / "c.nii.gz", volume.data, volume)
    image = read_volume(tmp_path / "c.nii.gz")
    assert not image.spacing_known
    np.testing.assert_array_equal(image.affine, volume.affine)
    assert sitk.ReadImage(str(tmp_path / "c.nii.gz")).GetDirection() == judge.GetDirection()


def test_label_pngs(tmp_path: Path) -> None:
    rows = np.array([[0, 1, 1, 0]] * 4, dtype=np.uint8)
    palette = Image.fromarray(rows).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    palette.putdata(rows.ravel().tolist())
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png").data, rows.T)
    refused(tmp_path / "p.png", r"colour \(RGB\)")
    Image.fromarray(rows * 255).convert("1").save(tmp_path / "1.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "1.png").data > 0, rows.T > 0)
    like = read_volume(tmp_path / "1.png")
    write_labels(tmp_path / "out.png", np.full((4, 4), 300), like)
    assert read_labels(tmp_path / "out.png").data.dtype == np.uint16


def test_bad_pngs(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    refused(path, "does not exist")
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_bytes(b"GIF89a nonsense")
    refused(path, "is not a PNG")
    for mode in ("RGB", "RGBA", "LA"):
        Image.new(mode, (6, 6)).save(path)
        refused(path, r"colour \(RGB\)")
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    for length in (20, 60, len(content) // 2):
        path.write_bytes(content[:length])
        refused(path, "truncated or damaged|is not a PNG")
    frames = [Image.fromarray(noise), Image.fromarray(noise + 1)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused(path, "animation")
    # A header that announces 10^9 pixels.
    broken = bytearray(content)
    broken[16:24] = (40_000).to_bytes(4, "big") + (40_000).to_bytes(4, "big")
    broken[29:33] = zlib.crc32(bytes(broken[12:29])).to_bytes(4, "big")
    path.write_bytes(broken)
    refused(path, "too many pixels")


def test_png_cannot_hold_places_volumes_or_fractions(tmp_path: Path) -> None:
    placed = Volume(np.zeros((4, 5), np.uint8), np.diag([2.0, 2, 1, 1]))
    with pytest.raises(InputError, match="cannot keep the spacing and position"):
        write_labels(tmp_path / "a.png", placed.data, placed)
    pixels = np.diag([-1.0, -1, 1, 1])
    flat = Volume(np.zeros((4, 5), np.float32), pixels, spacing_known=False)
    with pytest.raises(InputError, match="only whole numbers"):
        write_volume(tmp_path / "a.png", flat.data, flat)
    solid = Volume(np.zeros((4, 5, 6), np.uint8), pixels, spacing_known=False)
    for name in ("a.png", "a.tif"):
        with pytest.raises(InputError, match="cannot hold a 3D image"):
            write_volume(tmp_path / name, solid.data, solid)
    assert list(tmp_path.iterdir()) == []
