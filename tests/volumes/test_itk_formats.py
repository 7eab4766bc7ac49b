"""NRRD and MetaImage: what is read, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import (
    read_labels,
    read_volume,
)
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.volumes.helpers import (
    FEW,
    Place,
    marker,
    places,
    refused,
    save_itk,
    save_nifti,
    voxels_of,
    where_itk,
    where_nibabel,
)


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
