"""NRRD, MetaImage, PNG, TIFF and DICOM: what is read, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_gemini.errors import InputError
from napari_gemini.volumes.itk_image import ItkGeometry
from napari_gemini.volumes.reading import (
    is_supported,
    read_labels,
    read_volume,
    smallest_label_type,
)
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.volumes.helpers import (
    FEW,
    Place,
    marker,
    places,
    save_itk,
    save_nifti,
    voxels_of,
    where_itk,
    where_nibabel,
)


def refused(path: Path, words: str, read: Any = read_volume) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


# ----------------------------------------------------------------------------- NRRD, MetaImage


@FEW
@given(st.data(), st.sampled_from(["nrrd", "mha", "mhd", "nhdr"]), st.sampled_from([2, 3]))
def test_a_marker_keeps_its_place(
    tmp_path_factory: Any, data: st.DataObject, suffix: str, ndim: int
) -> None:
    place = data.draw(places(ndim))
    voxel = data.draw(voxels_of(place))
    path = tmp_path_factory.getbasetemp() / f"marker.{suffix}"
    save_itk(path, marker(place.shape, voxel), place)
    volume = read_volume(path)
    np.testing.assert_array_equal(np.argwhere(volume.data), [voxel])
    world = volume.voxel_to_world(np.array([voxel], float))
    np.testing.assert_allclose(world, where_itk(path)[1], atol=1e-9)
    np.testing.assert_allclose(volume.affine, place.affine, atol=1e-9)


@FEW
@given(st.data(), st.sampled_from(["nrrd", "mha", "nii.gz"]), st.sampled_from([2, 3]))
def test_a_marker_keeps_its_place_from_format_to_format(
    tmp_path_factory: Any, data: st.DataObject, suffix: str, ndim: int
) -> None:
    place = data.draw(places(ndim))
    voxel = data.draw(voxels_of(place))
    folder = tmp_path_factory.getbasetemp()
    like = read_volume(save_itk(folder / "from.mha", marker(place.shape, voxel), place))
    written = folder / f"to.{suffix}"
    write_labels(written, marker(place.shape, voxel, 200), like)
    world = like.voxel_to_world(np.array([voxel], float))
    np.testing.assert_allclose(where_itk(written)[1], world, atol=1e-2)
    if suffix == "nii.gz":
        np.testing.assert_allclose(where_nibabel(written)[1][:, :ndim], world, atol=1e-4)
    back = read_labels(written)
    assert back.data.dtype == np.uint8
    np.testing.assert_array_equal(np.argwhere(back.data == 200), [voxel])


@FEW
@given(st.data(), st.sampled_from(["nrrd", "mha"]))
def test_nifti_to_itk_formats(tmp_path_factory: Any, data: st.DataObject, suffix: str) -> None:
    place = data.draw(places())
    voxel = data.draw(voxels_of(place))
    folder = tmp_path_factory.getbasetemp()
    path = save_nifti(folder / "source.nii", marker(place.shape, voxel), place)
    like = read_volume(path)
    write_volume(folder / f"to.{suffix}", like.data, like)
    # The numbers ITK sees are exactly those it saw before.
    before, after = (sitk.ReadImage(str(p)) for p in (path, folder / f"to.{suffix}"))
    assert before.GetSize() == after.GetSize()
    np.testing.assert_allclose(before.GetOrigin(), after.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(before.GetDirection(), after.GetDirection(), atol=1e-9)
    np.testing.assert_allclose(
        where_nibabel(path)[1], where_itk(folder / f"to.{suffix}")[1], atol=0.01
    )


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_a_single_slice_is_an_image_and_goes_back_as_it_was(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    data = marker((5, 6, 1), (3, 4, 0))
    path = save_itk(tmp_path / f"a.{suffix}", data, Place((5, 6, 1), affine))
    volume = read_volume(path)
    assert volume.shape == (5, 6)
    np.testing.assert_allclose(volume.voxel_to_world([3.0, 4]), [4, 32])
    write_labels(tmp_path / f"b.{suffix}", volume.data, volume)
    judged = sitk.ReadImage(str(tmp_path / f"b.{suffix}"))
    assert judged.GetSize() == (5, 6, 1)
    assert judged.GetOrigin() == (-10, -20, 30)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(judged).T, data)


def test_a_coronal_slice_keeps_right_and_superior(tmp_path: Path) -> None:
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    data = marker((5, 1, 6), (3, 0, 4))
    volume = read_volume(save_itk(tmp_path / "a.nrrd", data, Place((5, 1, 6), affine)))
    assert volume.shape == (5, 6)
    np.testing.assert_array_equal(np.argwhere(volume.data), [[3, 4]])
    np.testing.assert_allclose(volume.voxel_to_world([3.0, 4]), [4, 46])
    flat = read_volume(save_nifti(tmp_path / "a.nii", data, Place((5, 1, 6), affine)))
    np.testing.assert_allclose(flat.affine, volume.affine)
    np.testing.assert_array_equal(flat.data, volume.data)


@pytest.mark.parametrize(
    ("name", "compress"), [("a.nrrd", 0), ("a.nrrd", 1), ("a.mha", 0), ("a.mha", 1)]
)
def test_truncated_itk_files(tmp_path: Path, name: str, compress: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (7, 6, 5)).astype(np.int16)
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), bool(compress))
    content = path.read_bytes()
    for length in [5, 60, len(content) - 200, len(content) - 40]:
        path.write_bytes(content[:length])
        refused(path, "truncated or damaged|is not an? ")
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_bytes(b"no image " * 100)
    refused(path, "is not an? ")


NRRD = b"""NRRD0004
# comment
type: short
dimension: 3
space: left-posterior-superior
sizes: 4 5 6
space directions: (2,0,0) (0,3,0) (0,0,4)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,2,3)
"""
META = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 1 2 3
ElementSpacing = 2 3 4
DimSize = 4 5 6
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
VOXELS = np.arange(120, dtype="<i2").tobytes()


def nrrd(path: Path, *changes: tuple[bytes, bytes], voxels: bytes = VOXELS) -> Path:
    head = NRRD
    for old, new in changes:
        assert old in head
        head = head.replace(old, new)
    path.write_bytes(head + b"\n" + voxels)
    return path


def meta(path: Path, *changes: tuple[bytes, bytes], voxels: bytes = VOXELS) -> Path:
    head = META
    for old, new in changes:
        assert old in head
        head = head.replace(old, new)
    path.write_bytes(head + voxels)
    return path


def test_hand_written_headers_are_read(tmp_path: Path) -> None:
    expected = np.arange(120).reshape((4, 5, 6), order="F")
    for path in (nrrd(tmp_path / "a.nrrd"), meta(tmp_path / "a.mha")):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data, expected)
        np.testing.assert_array_equal(volume.voxel_to_world([0.0, 0, 1]), [-1, -2, 7])
    crlf = NRRD.replace(b"\n", b"\r\n") + b"\r\n" + VOXELS
    (tmp_path / "b.nrrd").write_bytes(crlf)
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nrrd").data, expected)


def test_itk_sizes_that_lie(tmp_path: Path) -> None:
    huge = (b"4 5 6", b"4000 5000 600")
    refused(nrrd(tmp_path / "a.nrrd", huge), r"announces 24\.0 GB of voxels and the file holds")
    refused(
        nrrd(tmp_path / "a.nrrd", huge, (b"encoding: raw", b"encoding: gzip")), "announces 24.0 GB"
    )
    refused(nrrd(tmp_path / "a.nrrd", huge, (b"raw", b"ascii")), "announces 24.0 GB")
    refused(nrrd(tmp_path / "a.nrrd", huge, (b"raw", b"bzip2")), "announces 24.0 GB")
    refused(meta(tmp_path / "a.mha", huge), "announces 24.0 GB")
    refused(meta(tmp_path / "a.mha", huge, (b"Compressed", b"CompressedData = True\n#")), "24.0 GB")
    refused(
        meta(tmp_path / "a.mha", huge, (b"BinaryData = True", b"BinaryData = False")), "24.0 GB"
    )
    refused(nrrd(tmp_path / "a.nrrd", (b"4 5 6", b"4 -5 6")), "its header gives the size")
    refused(meta(tmp_path / "a.mha", (b"4 5 6", b"x")), "its header gives the size")


def test_itk_spacings_that_make_no_sense(tmp_path: Path) -> None:
    for value in (b"0", b"-3", b"nan", b"inf", b"much"):
        refused(
            meta(tmp_path / "a.mha", (b"Spacing = 2 3 4", b"Spacing = 2 " + value + b" 4")),
            r"ElementSpacing\); every value has to be a positive",
        )
        spacings = b"spacings: 2 " + value + b" 4"
        refused(
            nrrd(tmp_path / "a.nrrd", (b"space directions: (2,0,0) (0,3,0) (0,0,4)", spacings)),
            r"spacings\); every value has to be a positive",
        )
    refused(nrrd(tmp_path / "a.nrrd", (b"(0,3,0)", b"(0,0,0)")), "spacing of zero")
    refused(nrrd(tmp_path / "a.nrrd", (b"(0,3,0)", b"(3,0,0)")), "singular affine")
    refused(
        meta(tmp_path / "a.mha", (b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 0 0 0 0 1")), "singular affine"
    )


def test_nrrd_without_orientation_is_refused_in_3d_only(tmp_path: Path) -> None:
    no_space = (b"space: left-posterior-superior\n", b"")
    steps = (b"space directions: (2,0,0) (0,3,0) (0,0,4)", b"spacings: 2 3 4")
    origin = (b"space origin: (1,2,3)\n", b"")
    refused(nrrd(tmp_path / "a.nrrd", no_space, steps, origin), "does not say how it is oriented")
    flat = nrrd(
        tmp_path / "b.nrrd",
        no_space,
        (b"space directions: (2,0,0) (0,3,0) (0,0,4)", b"spacings: 2 3"),
        origin,
        (b"4 5 6", b"4 5"),
        (b"dimension: 3", b"dimension: 2"),
        (b"domain domain domain", b"domain domain"),
        voxels=VOXELS[:40],
    )
    assert read_volume(flat).spacing == (2, 3)


def test_detached_voxels(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS)
    beside = (b"ElementDataFile = LOCAL", b"ElementDataFile = a.raw")
    assert read_volume(meta(tmp_path / "a.mhd", beside, voxels=b"")).shape == (4, 5, 6)
    named = (b"encoding: raw", b"encoding: raw\ndata file: a.raw")
    assert read_volume(nrrd(tmp_path / "a.nhdr", named, voxels=b"")).shape == (4, 5, 6)
    (tmp_path / "a.raw").write_bytes(VOXELS[:-2])
    refused(tmp_path / "a.mhd", "truncated")
    refused(tmp_path / "a.nhdr", "truncated")
    (tmp_path / "a.raw").unlink()
    refused(tmp_path / "a.mhd", "keeps its voxels in a.raw, which is missing")
    for number in range(6):
        (tmp_path / f"s{number}.raw").write_bytes(VOXELS[40 * number : 40 * number + 40])
    several = (b"ElementDataFile = LOCAL", b"ElementDataFile = s%d.raw 0 5 1")
    assert read_volume(meta(tmp_path / "b.mhd", several, voxels=b"")).shape == (4, 5, 6)


def test_itk_colour_vector_complex_and_4d(tmp_path: Path) -> None:
    def save(name: str, image: sitk.Image) -> Path:
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    rgb = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    vectors = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True)
    refused(save("a.nrrd", rgb), r"colour \(RGB\)")
    refused(save("a.mha", vectors), "3 channels per voxel")
    refused(save("b.nrrd", sitk.Image([4, 5, 6], sitk.sitkComplexFloat32)), "complex voxels")
    refused(save("c.mha", sitk.Image([4, 5, 6, 2], sitk.sitkInt16)), "4D image")
    refused(save("d.mha", sitk.Image([4, 1, 1], sitk.sitkInt16)), "two or three dimensions")
    with pytest.raises(InputError, match="only NIfTI files have several"):
        read_volume(save("e.mha", sitk.Image([4, 5, 6], sitk.sitkInt16)), volume_index=2)


def test_zlib_bomb_in_a_meta_image(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(240), 9)
    path = meta(
        tmp_path / "a.mha", (b"CompressedData = False", b"CompressedData = True"), voxels=packed
    )
    assert read_volume(path).shape == (4, 5, 6)


# ---------------------------------------------------------------------------------------- PNG


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


# --------------------------------------------------------------------------------------- TIFF


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


# -------------------------------------------------------------------------------------- DICOM


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


# ------------------------------------------------------------------------------------ dispatch


def test_unsupported_names(tmp_path: Path) -> None:
    assert is_supported("A.NII.GZ")
    assert not is_supported(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "does not exist")
    (tmp_path / "a.jpg").write_bytes(b"x")
    refused(tmp_path / "a.jpg", "not a kind of image this program reads")
    refused(tmp_path / "a.jpg", "not a kind of image", read_labels)
    like = Volume(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="suffix this program does not write"):
        write_volume(tmp_path / "b.jpg", like.data, like)
    (tmp_path / "d.nii").mkdir()
    refused(tmp_path / "d.nii", "without a DICOM series")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_labels_have_to_be_whole_numbers_from_zero(tmp_path: Path, name: str) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    path = tmp_path / name
    write_volume(path, np.full(like.shape, 3.0), like)
    assert read_labels(path).data.dtype == np.uint8
    write_volume(path, np.full(like.shape, 3.25), like)
    refused(path, "not whole numbers", read_labels)
    write_volume(path, np.full(like.shape, -1, np.int16), like)
    refused(path, "negative labels", read_labels)
    write_volume(path, np.full(like.shape, 1e12), like)
    refused(path, "renumber", read_labels)
    with pytest.raises(InputError, match="whole numbers"):
        write_labels(path, np.full(like.shape, 0.5), like)
    with pytest.raises(InputError, match="0 or more"):
        write_labels(path, np.full(like.shape, -2), like)
    with pytest.raises(InputError, match="too large"):
        write_labels(path, np.full(like.shape, 2**40), like)
    with pytest.raises(ValueError, match="not on the grid"):
        write_labels(path, np.zeros((4, 4, 4)), like)


def test_labels_take_the_smallest_type(tmp_path: Path) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    for largest, kind in ((0, "uint8"), (255, "uint8"), (256, "uint16"), (70_000, "uint32")):
        assert smallest_label_type(largest) == kind
        labels = np.zeros(like.shape)
        labels[1, 2, 3] = largest
        write_labels(tmp_path / "a.nii.gz", labels, like)
        back = read_labels(tmp_path / "a.nii.gz")
        assert back.data.dtype == kind
        np.testing.assert_array_equal(back.data, labels)


def test_masks_and_wide_numbers_are_written_as_something_readable(tmp_path: Path) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    rng = np.random.default_rng(0)
    for data, kind in (
        (rng.random(like.shape) > 0.5, "uint8"),
        (rng.random(like.shape), "float32"),
        (rng.integers(-5, 5, like.shape), "int32"),
        (rng.integers(2**31, 2**32, like.shape), "uint32"),
        (rng.integers(2**40, 2**41, like.shape), "int64"),
    ):
        write_volume(tmp_path / "a.nii", data, like)
        back = read_volume(tmp_path / "a.nii")
        assert back.data.dtype == kind
        np.testing.assert_allclose(back.data, data, rtol=1e-7)
