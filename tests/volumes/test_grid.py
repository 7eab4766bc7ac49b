from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import check_image, check_labels_match, readable_bytes
from napari_gemini.volumes.geometry import bounding_extent, corner_indices
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    center_of_mass,
    check_fits,
    choose_grid,
    image_from_grid,
    image_to_grid,
    labels_from_grid,
    labels_to_grid,
    overhang,
    place_by_affine,
    place_by_center_of_mass,
    points_from_grid,
    points_to_grid,
    probabilities_from_grid,
)
from napari_gemini.volumes.volume import Volume
from tests.volumes.helpers import PROPERTY, Place, blocks, marker, places, voxels_of

DIMENSIONS = st.sampled_from([2, 3])


def volume_at(place: Place, data: np.ndarray | None = None) -> Volume:
    return Volume(np.zeros(place.shape, np.float32) if data is None else data, place.affine)


def linear(volume: Volume, slope: np.ndarray) -> Volume:
    """An image whose values are a linear function of the position in the world."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), -1)
    return volume.with_data(volume.voxel_to_world(voxels) @ slope + 500)


# ---------------------------------------------------------------------------------- the grid


def test_grid_is_canonical_and_centred() -> None:
    grid = StudyGrid((16, 32, 48), (1.0, 2.0, 0.5))
    corners = corner_indices(grid.shape) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    np.testing.assert_allclose(corners.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(grid.affine[:3, :3], np.diag([1, 2, 0.5]))
    assert StudyGrid((16, 16), np.float32(2)).spacings == (2.0, 2.0)
    assert StudyGrid((16, 16), 2).affine[2, 2] == 1
    for shape, spacing in (((16,), 1), ((16, 16), 0), ((16, 16), (1, 2, 3)), ((0, 16), 1)):
        with pytest.raises(ValueError, match=r"study grid|spacing"):
            StudyGrid(shape, spacing)  # type: ignore[arg-type]


def test_placement_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="4x4"):
        Placement(np.eye(3))
    with pytest.raises(ValueError, match="singular"):
        Placement(np.diag([1.0, 0, 1, 1]))


@PROPERTY
@given(st.data(), DIMENSIONS)
def test_every_scan_lies_on_the_chosen_grid(data: st.DataObject, ndim: int) -> None:
    scans = [
        volume_at(place, blocks(np.random.default_rng(i), place.shape))
        for i, place in enumerate(data.draw(st.lists(places(ndim), min_size=1, max_size=3)))
    ]
    grid = choose_grid(scans)
    assert all(n % 16 == 0 for n in grid.shape)
    finest = np.median([min(scan.spacing) for scan in scans])
    assert grid.spacing == pytest.approx(finest, rel=1e-5)
    for scan in scans:
        placement = place_by_center_of_mass(scan, grid)
        assert overhang(scan, grid, placement) == 0
        corners = points_to_grid(scan.voxel_to_world(corner_indices(scan.shape)), grid, placement)
        assert (corners > -1e-2).all()
        assert (corners < np.array(grid.shape) - 1 + 1e-2).all()
    # And the grid is no larger than it has to be.
    extent = np.max([bounding_extent(scan.affine, scan.shape) for scan in scans], axis=0)
    assert (np.array(grid.shape) - 16 < extent / grid.spacing + 1).all()


def test_the_size_of_the_grid() -> None:
    scans = [volume_at(Place(shape, np.eye(4))) for shape in ((42, 50, 30), (35, 59, 47))]
    assert choose_grid(scans) == StudyGrid((48, 64, 48), 1.0)
    assert choose_grid(scans, spacing=2.0).shape == (32, 32, 32)
    assert choose_grid(scans, multiple=8).shape == (48, 64, 48)
    coarse = choose_grid(scans, max_voxels=60_000)
    assert np.prod(coarse.shape) <= 60_000
    assert 1 < coarse.spacing < 2
    exact = Volume(np.zeros((48, 64, 48)), np.diag([0.9765620231628418] * 3 + [1]))
    assert choose_grid([exact]) == StudyGrid((48, 64, 48), 0.976562)


def test_grids_that_cannot_be() -> None:
    flat, solid = volume_at(Place((5, 6), np.eye(4))), volume_at(Place((5, 6, 7), np.eye(4)))
    with pytest.raises(InputError, match="no scan"):
        choose_grid([])
    with pytest.raises(InputError, match="one dimension"):
        choose_grid([solid, flat])
    with pytest.raises(InputError, match="above 0 mm"):
        choose_grid([solid], spacing=-1)
    with pytest.raises(InputError, match="at least 4096 voxels"):
        choose_grid([solid], max_voxels=100)


def test_a_scan_much_larger_than_the_grid_is_refused() -> None:
    grid = StudyGrid((48, 64, 48), 1.0)
    head = volume_at(Place((181, 217, 181), np.eye(4)))
    with pytest.raises(InputError, match=r"measures 180 x 216 x 180 mm and the study grid 48 x 64"):
        place_by_center_of_mass(head, grid)
    with pytest.raises(InputError, match="2D and the study is 3D"):
        check_fits(volume_at(Place((5, 6), np.eye(4))), grid)
    # A little larger is cropped, and the share that is lost is known.
    larger = volume_at(Place((60, 64, 48), np.eye(4)))
    placement = place_by_center_of_mass(larger, grid)
    assert overhang(larger, grid, placement) == pytest.approx(12 / 60)


# ------------------------------------------------------------------------------------ placing


def test_center_of_mass() -> None:
    data = np.zeros((9, 9, 9))
    data[6, 2, 4] = 5
    np.testing.assert_allclose(center_of_mass(Volume(data, np.eye(4))), [6, 2, 4])
    np.testing.assert_allclose(center_of_mass(Volume(data * 0, np.eye(4))), [4, 4, 4])


def test_shift_to_the_centre_of_mass_stays_inside_the_grid() -> None:
    grid = StudyGrid((16, 16, 16), 1.0)
    data = np.zeros((10, 15, 16), np.float32)
    data[:3, :3, :3] = 1
    scan = Volume(data, np.eye(4))
    placement = place_by_center_of_mass(scan, grid)
    assert placement.method == "center"
    assert overhang(scan, grid, placement) == 0
    # The first axis has 3 voxels to each side, the second half a voxel, the third none.
    low = points_to_grid([0.0, 0, 0], grid, placement)
    np.testing.assert_allclose(low, [6, 1, 0], atol=1e-9)


@PROPERTY
@given(st.data(), DIMENSIONS)
def test_placing_puts_a_voxel_onto_a_grid_voxel(data: st.DataObject, ndim: int) -> None:
    place = data.draw(places(ndim, oblique=False, spacing=(1.5, 1.5)))
    scan = volume_at(place, blocks(np.random.default_rng(0), place.shape))
    grid = choose_grid([scan])
    placement = place_by_center_of_mass(scan, grid)
    where = points_to_grid(scan.voxel_to_world(corner_indices(scan.shape)), grid, placement)
    np.testing.assert_allclose(where, np.rint(where), atol=1e-6)


def textured(shape: tuple[int, ...], affine: np.ndarray, world: np.ndarray) -> Volume:
    """A textured ellipsoid; `world` maps points of this scan to points of the texture."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    d = len(shape)
    texture = gaussian_filter(np.random.default_rng(5).normal(size=(40,) * d), 2.5)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    points = voxels @ affine[:d, :d].T + affine[:d, 3]
    points = points @ world[:d, :d].T + world[:d, 3]
    values = map_coordinates(texture, np.moveaxis(points, -1, 0) + 19.5, order=1)
    inside = np.linalg.norm(points / np.array([14.0, 11, 9])[:d], axis=-1) < 1
    return Volume(((2 + values / texture.std()) * inside).astype(np.float32), affine)


