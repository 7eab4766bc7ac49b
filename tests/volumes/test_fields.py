"""A field on disk, applied by SimpleITK to the files on disk, gives what we give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from napari_gemini.volumes.fields import (
    DisplacementField,
    apply_field,
    identity_field,
    lattice_for,
    map_points,
    moving_points,
    read_field,
    total_field,
    write_field,
)
from napari_gemini.volumes.geometry import transform_points
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    choose_grid,
    place_by_center_of_mass,
)
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume
from tests.volumes.helpers import (
    PROPERTY,
    Place,
    blocks,
    places,
    save_itk,
    save_nifti,
    smooth_random,
)


def resample(field: Path, moving: Path, fixed: Path, nearest: bool) -> np.ndarray:
    """What a user does who has nothing but the files."""
    transform = sitk.ReadTransform(str(field))
    image, reference = sitk.ReadImage(str(moving)), sitk.ReadImage(str(fixed))
    if transform.GetDimension() == 2 and image.GetDimension() == 3:
        image = image[:, :, 0]
    if transform.GetDimension() == 2 and reference.GetDimension() == 3:
        reference = reference[:, :, 0]
    if nearest:
        result = sitk.Resample(image, reference, transform, sitk.sitkNearestNeighbor, 0)
    else:
        image = sitk.Cast(image, sitk.sitkFloat64)
        result = sitk.Resample(image, reference, transform, sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(result).T


def positions_without_itk(
    field: DisplacementField, fixed: np.ndarray, moving: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Continuous voxels of the moving scan, (d, ...), from the lattice and two affines alone."""
    d = len(shape)
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing="ij"), -1)
    world = index @ fixed[:d, :d].T + fixed[:d, 3]
    inverse = np.linalg.inv(field.affine)
    lattice = np.moveaxis(world @ inverse[:d, :d].T + inverse[:d, 3], -1, 0)
    moved = world.copy()
    for axis in range(d):
        vector = map_coordinates(field.vectors[axis], lattice, order=1, mode="nearest")
        moved[..., axis] += -vector if axis < 2 else vector
    inverse = np.linalg.inv(moving)
    return np.moveaxis(moved @ inverse[:d, :d].T + inverse[:d, 3], -1, 0)


def judge_without_itk(
    positions: np.ndarray, data: np.ndarray, ours: np.ndarray, labels: bool
) -> float:
    """Compare away from ties and edges; returns the share of voxels that were compared."""
    size = np.array(data.shape).reshape((-1,) + (1,) * (positions.ndim - 1))
    from_edge = np.minimum(np.abs(positions + 0.5), np.abs(positions - size + 0.5)).min(axis=0)
    clear = from_edge > 1e-3
    if labels:
        clear &= (np.abs(positions - np.floor(positions) - 0.5) > 1e-3).all(axis=0)
    inside = ((positions >= -0.5) & (positions < size - 0.5)).all(axis=0)
    if labels:
        nearest = np.clip(np.floor(positions + 0.5).astype(int), 0, size - 1)
        expected = np.where(inside, data[tuple(nearest)], 0)
        np.testing.assert_array_equal(ours[clear], expected[clear])
    else:
        expected = map_coordinates(data.astype(float), positions, order=1, mode="nearest")
        expected = np.where(inside, expected, 0)
        np.testing.assert_allclose(ours[clear], expected[clear], atol=2e-2 * np.ptp(data))
        middle = np.abs(ours - expected)[clear]
        assert np.median(middle) < 1e-4 * np.ptp(data)
    return float(clear.mean())


@st.composite
def pairs(draw: Any, ndim: int) -> tuple[Place, Place]:
    """Two scans that see roughly the same region, one of them often much less of it."""
    fixed = draw(places(ndim, spacing=(0.8, 3.0), high=14))
    moving = draw(places(ndim, spacing=(0.8, 3.0), high=14, center=0.1))
    # Bring their middles together, up to some millimetres.
    affine = moving.affine.copy()
    offset = np.array([draw(st.floats(-4, 4)) for _ in range(ndim)])
    affine[:ndim, 3] += fixed.center - moving.center + offset
    return fixed, Place(moving.shape, affine, moving.codes)


def field_between(fixed: Volume, moving: Volume, seed: int, size: float) -> DisplacementField:
    grid = choose_grid([fixed, moving])
    placements = [place_by_center_of_mass(scan, grid) for scan in (fixed, moving)]
    u = size * smooth_random(np.random.default_rng(seed), grid.shape, grid.ndim)
    return total_field(u.astype(np.float32), grid, *placements, fixed, moving)


