from __future__ import annotations

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
    AFFINE,
    PROPERTY,
    Place,
    marker,
    places,
    save_nifti,
    save_raw,
    voxels_of,
    where_itk,
    where_nibabel,
)


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