@pytest.mark.parametrize("ndim", [2, 3])
def test_affine_placement_finds_a_known_map_and_repeats_itself(ndim: int) -> None:
    shape = (40, 36, 32)[:ndim]
    affine = np.diag([-1.0, -1, 1, 1])
    affine[:ndim, 3] = np.array([19.5, 17.5, -15.5])[:ndim]
    reference = textured(shape, affine, np.eye(4))
    turn = np.deg2rad(12)
    truth = np.eye(4)
    truth[:2, :2] = [[1.1 * np.cos(turn), -np.sin(turn)], [np.sin(turn), 0.95 * np.cos(turn)]]
    truth[:2, 3] = [2.0, -1.5]
    moved = textured(shape, affine, truth)
    grid = choose_grid([reference, moved])
    given_placement = Placement(np.eye(4))
    placement = place_by_affine(moved, reference, grid, given_placement)
    assert placement.method == "affine"
    again = place_by_affine(moved, reference, grid, given_placement)
    np.testing.assert_array_equal(placement.matrix, again.matrix)
    # A study point is a point of the texture, and lies at truth^-1 in the moved scan.
    points = np.array([[8.0, 5, 4], [-8, 5, -4], [6, -6, 3], [-5, -5, -3], [0, 0, 0]])[:, :ndim]
    inverse = np.linalg.inv(truth)
    expected = points @ inverse[:ndim, :ndim].T + inverse[:ndim, 3]
    found = points @ placement.matrix[:ndim, :ndim].T + placement.matrix[:ndim, 3]
    assert np.linalg.norm(found - expected, axis=1).max() < 0.25
    start = place_by_center_of_mass(moved, grid).matrix
    before = points @ start[:ndim, :ndim].T + start[:ndim, 3]
    assert np.linalg.norm(before - expected, axis=1).max() > 2


