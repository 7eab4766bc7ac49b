"""Slices are oriented as radiologists expect, whatever the voxel order of the file."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gemini.evaluation.slices import VIEWS, Slicer, sample
from napari_gemini.volumes.volume import Volume

AXIAL, CORONAL, SAGITTAL = VIEWS
ORIENTATIONS = ["RAS", "LPS", "LAS", "PIR", "SRA", "ALI"]


def stored_as(codes, data, affine):
    """Return a RAS array as a file with other axes would hold it."""
    axes = nib.orientations.axcodes2ornt
    turn = nib.orientations.ornt_transform(axes("RAS"), axes(codes))
    turned = nib.Nifti1Image(data, affine).as_reoriented(turn)
    return Volume(np.asarray(turned.dataobj), turned.affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_same_picture_from_every_voxel_order(codes):
    data = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    volume = stored_as(codes, data, affine)
    assert nib.aff2axcodes(volume.affine) == tuple(codes)
    slicer = Slicer(volume)
    # RAS index (i, j, k): the picture starts at the patient's right and front, or head.
    position = (1, 2, 3)
    axial = slicer.cut(volume.data, AXIAL, position)
    assert axial.shape == (5, 4)
    assert axial[0, 0] == data[-1, -1, 3]
    assert axial[-1, -1] == data[0, 0, 3]
    assert axial[0, -1] == data[0, -1, 3]
    coronal = slicer.cut(volume.data, CORONAL, position)
    assert coronal.shape == (6, 4)
    assert (coronal[0, 0], coronal[-1, 0]) == (data[-1, 2, -1], data[-1, 2, 0])
    sagittal = slicer.cut(volume.data, SAGITTAL, position)
    assert sagittal.shape == (6, 5)
    assert (sagittal[0, 0], sagittal[0, -1]) == (data[1, -1, -1], data[1, 0, -1])
    assert slicer.size(AXIAL) == (4 * 2.0, 5 * 1.0)
    assert slicer.size(SAGITTAL) == (5 * 1.0, 6 * 3.0)


def test_letters():
    assert AXIAL.letters == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert CORONAL.letters == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert SAGITTAL.letters == {"left": "A", "right": "P", "top": "S", "bottom": "I"}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_pixels_lie_where_their_voxels_do(seed):
    """Oblique, anisotropic and permuted affines: picture, world and voxel agree."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 7, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    volume = Volume(rng.random(shape).astype(np.float32), affine)
    slicer = Slicer(volume)
    position = slicer.middle()
    for view in slicer.views:
        world = slicer.world_points(view, position)
        picture = slicer.cut(volume.data, view, position)
        assert sample(volume, world) == pytest.approx(picture, abs=1e-5)
        x, y = np.moveaxis(slicer.picture_points(view, world), -1, 0)
        assert x[0] == pytest.approx(np.arange(picture.shape[1]) * slicer.spacing[view.across])
        assert y[:, 0] == pytest.approx(np.arange(picture.shape[0]) * slicer.spacing[view.down])
        wider = slicer.world_points(view, position, (2, 1))
        assert wider[1:-1, 2:-2] == pytest.approx(world)
        left, right, bottom, top = slicer.extent(view, (2, 1))
        assert right - left == pytest.approx(slicer.size(view)[0] + 4 * slicer.spacing[view.across])
        assert bottom - top == pytest.approx(slicer.size(view)[1] + 2 * slicer.spacing[view.down])


def test_picture_files_show_as_they_are_stored():
    """A PNG (i is the column, j the row) is not turned."""
    data = np.arange(12.0).reshape(4, 3)
    slicer = Slicer(Volume(data, np.diag([-1.0, -1, 1, 1]), spacing_known=False))
    (view,) = slicer.views
    assert (slicer.cut(data, view, (0, 0)) == data.T).all()


def test_volume_of_one_slice_shows_only_what_is_not_a_line():
    slicer = Slicer(Volume(np.zeros((5, 4, 1)), np.eye(4)))
    assert [view.name for view in slicer.views] == ["axial"]


def test_middle_is_that_of_the_mask_in_canonical_axes():
    mask = np.zeros((9, 9, 9), bool)
    mask[0:3, 5:8, 4] = True
    slicer = Slicer(Volume(mask.astype(float), np.diag([-1.0, 1, 1, 1])))
    assert slicer.middle(mask) == (7, 6, 4)
    assert slicer.middle(np.zeros_like(mask)) == (4, 4, 4)


def test_sampling_outside_is_nan():
    volume = Volume(np.ones((3, 3)), np.eye(4))
    values = sample(volume, np.array([[0.0, 0.0], [2.5, 0.0], [2.6, 0.0], [-9.0, 1.0]]))
    assert np.isnan(values).tolist() == [False, False, True, True]
