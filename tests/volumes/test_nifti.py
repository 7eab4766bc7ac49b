from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.volumes.helpers import (
    PROPERTY,
    Place,
    marker,
    places,
    save_nifti,
    voxels_of,
    where_itk,
    where_nibabel,
)

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
Change = Callable[[nib.Nifti1Header], Any]


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


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


@PROPERTY
@given(st.data())
def test_a_marker_keeps_its_place(tmp_path_factory: Any, data: st.DataObject) -> None:
    place = data.draw(places())
    voxel = data.draw(voxels_of(place))
    path = tmp_path_factory.getbasetemp() / "marker.nii"
    save_nifti(path, marker(place.shape, voxel), place)
    volume = read_volume(path)
    np.testing.assert_array_equal(np.argwhere(volume.data), [voxel])
    ours = volume.voxel_to_world(np.array([voxel]))
    np.testing.assert_allclose(ours, where_nibabel(path)[1], atol=1e-5)
    np.testing.assert_allclose(ours, where_itk(path)[1], atol=5e-3)
    # Rotations near 180 degrees lose digits in the quaternion; nothing else may differ.
    if place.codes[0] == 0:
        np.testing.assert_allclose(ours, where_itk(path)[1], atol=1e-4)


@PROPERTY
@given(st.data())
def test_written_labels_keep_header_and_place(tmp_path_factory: Any, data: st.DataObject) -> None:
    place = data.draw(places())
    voxel = data.draw(voxels_of(place))
    folder = tmp_path_factory.getbasetemp()
    source = save_nifti(folder / "source.nii.gz", np.zeros(place.shape, np.float32), place)
    like = read_volume(source)
    target = folder / f"target.{data.draw(st.sampled_from(['nii', 'nii.gz']))}"
    write_labels(target, marker(place.shape, voxel), like)
    np.testing.assert_allclose(
        where_nibabel(target)[1], like.voxel_to_world(np.array([voxel])), atol=1e-5
    )
    before, after = nib.load(source).header, nib.load(target).header
    for name in ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "pixdim"):
        assert before[name].tobytes() == after[name].tobytes()
    for name in ("qform_code", "sform_code", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):
        assert before[name].tobytes() == after[name].tobytes()
    assert after.get_data_dtype() == np.uint8
    back = read_labels(target)
    np.testing.assert_array_equal(back.affine, like.affine)
    seen = [sitk.ReadImage(str(path)) for path in (source, target)]
    assert seen[0].GetOrigin() == seen[1].GetOrigin()
    assert seen[0].GetDirection() == seen[1].GetDirection()