@PROPERTY
@given(st.data(), st.sampled_from([2, 3]), st.integers(0, 10**6))
def test_simpleitk_and_we_agree(
    tmp_path_factory: Any, data: st.DataObject, ndim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.getbasetemp()
    fixed_place, moving_place = data.draw(pairs(ndim))
    trailing = data.draw(st.sampled_from([0, 1])) if ndim == 2 else 0
    save = data.draw(st.sampled_from([save_nifti, save_itk]))
    suffix = "nii" if save is save_nifti else data.draw(st.sampled_from(["nrrd", "mha"]))
    extra: dict[str, Any] = {"trailing": trailing} if save is save_nifti else {}
    values = rng.normal(100, 30, moving_place.shape).astype(np.float32)
    names = {name: folder / f"{name}.{suffix}" for name in ("fixed", "moving", "labels")}
    save(names["fixed"], np.ones(fixed_place.shape, np.float32), fixed_place, **extra)
    save(names["moving"], values, moving_place, **extra)
    save(names["labels"], blocks(rng, moving_place.shape), moving_place, **extra)
    fixed, moving = read_volume(names["fixed"]), read_volume(names["moving"])
    labels = read_labels(names["labels"])

    field = field_between(fixed, moving, seed, data.draw(st.sampled_from([0.0, 1.0, 3.0])))
    path = folder / "field.h5"
    write_field(path, field)
    our_image = apply_field(field, moving, fixed)
    our_labels = apply_field(field, labels, fixed, labels=True)
    assert our_image.shape == our_labels.shape == fixed.shape
    assert our_labels.dtype == np.uint8

    image = resample(path, names["moving"], names["fixed"], nearest=False)
    np.testing.assert_allclose(our_image, image, atol=1e-4 * np.ptp(values))
    judged = resample(path, names["labels"], names["fixed"], nearest=True)
    np.testing.assert_array_equal(our_labels, judged)

    # The second judge knows nibabel, scipy and the sign of LPS, and no ITK.
    positions = positions_without_itk(field, fixed_place.affine, moving_place.affine, fixed.shape)
    judge_without_itk(positions, labels.data, our_labels, labels=True)
    judge_without_itk(positions, values, our_image, labels=False)
    world = moving_points(field, fixed)
    through = np.moveaxis(
        transform_points(moving_place.affine, np.moveaxis(positions, 0, -1)), -1, 0
    )
    np.testing.assert_allclose(world, through, atol=5e-3)


@PROPERTY
@given(st.data(), st.sampled_from([2, 3]))
def test_points_go_where_itk_sends_them(
    tmp_path_factory: Any, data: st.DataObject, ndim: int
) -> None:
    fixed_place, moving_place = data.draw(pairs(ndim))
    scans = [Volume(np.ones(p.shape, np.float32), p.affine) for p in (fixed_place, moving_place)]
    field = field_between(*scans, seed=1, size=3.0)
    path = tmp_path_factory.getbasetemp() / "field.h5"
    write_field(path, field)
    back = read_field(path)
    np.testing.assert_array_equal(back.vectors, field.vectors)
    np.testing.assert_allclose(back.affine, field.affine, atol=1e-12)
    transform = sitk.ReadTransform(str(path))
    voxels = np.random.default_rng(0).uniform(-1, 8, (20, ndim))
    points = scans[0].voxel_to_world(voxels)
    flip = np.array([-1, -1, 1])[:ndim]
    judged = [np.array(transform.TransformPoint((p * flip).tolist())) * flip for p in points]
    np.testing.assert_allclose(map_points(field, points), judged, atol=1e-8)
    voxel = tuple(n // 2 for n in fixed_place.shape)
    here = moving_points(field, scans[0])[(slice(None), *voxel)]
    point = scans[0].voxel_to_world(np.array(voxel, float))
    np.testing.assert_allclose(here, map_points(field, point), atol=1e-9)
    away = scans[0].voxel_to_world(np.full((1, ndim), 1000.0))
    np.testing.assert_array_equal(map_points(field, away), away)


@PROPERTY
@given(st.data(), st.sampled_from([2, 3]))
def test_the_total_map_is_the_chain_of_its_parts(data: st.DataObject, ndim: int) -> None:
    """At lattice points: fixed world, study grid, displacement, study grid, moving world."""
    fixed_place, moving_place = data.draw(pairs(ndim))
    fixed, moving = (
        Volume(np.ones(p.shape, np.float32), p.affine) for p in (fixed_place, moving_place)
    )
    grid = choose_grid([fixed, moving])
    rng = np.random.default_rng(0)
    u = 2 * smooth_random(rng, grid.shape, ndim)
    matrices = []
    for scan in (fixed, moving):
        matrix = place_by_center_of_mass(scan, grid).matrix.copy()
        matrix[:ndim, :ndim] += rng.normal(0, 0.05, (ndim, ndim))
        matrices.append(matrix)
    field = total_field(u, grid, *map(Placement, matrices), fixed, moving)
    index = np.array([rng.integers(0, n, 30) for n in field.shape])
    for column in index.T:
        x = transform_points(field.affine, column.astype(float))
        p = transform_points(np.linalg.inv(matrices[0] @ grid.affine), x)
        shift = [map_coordinates(part, p[:, None], order=1, mode="nearest")[0] for part in u]
        expected = transform_points(matrices[1] @ grid.affine, p + shift)
        vector = field.vectors[(slice(None), *column)] * np.array([-1, -1, 1])[:ndim]
        np.testing.assert_allclose(x + vector, expected, atol=1e-9)


def test_beyond_the_grid_the_displacement_of_its_edge_goes_on() -> None:
    """The lattice reaches one step beyond a scan that fills the grid."""
    scan = Volume(np.arange(16.0**3).reshape(16, 16, 16), np.eye(4))
    grid = choose_grid([scan])
    placement = place_by_center_of_mass(scan, grid)
    u = np.broadcast_to(np.array([2.0, 0.5, -1])[:, None, None, None], (3, *grid.shape))
    field = total_field(u, grid, placement, placement, scan, scan)
    assert field.shape == (18, 18, 18)
    for axis, shift in enumerate([-2.0, -0.5, -1]):
        np.testing.assert_allclose(field.vectors[axis], shift, atol=1e-12)


@PROPERTY
@given(st.data(), st.sampled_from([2, 3]), st.floats(0.3, 4.0))
def test_the_lattice_encloses_every_voxel(data: st.DataObject, ndim: int, spacing: float) -> None:
    place = data.draw(places(ndim))
    fixed = Volume(np.zeros(place.shape), place.affine)
    shape, affine = lattice_for(fixed, StudyGrid((16,) * ndim, spacing))
    corners = np.stack(np.meshgrid(*[[0.0, n - 1] for n in place.shape], indexing="ij"), -1)
    world = fixed.voxel_to_world(corners.reshape(-1, ndim))
    lattice = transform_points(np.linalg.inv(affine), world)
    assert (lattice > 0.9).all()
    assert (lattice < np.array(shape) - 1 - 0.9).all()
    steps = np.linalg.norm(affine[:ndim, :ndim], axis=0)
    assert (np.abs(steps / spacing - 1) <= 0.12).all()
    # No further than it has to reach.
    assert (np.array(shape) - 1 <= (np.array(place.shape) - 1) * fixed.spacing / steps + 4).all()


def test_lattice_of_an_anisotropic_grid_and_of_equal_spacing() -> None:
    fixed = Volume(np.zeros((20, 20, 20)), np.diag([1.0, 1, 1, 1]))
    shape, affine = lattice_for(fixed, StudyGrid((16, 16, 16), (1.0, 2.0, 4.0)))
    np.testing.assert_allclose(np.diag(affine)[:3], [1, 2, 4])
    assert shape == (22, 13, 8)
    shape, affine = lattice_for(fixed, 1.05)
    np.testing.assert_array_equal(affine[:3, 3], [-1, -1, -1])  # voxel centres are lattice points
    assert shape == (22, 22, 22)


@PROPERTY
@given(places(), st.booleans())
def test_no_displacement_between_equal_placements_is_no_displacement(
    place: Place, coarse: bool
) -> None:
    scan = Volume(blocks(np.random.default_rng(0), place.shape), place.affine)
    grid = choose_grid([scan], spacing=3 * min(scan.spacing) if coarse else None)
    placement = place_by_center_of_mass(scan, grid)
    field = total_field(np.zeros((3, *grid.shape)), grid, placement, placement, scan, scan)
    assert not field.vectors.any()
    for each in (field, identity_field(scan)):
        np.testing.assert_array_equal(apply_field(each, scan, scan, labels=True), scan.data)
        np.testing.assert_allclose(apply_field(each, scan, scan), scan.data, atol=1e-4)
        points = np.moveaxis(moving_points(each, scan), 0, -1)
        index = np.stack(np.meshgrid(*[np.arange(n) for n in scan.shape], indexing="ij"), -1)
        np.testing.assert_allclose(points, scan.voxel_to_world(index), atol=1e-9)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ties_are_broken_as_itk_breaks_them(tmp_path: Path, ndim: int, sign: float) -> None:
    """Every voxel of the fixed scan lies exactly half way between two of the moving scan."""
    shape = (9, 10, 11)[:ndim]
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[range(ndim), range(ndim)] = sign * np.array([1, 2, 0.5])[:ndim]
    half = affine.copy()
    half[:ndim, 3] = affine[:ndim, :ndim] @ np.full(ndim, 0.5)
    moving = save_nifti(tmp_path / "moving.nii", blocks(rng, shape), Place(shape, affine))
    fixed = save_nifti(tmp_path / "fixed.nii", blocks(rng, shape), Place(shape, half))
    scans = read_labels(fixed), read_labels(moving)
    field = identity_field(scans[0])
    write_field(tmp_path / "field.h5", field)
    ours = apply_field(field, scans[1], scans[0], labels=True)
    np.testing.assert_array_equal(ours, resample(tmp_path / "field.h5", moving, fixed, True))
    # Up: voxel i takes i + 1; at the far edge i + 1/2 is no longer in the image.
    expected = np.zeros(shape, np.uint8)
    inner = tuple(slice(None, -1) for _ in shape)
    expected[inner] = scans[1].data[tuple(slice(1, None) for _ in shape)]
    np.testing.assert_array_equal(ours, expected)


def test_near_ties_of_oblique_scans_are_broken_as_itk_breaks_them(tmp_path: Path) -> None:
    """Half-voxel shifts along oblique axes: float noise decides, and has to decide alike."""
    from scipy.spatial.transform import Rotation

    shape = (12, 13, 14)
    undecided = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        affine = np.eye(4)
        turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
        affine[:3, :3] = turn * [0.9, 1.1, 2.3]
        # Headers are float32: near the origin their rounding leaves more to that of double.
        affine[:3, 3] = rng.uniform(-1, 1, 3) * [0, 1, 90][seed % 3]
        half = affine.copy()
        half[:3, 3] += affine[:3, :3] @ [0.5, 0, 0.5]
        codes = [(1, 1), (1, 0), (0, 1), (2, 1)][seed % 4]
        moving = save_nifti(tmp_path / "m.nii", blocks(rng, shape), Place(shape, affine, codes))
        fixed = save_nifti(tmp_path / "f.nii", blocks(rng, shape), Place(shape, half, codes))
        scans = read_labels(fixed), read_labels(moving)
        field = identity_field(scans[0])
        write_field(tmp_path / "field.h5", field)
        ours = apply_field(field, scans[1], scans[0], labels=True)
        judged = resample(tmp_path / "field.h5", moving, fixed, True)
        np.testing.assert_array_equal(ours, judged)
        # Our affines instead of ITK's reading of the header would not do.
        naive = [Volume(scan.data, scan.affine) for scan in scans]
        undecided += int((apply_field(field, naive[1], naive[0], labels=True) != judged).sum())
    assert undecided > 100  # the case is real


def test_edge_is_kept_to_half_a_voxel_and_zero_beyond() -> None:
    moving = Volume(np.full((4, 4, 4), 7, np.int16), np.eye(4))
    fine = np.diag([0.25, 1, 1, 1])
    fine[0, 3] = -1.0
    fixed = Volume(np.zeros((24, 4, 4)), fine)  # x from -1 to 4.75
    line = np.arange(24) * 0.25 - 1.0
    # Along an axis that LPS flips, exactly half a voxel before the first centre is inside.
    for labels in (False, True):
        result = apply_field(identity_field(fixed), moving, fixed, labels=labels)
        np.testing.assert_array_equal(result[:, 2, 2] == 7, (line >= -0.5) & (line < 3.5))


@pytest.mark.parametrize("larger", ["fixed", "moving"])
def test_cropped_scans(tmp_path: Path, larger: str) -> None:
    """A cut-out of a scan and the whole: the field finds the cut-out's place again."""
    rng = np.random.default_rng(0)
    place = Place(
        (18, 17, 16), np.array([[-1.0, 0, 0, 7], [0, 0, 1, 3], [0, 1, 0, -4], [0, 0, 0, 1]])
    )
    labels = blocks(rng, place.shape)
    corner = place.affine.copy()
    corner[:3, 3] = (place.affine @ [5, 4, 3, 1])[:3]
    cut = labels[5:13, 4:12, 3:11]
    whole_file = save_nifti(tmp_path / "whole.nii", labels, place)
    cut_file = save_nifti(tmp_path / "cut.nii", cut, Place(cut.shape, corner))
    whole, part = read_labels(whole_file), read_labels(cut_file)
    grid = choose_grid([whole, part])
    same = Placement(place_by_center_of_mass(whole, grid).matrix)
    zero = np.zeros((3, *grid.shape), np.float32)
    fixed, moving = (whole, part) if larger == "fixed" else (part, whole)
    field = total_field(zero, grid, same, same, fixed, moving)
    write_field(tmp_path / "field.h5", field)
    ours = apply_field(field, moving, fixed, labels=True)
    files = (cut_file, whole_file) if larger == "fixed" else (whole_file, cut_file)
    np.testing.assert_array_equal(ours, resample(tmp_path / "field.h5", *files, True))
    expected = cut
    if larger == "fixed":
        expected = np.zeros_like(labels)
        expected[5:13, 4:12, 3:11] = cut
    np.testing.assert_array_equal(ours, expected)


def test_sheared_scans_are_placed_by_their_affine() -> None:
    """ITK cannot read such files; the result still follows the affine."""
    rng = np.random.default_rng(0)
    sheared = np.diag([1.0, 2, 3, 1])
    sheared[0, 1] = 0.7
    header = nib.Nifti1Header()
    header.set_data_shape((8, 9, 10))
    header.set_sform(sheared, 1)
    header["pixdim"][1:4] = np.linalg.norm(sheared[:3, :3], axis=0)
    moving = Volume(blocks(rng, (8, 9, 10)), sheared, header=header)
    fixed = Volume(np.zeros((9, 9, 9)), np.diag([1.0, 2, 3, 1]))
    field = field_between(fixed, moving, 0, 1.0)
    ours = apply_field(field, moving, fixed, labels=True)
    positions = positions_without_itk(field, fixed.affine, sheared, fixed.shape)
    assert judge_without_itk(positions, moving.data, ours, labels=True) > 0.9
    back = apply_field(identity_field(moving), moving, moving, labels=True)
    np.testing.assert_array_equal(back, moving.data)


def test_micrometres_and_single_slices_meet_itk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    place = Place((9, 10, 11), np.diag([30.0, -20, 40, 1]))
    path = save_nifti(tmp_path / "a.nii", blocks(rng, place.shape), place)
    image = nib.load(path)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "b.nii")
    scan = read_labels(tmp_path / "b.nii")
    assert scan.spacing == pytest.approx((0.03, 0.02, 0.04))
    field = field_between(scan, scan, 0, 2.0)
    write_field(tmp_path / "field.h5", field)
    np.testing.assert_array_equal(
        apply_field(field, scan, scan, labels=True),
        resample(tmp_path / "field.h5", tmp_path / "b.nii", tmp_path / "b.nii", True),
    )


def test_one_volume_of_a_4d_file_is_placed_as_itk_places_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    place = Place((9, 10, 11), np.diag([-1.0, 2, 3, 1]))
    data = np.stack([blocks(rng, place.shape) for _ in range(3)], axis=-1)
    path = save_nifti(tmp_path / "a.nii", data, place)
    scan = read_volume(path, volume_index=2)
    field = field_between(scan, scan, 0, 2.0)
    write_field(tmp_path / "field.h5", field)
    judge = sitk.Resample(
        sitk.ReadImage(str(path))[:, :, :, 2],
        sitk.ReadTransform(str(tmp_path / "field.h5")),
        sitk.sitkNearestNeighbor,
    )
    np.testing.assert_array_equal(
        apply_field(field, scan, scan, labels=True), sitk.GetArrayFromImage(judge).T
    )


def test_png_pairs(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("fixed", "moving"):
        Image.fromarray(blocks(rng, (20, 24))).save(tmp_path / f"{name}.png")
    fixed, moving = (read_volume(tmp_path / f"{n}.png") for n in ("fixed", "moving"))
    field = field_between(fixed, moving, 0, 3.0)
    assert field.ndim == 2
    write_field(tmp_path / "field.h5", field)
    files = tmp_path / "moving.png", tmp_path / "fixed.png"
    np.testing.assert_array_equal(
        apply_field(field, moving, fixed, labels=True),
        resample(tmp_path / "field.h5", *files, True),
    )


def test_types_of_results() -> None:
    scan = Volume(np.arange(125).reshape(5, 5, 5), np.eye(4))
    field = identity_field(scan)
    for kind, image in (
        ("uint8", "float32"),
        ("int16", "float32"),
        ("int32", "float64"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int64", "float64"),
        ("float16", "float32"),
    ):
        typed = scan.with_data(scan.data.astype(kind))
        assert apply_field(field, typed, scan).dtype == image
        assert apply_field(field, typed, scan, labels=True).dtype == kind
    mask = scan.with_data(scan.data > 60)
    np.testing.assert_array_equal(apply_field(field, mask, scan, labels=True), mask.data)