def test_affine_placement_of_noise_is_the_centre_of_mass() -> None:
    rng = np.random.default_rng(0)
    reference = Volume(rng.normal(size=(20, 20, 20)), np.eye(4))
    empty = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))
    grid = choose_grid([reference])
    placement = place_by_affine(empty, reference, grid)
    np.testing.assert_array_equal(placement.matrix, place_by_center_of_mass(empty, grid).matrix)


# ----------------------------------------------------------------------- there and back again


@PROPERTY
@given(st.data(), DIMENSIONS)
def test_a_linear_image_stays_the_same_function_of_the_world(
    data: st.DataObject, ndim: int
) -> None:
    place = data.draw(places(ndim))
    slope = np.array([1.0, -2.0, 0.5])[:ndim]
    scan = linear(volume_at(place), slope)
    grid = choose_grid([scan])
    placement = place_by_center_of_mass(scan, grid)
    on_grid = image_to_grid(scan, grid, placement)
    assert on_grid.dtype == np.float32
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    world = points_from_grid(voxels, grid, placement)
    where = scan.world_to_voxel(world)
    inner = ((where >= 0) & (where <= np.array(scan.shape) - 1)).all(axis=-1)
    np.testing.assert_allclose(on_grid[inner], (world @ slope + 500)[inner], atol=1e-3)
    outer = ((where < -0.51) | (where > np.array(scan.shape) - 0.49)).any(axis=-1)
    np.testing.assert_allclose(on_grid[outer], scan.data.min(), atol=1e-3)
    back = image_from_grid((world @ slope).astype(np.float32), grid, placement, scan)
    np.testing.assert_allclose(back + 500, scan.data, atol=1e-3)


@PROPERTY
@given(st.data(), DIMENSIONS)
def test_a_marker_keeps_its_place_on_the_grid(data: st.DataObject, ndim: int) -> None:
    place = data.draw(places(ndim))
    voxel = data.draw(voxels_of(place))
    scan = volume_at(place, marker(place.shape, voxel))
    grid = choose_grid([scan], spacing=min(scan.spacing) / 2)
    placement = place_by_center_of_mass(scan, grid)
    world = scan.voxel_to_world(np.array(voxel, float))
    on_grid = labels_to_grid(scan, grid, placement)
    position = points_to_grid(world, grid, placement)
    assert on_grid[tuple(np.rint(position).astype(int))] == 7
    # All grid voxels with the label lie in that voxel, and their middle is its middle.
    found = points_from_grid(np.argwhere(on_grid == 7).astype(float), grid, placement)
    offsets = scan.world_to_voxel(found) - voxel
    assert np.abs(offsets).max() <= 0.5 + 1e-6
    np.testing.assert_allclose(points_from_grid(position, grid, placement), world, atol=1e-9)


@PROPERTY
@given(st.data(), DIMENSIONS)
def test_labels_come_back_voxel_exactly(data: st.DataObject, ndim: int) -> None:
    """Flipped and permuted scans on a grid of their spacing, and oblique ones on a finer grid."""
    oblique = data.draw(st.booleans())
    spacing = (1.0, 2.0) if oblique else (1.7, 1.7)
    place = data.draw(places(ndim, oblique=oblique, spacing=spacing, high=8))
    scan = volume_at(place, blocks(np.random.default_rng(1), place.shape))
    finer = 0.99 * min(scan.spacing) / np.sqrt(ndim) if oblique else None
    grid = choose_grid([scan], spacing=finer)
    placement = place_by_center_of_mass(scan, grid)
    on_grid = labels_to_grid(scan, grid, placement)
    assert on_grid.dtype == scan.data.dtype
    np.testing.assert_array_equal(labels_from_grid(on_grid, grid, placement, scan), scan.data)
    one_hot = np.stack([on_grid == label for label in range(9)]).astype(np.float32)
    if not oblique:
        labels = probabilities_from_grid(one_hot, grid, placement, scan)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, scan.data)
        np.testing.assert_allclose(
            image_from_grid(image_to_grid(scan, grid, placement), grid, placement, scan),
            scan.data,
            atol=1e-5,
        )