def test_values_scaling_and_types(tmp_path: Path, ramp: np.ndarray) -> None:
    for kind in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, float):
        path = save_raw(tmp_path / "a.nii", ramp.astype(kind), lambda h: None)
        volume = read_volume(path)
        assert volume.data.dtype == kind
        np.testing.assert_array_equal(volume.data, np.asarray(nib.load(path).dataobj))
    # (ITK reads the voxels of a.nii when asked for an a.nii.gz beside it.)
    path = save_raw(tmp_path / "scaled.nii.gz", ramp, lambda h: h.set_slope_inter(0.5, -3))
    volume = read_volume(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, nib.load(path).get_fdata())
    np.testing.assert_allclose(volume.data.T, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    wide = save_raw(tmp_path / "b.nii", ramp.astype(float), lambda h: h.set_slope_inter(0.1, 0))
    assert read_volume(wide).data.dtype == np.float64


def test_foreign_byte_order(tmp_path: Path, ramp: np.ndarray) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(ramp.astype(">i2"), AFFINE, header), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == np.dtype("int16")
    np.testing.assert_array_equal(volume.data, ramp)
    write_volume(tmp_path / "b.nii", ramp.astype(np.float32), volume)
    judged = nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(judged.get_fdata(), ramp)
    assert judged.header.endianness == ">"


def test_nifti_2_and_extensions_survive(tmp_path: Path, ramp: np.ndarray) -> None:
    image = nib.Nifti2Image(ramp, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanner room 2"))
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.data, ramp)
    write_labels(tmp_path / "b.nii.gz", ramp, volume)
    judged = nib.load(tmp_path / "b.nii.gz")
    assert isinstance(judged, nib.Nifti2Image)
    assert judged.header.extensions[0].get_content() == b"scanner room 2"
    np.testing.assert_array_equal(np.asarray(judged.dataobj), ramp)
    assert judged.get_data_dtype() == np.uint8


def test_equal_input_gives_equal_bytes(tmp_path: Path, ramp: np.ndarray) -> None:
    like = Volume(ramp, AFFINE)
    write_labels(tmp_path / "a.nii.gz", ramp, like)
    write_labels(tmp_path / "b.nii.gz", ramp, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_one_volume_of_four(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (4, 5, 6, 3)).astype(np.int16)
    for name in ("a.nii", "a.nii.gz"):
        path = save_raw(tmp_path / name, data, lambda h: None)
        with pytest.raises(
            InputError, match=r"4D file with 3 volumes; choose one of them \(0 to 2"
        ):
            read_volume(path)
        with pytest.raises(InputError, match="no volume 3; choose 0 to 2"):
            read_volume(path, volume_index=3)
        for index in range(3):
            volume = read_volume(path, volume_index=index)
            np.testing.assert_array_equal(volume.data, data[..., index])
        write_labels(tmp_path / "out.nii", volume.data, volume)
        assert nib.load(tmp_path / "out.nii").shape == (4, 5, 6)
    single = save_raw(tmp_path / "b.nii", data[..., :1], lambda h: None)
    assert read_volume(single).shape == (4, 5, 6)
    flat = read_volume(save_raw(tmp_path / "c.nii", data[..., 0], lambda h: None), volume_index=0)
    assert flat.shape == (4, 5, 6)


def test_units_of_the_header_become_millimetres(tmp_path: Path, ramp: np.ndarray) -> None:
    for unit, factor in (("meter", 1e3), ("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)):
        path = save_raw(tmp_path / "a.nii", ramp, lambda h, u=unit: h.set_xyzt_units(u))
        volume = read_volume(path)
        np.testing.assert_allclose(volume.affine[:3], AFFINE[:3] * factor)
        judge = sitk.ReadImage(str(path))
        here = volume.voxel_to_world([1.0, 2, 3]) * [-1, -1, 1]
        np.testing.assert_allclose(judge.TransformIndexToPhysicalPoint((1, 2, 3)), here, rtol=1e-5)
        write_labels(tmp_path / "b.nii", ramp, volume)
        np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").affine, AFFINE)


def test_two_places_in_one_header_are_refused(tmp_path: Path, ramp: np.ndarray) -> None:
    other = np.diag([2.0, 3, 4, 1])
    path = save_raw(tmp_path / "a.nii", ramp, lambda h: h.set_qform(other, 1))
    with pytest.raises(InputError, match="qform and sform disagree by up to") as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    near = AFFINE.copy()
    near[0, 3] += 0.002
    path = save_raw(tmp_path / "a.nii", ramp, lambda h: h.set_qform(near, 1))
    with pytest.raises(InputError, match="disagree"):
        read_volume(path)
    near[0, 3] -= 0.0015
    assert read_volume(save_raw(path, ramp, lambda h: h.set_qform(near, 1))).shape == ramp.shape
    # A code of 0 switches the qform off.
    path = save_raw(path, ramp, lambda h: h.set_qform(other, 0))
    np.testing.assert_array_equal(read_volume(path).affine, AFFINE)


def test_two_spacings_in_one_header_are_refused(tmp_path: Path, ramp: np.ndarray) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["qform_code"] = 0
        header["pixdim"][1:4] = 1

    with pytest.raises(InputError, match="two spacings: 1 x 1 x 1 in pixdim and 2 x 3 x 4"):
        read_volume(save_raw(tmp_path / "a.nii", ramp, change))


def test_rounding_of_a_quaternion_is_no_disagreement(tmp_path: Path) -> None:
    """Near 180 degrees float32 quaternions are off by hundredths of a millimetre."""
    from scipy.spatial.transform import Rotation

    worst = 0.0
    data = np.zeros((64, 64, 64), np.uint8)
    for seed in range(40):
        turn = Rotation.from_rotvec(
            (np.pi - 1e-4) * np.random.default_rng(seed).normal(size=3) / 1.0
        )
        axis = turn.as_rotvec() / np.linalg.norm(turn.as_rotvec())
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_rotvec((np.pi - 2e-4) * axis).as_matrix() * 4
        place = Place((64, 64, 64), affine, (1, 1))
        path = save_nifti(tmp_path / "a.nii", data, place)
        image = nib.load(path)
        corner = np.array([63, 63, 63, 1.0])
        both = (image.get_qform() @ corner, image.get_sform() @ corner)
        worst = max(worst, float(np.abs(both[0] - both[1]).max()))
        np.testing.assert_array_equal(read_volume(path).affine, image.affine)
    assert worst > 1e-3  # the case is real


def test_without_orientation_3d_is_refused_and_2d_is_as_itk_has_it(tmp_path: Path) -> None:
    def none(header: nib.Nifti1Header) -> None:
        header["qform_code"] = header["sform_code"] = 0

    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    with pytest.raises(InputError, match="does not say how it is oriented"):
        read_volume(save_raw(tmp_path / "a.nii", volume, none))
    path = save_raw(tmp_path / "b.nii", volume[0], none)
    flat = read_volume(path)
    judge = sitk.ReadImage(str(path))
    here = flat.voxel_to_world([2.0, 3]) * -1
    np.testing.assert_allclose(judge.TransformIndexToPhysicalPoint((2, 3)), here)
    assert flat.spacing_known

    def nothing(header: nib.Nifti1Header) -> None:
        none(header)
        header["pixdim"][1:4] = 1

    assert not read_volume(save_raw(tmp_path / "c.nii", volume[0], nothing)).spacing_known


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1)])
def test_2d_files_keep_place_and_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    turn = np.deg2rad(25)
    affine = np.eye(4)
    affine[:2, :2] = np.array([[np.cos(turn), np.sin(turn)], [np.sin(turn), -np.cos(turn)]])
    affine[:2, :2] *= [0.7, 1.3]
    affine[:3, 3] = [11, -5, 40]
    affine[2, 2] = 5.0
    data = marker((6, 7), (2, 5)).reshape(shape)
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(data, affine), path)
    volume = read_volume(path)
    assert volume.shape == (6, 7)
    np.testing.assert_allclose(
        volume.voxel_to_world([2.0, 5]), where_nibabel(path)[1][0, :2], atol=1e-5
    )
    np.testing.assert_allclose(
        volume.voxel_to_world([2.0, 5]), where_itk(path)[1][0, :2], atol=1e-5
    )
    write_labels(tmp_path / "b.nii.gz", volume.data, volume)
    judged = nib.load(tmp_path / "b.nii.gz")
    assert judged.shape == shape
    np.testing.assert_array_equal(judged.affine, nib.load(path).affine)
    np.testing.assert_array_equal(np.asarray(judged.dataobj), data)


def test_sheared_sform_is_read_as_nibabel_has_it(tmp_path: Path, ramp: np.ndarray) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.5

    def change(header: nib.Nifti1Header) -> None:
        header["qform_code"] = 0

    path = save_raw(tmp_path / "a.nii", ramp, change, sheared)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)
    write_labels(tmp_path / "b.nii", ramp, volume)
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii").affine, nib.load(path).affine)


# ---------------------------------------------------------------------------------- bad input


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


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
