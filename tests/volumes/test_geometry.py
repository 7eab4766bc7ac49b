from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.errors import InputError
from napari_gemini.volumes import geometry
from napari_gemini.volumes.plane import plane_affine, squeezed_axes
from napari_gemini.volumes.volume import Volume
from tests.volumes.helpers import PROPERTY, Place, places


@PROPERTY
@given(places())
def test_decompose_and_compose_are_inverse(place: Place) -> None:
    affine = geometry.compose(*geometry.decompose(place.affine, 3))
    np.testing.assert_allclose(affine, place.affine, atol=1e-12)
    assert geometry.spacing_of(affine, 3) == pytest.approx(nib.affines.voxel_sizes(affine))


@PROPERTY
@given(places())
def test_canonical_axes_agree_with_nibabel(place: Place) -> None:
    volume = Volume(np.zeros(place.shape), place.affine)
    assert volume.axcodes == nib.aff2axcodes(place.affine)
    permutation, flips = geometry.canonical_axes(place.affine, 3)
    data = np.arange(np.prod(place.shape)).reshape(place.shape)
    moved = geometry.reorient_array(data, permutation, flips)
    affine = geometry.reorient_affine(place.affine, place.shape, permutation, flips)
    judged = nib.as_closest_canonical(nib.Nifti1Image(data.astype(np.int32), place.affine))
    np.testing.assert_array_equal(moved, np.asarray(judged.dataobj))
    np.testing.assert_allclose(affine, judged.affine, atol=1e-4)


@PROPERTY
@given(places(), st.integers(0, 2**31))
def test_points_go_there_and_back(place: Place, seed: int) -> None:
    volume = Volume(np.zeros(place.shape), place.affine)
    points = np.random.default_rng(seed).uniform(-5, 20, (7, 3))
    world = volume.voxel_to_world(points)
    np.testing.assert_allclose(world, nib.affines.apply_affine(place.affine, points), atol=1e-9)
    np.testing.assert_allclose(volume.world_to_voxel(world), points, atol=1e-9)
    np.testing.assert_array_equal(
        geometry.flip_ras_lps(world), geometry.transform_points(volume.lps_affine, points)
    )


def test_ras_lps_flips_twice_to_the_same_bits() -> None:
    affine = np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_array_equal(geometry.ras_lps(geometry.ras_lps(affine)), affine)


def test_oblique_is_told_from_permuted_and_flipped() -> None:
    data = np.zeros((3, 4, 5))
    permuted = np.array([[0, 0, -2, 5], [3, 0, 0, 1], [0, 1, 0, 2], [0, 0, 0, 1.0]])
    assert not Volume(data, permuted).is_oblique
    assert Volume(data, permuted).axcodes == ("A", "S", "L")
    tilted = geometry.compose([0, 0, 0], [1, 1, 1], [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    assert Volume(data, tilted).is_oblique


@PROPERTY
@given(places(), places())
def test_largest_distance_bounds_every_voxel(first: Place, second: Place) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in first.shape], indexing="ij"), -1)
    there = nib.affines.apply_affine(first.affine, grid)
    here = nib.affines.apply_affine(second.affine, grid)
    largest = np.linalg.norm(there - here, axis=-1).max()
    assert geometry.largest_distance(first.affine, second.affine, first.shape) == pytest.approx(
        largest
    )


def test_bounding_extent_of_a_turned_box() -> None:
    affine = geometry.compose([5, 5], [2, 1], np.array([[0.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(geometry.bounding_extent(affine, (4, 3)), [2.0, 6.0])


def test_orthonormal_error_sees_shear() -> None:
    affine = np.eye(4)
    assert geometry.orthonormal_error(affine, 3) == 0
    affine[0, 1] = 0.5
    assert geometry.orthonormal_error(affine, 3) > 0.4


def test_squeezed_axes_drops_a_single_slice_only() -> None:
    assert squeezed_axes((5, 6, 1)) == (0, 1)
    assert squeezed_axes((5, 1, 6)) == (0, 2)
    assert squeezed_axes((5, 6)) == (0, 1)
    assert squeezed_axes((5, 6, 7)) == (0, 1, 2)


def test_plane_of_an_axial_slice_is_its_upper_left_part() -> None:
    affine = np.array([[0.3, -1.7, 0, 5], [2.2, 0.1, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    flat = plane_affine(affine)
    np.testing.assert_array_equal(flat[:2, :2], affine[:2, :2])
    np.testing.assert_array_equal(flat[:2, 3], [5, 6])


def test_plane_of_a_coronal_and_a_sagittal_slice_keep_their_world_axes() -> None:
    coronal = np.array([[-2, 0, 0, 1], [0, 0, 4, 2], [0, 3, 0, 3], [0, 0, 0, 1.0]])
    flat = plane_affine(coronal)
    np.testing.assert_array_equal(flat[:2, [0, 1, 3]], [[-2, 0, 1], [0, 3, 3]])
    sagittal = np.array([[0, 0, 4, 1], [-2, 0, 0, 2], [0, 3, 0, 3], [0, 0, 0, 1.0]])
    flat = plane_affine(sagittal)
    np.testing.assert_array_equal(flat[:2, [0, 1, 3]], [[-2, 0, 2], [0, 3, 3]])
    slab = np.array([[2, 0, 0, 1], [0, 5, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1.0]])
    np.testing.assert_array_equal(plane_affine(slab, (0, 2))[:2, [0, 1, 3]], [[2, 0, 1], [0, 3, 3]])


@PROPERTY
@given(places(oblique=True))
def test_plane_of_a_tilted_slice_keeps_lengths_and_angles(place: Place) -> None:
    flat = plane_affine(place.affine)
    np.testing.assert_allclose(
        flat[:2, :2].T @ flat[:2, :2],
        place.affine[:3, :2].T @ place.affine[:3, :2],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.__setitem__((0, 0), np.nan), "not numbers"),
        (lambda a: a.__setitem__((slice(0, 3), 1), 0), "spacing of zero"),
        (lambda a: a.__setitem__((slice(0, 3), 1), a[:3, 0]), "singular"),
    ],
)
def test_volumes_refuse_impossible_affines(change: object, words: str) -> None:
    affine = np.diag([1.0, 2, 3, 1])
    change(affine)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        Volume(np.zeros((4, 4, 4)), affine)


def test_volumes_refuse_programming_mistakes() -> None:
    with pytest.raises(ValueError, match="2 or 3 axes"):
        Volume(np.zeros(4), np.eye(4))
    with pytest.raises(ValueError, match="4x4"):
        Volume(np.zeros((4, 4)), np.eye(3))
    with pytest.raises(ValueError, match="third row"):
        Volume(np.zeros((4, 4)), np.diag([1.0, 1, 2, 1]))
    with pytest.raises(ValueError, match="not on the grid"):
        Volume(np.zeros((4, 4)), np.eye(4)).with_data(np.zeros((4, 5)))


def test_volume_affine_cannot_be_changed_afterwards() -> None:
    affine = np.eye(4)
    volume = Volume(np.zeros((4, 4)), affine)
    affine[0, 3] = 5
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 5
    assert volume.spacing == (1.0, 1.0)
    assert volume.name == "the scan"
    assert volume.axcodes == ("R", "A")