def test_probabilities_are_interpolated_before_the_largest_wins() -> None:
    grid = StudyGrid((16, 16), 1.0)
    probs = np.zeros((3, 16, 16), np.float32)
    probs[0, :8], probs[1, 8:] = 1.0, 0.6
    probs[2, 8:] = 0.4
    # Fine voxels between columns 7 and 8: background wins while (1 - t) >= 0.6 t.
    fine = Volume(np.zeros((11, 3)), np.diag([0.1, 1, 1, 1]))
    matrix = np.eye(4)
    matrix[:2, 3] = [0.5, 0]  # fine voxel 0 lies on grid column 7
    labels = probabilities_from_grid(probs, grid, Placement(matrix), fine)
    np.testing.assert_array_equal(labels[:, 1], [0] * 7 + [1] * 4)
    many = probabilities_from_grid(np.zeros((300, 16, 16)), grid, Placement(np.eye(4)), fine)
    assert many.dtype == np.uint16


def test_beyond_the_grid_there_is_background() -> None:
    grid = StudyGrid((16, 16, 16), 1.0)
    like = Volume(np.zeros((22, 16, 16)), np.eye(4))
    placement = place_by_center_of_mass(like, grid)
    ones = np.ones(grid.shape, np.float32)
    np.testing.assert_array_equal(
        labels_from_grid(ones.astype(np.uint8), grid, placement, like)[:, 3, 3],
        [0] * 3 + [1] * 16 + [0] * 3,
    )
    probs = np.stack([ones * 0, ones])
    np.testing.assert_array_equal(
        probabilities_from_grid(probs, grid, placement, like)[:, 3, 3],
        [0] * 3 + [1] * 16 + [0] * 3,
    )
    values = image_from_grid(ones, grid, placement, like, outside=-4)
    np.testing.assert_array_equal(values[:, 3, 3], [-4] * 3 + [1] * 16 + [-4] * 3)
    with pytest.raises(ValueError, match="not on the grid"):
        labels_from_grid(ones[1:], grid, placement, like)


def test_work_in_slabs_equals_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_gemini.volumes import sampling

    rng = np.random.default_rng(0)
    scan = Volume(rng.normal(size=(9, 8, 7)), np.diag([1.3, -1, 1.1, 1]))
    grid = choose_grid([scan])
    placement = place_by_center_of_mass(scan, grid)
    at_once = image_to_grid(scan, grid, placement)
    whole = list(sampling.slabs(grid.shape))
    monkeypatch.setattr(sampling.slabs, "__defaults__", (700,))
    assert len(list(sampling.slabs(grid.shape))) > len(whole)
    np.testing.assert_array_equal(image_to_grid(scan, grid, placement), at_once)


# ------------------------------------------------------------------------------------- checks


def test_labels_have_to_be_on_the_grid_of_their_image() -> None:
    image = Volume(np.zeros((5, 6, 7)), np.diag([1.0, 2, 3, 1]))
    check_labels_match(image, Volume(np.zeros((5, 6, 7)), np.diag([1.0, 2, 3.0001, 1])))
    with pytest.raises(InputError, match="has 5x6x8 voxels and the scan has 5x6x7"):
        check_labels_match(image, Volume(np.zeros((5, 6, 8)), image.affine))
    with pytest.raises(InputError, match=r"lies up to 8 mm away"):
        check_labels_match(image, Volume(np.zeros((5, 6, 7)), np.diag([-1.0, 2, 3, 1])))
    flat = Volume(np.zeros((5, 6)), np.eye(4), spacing_known=False)
    with pytest.raises(InputError, match="pixels away"):
        check_labels_match(flat, Volume(np.zeros((5, 6)), np.diag([2.0, 1, 1, 1])))


def test_images_without_content_are_refused() -> None:
    with pytest.raises(InputError, match="is constant"):
        check_image(Volume(np.full((5, 5, 5), 3.0), np.eye(4)))
    broken = np.arange(125.0).reshape(5, 5, 5)
    broken[1, 1, 1] = np.nan
    with pytest.raises(InputError, match="case-7 has 1 voxels that are NaN"):
        check_image(Volume(broken, np.eye(4)), "case-7")
    with pytest.raises(InputError, match="only 2 voxels along an axis"):
        check_image(Volume(np.arange(50.0).reshape(5, 5, 2), np.eye(4)))
    check_image(Volume(np.arange(125).reshape(5, 5, 5), np.eye(4)))


def test_bytes_are_written_for_people() -> None:
    assert [readable_bytes(n) for n in (12, 1500, 2 * 10**6, 18 * 10**9, 3 * 10**12)] == [
        "12 bytes",
        "1.5 kB",
        "2.0 MB",
        "18.0 GB",
        "3.0 TB",
    ]
