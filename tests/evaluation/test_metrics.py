"""Dice, HD95 and ASSD against hand-computed values and against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from napari_gemini.errors import InputError
from napari_gemini.evaluation.metrics import (
    assd_mm,
    dice,
    hd95_mm,
    score_case,
    score_masks,
)

SPACING = (0.5, 1.0, 3.0)


def box(shape, start, stop):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def rotation(degrees=(20, 35, -50)):
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def blobs(seed, shape=(14, 11, 9)):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, *shape)) < rng.uniform(0.02, 0.6)
    masks[:, 3, 4, 5] = True
    return masks


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cube_shifted_along_one_axis(axis):
    """A 6^3 cube moved by 2 voxels: overlap 4/6, and distances known face by face."""
    start = np.array([4, 4, 4])
    shifted = start.copy()
    shifted[axis] += 2
    a, b = box((16,) * 3, start, start + 6), box((16,) * 3, shifted, shifted + 6)
    assert dice(a, b) == pytest.approx(2 / 3)
    # Boundary of a: 152 voxels. Counted from its trailing face along the shift, the planes lie at
    # these distances from b's boundary: 36 at 2, a rim of 20 at 1, three rims at 0, and the leading
    # face inside b with its rim at 0, a ring of 12 at 1 and a core of 4 at 2. The way back is the
    # same mirrored: 2 * (72 + 20 + 12 + 8) / (2 * 152).
    assert assd_mm(a, b, (1, 1, 1)) == pytest.approx(14 / 19)
    assert assd_mm(a, b, (2.5, 2.5, 2.5)) == pytest.approx(2.5 * 14 / 19)
    assert hd95_mm(a, b, (1, 1, 1)) == 2.0


def test_parallel_plates_are_apart_by_the_spacing():
    """Two one-voxel plates four slices of 3 mm apart: every distance is 12 mm."""
    a, b = box((8, 8, 12), (0, 0, 2), (8, 8, 3)), box((8, 8, 12), (0, 0, 6), (8, 8, 7))
    assert hd95_mm(a, b, SPACING) == pytest.approx(12.0)
    assert assd_mm(a, b, SPACING) == pytest.approx(12.0)
    assert dice(a, b) == 0.0


def test_single_voxels_at_anisotropic_spacing():
    a, b = np.zeros((2, 10, 10, 10), bool)
    a[1, 2, 3] = b[4, 6, 4] = True
    expected = np.sqrt((3 * 0.5) ** 2 + (4 * 1.0) ** 2 + (1 * 3.0) ** 2)
    assert assd_mm(a, b, SPACING) == pytest.approx(expected)
    assert hd95_mm(a, b, SPACING) == pytest.approx(expected)


def test_concentric_spheres_differ_by_their_radii():
    grid = np.stack(np.meshgrid(*[np.arange(65) - 32] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0)) * 0.5
    inner, outer = radius <= 8, radius <= 13
    assert assd_mm(inner, outer, (0.5,) * 3) == pytest.approx(5.0, abs=0.3)
    assert hd95_mm(inner, outer, (0.5,) * 3) == pytest.approx(5.0, abs=0.5)
    assert dice(inner, outer) == pytest.approx(2 * 8**3 / (8**3 + 13**3), abs=0.01)
    volume = score_masks(inner, outer, (0.5,) * 3)["volume_ml"]
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3 / 1000, rel=0.01)


def test_hd95_takes_the_worse_direction():
    """One voxel against the same voxel plus a far one: only the way back sees the far one."""
    a, b = np.zeros((2, 40, 5, 5), bool)
    a[2, 2, 2] = True
    b[2, 2, 2] = b[32, 2, 2] = True
    assert hd95_mm(a, b, (1, 1, 1)) == pytest.approx(0.95 * 30)
    assert hd95_mm(b, a, (1, 1, 1)) == pytest.approx(0.95 * 30)
    assert assd_mm(a, b, (1, 1, 1)) == pytest.approx(30 / 3)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_agrees_with_the_distance_transform(seed):
    """The same definitions through scipy's Euclidean distance transform, axis-aligned spacing."""
    a, b = blobs(seed)
    edges = [np.zeros_like(a), np.zeros_like(b)]
    for edge, mask in zip(edges, (a, b), strict=True):
        padded = np.pad(mask, 1)
        for axis in range(3):
            for step in (-1, 1):
                neighbour = np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
                edge |= mask & ~neighbour
    to_b = distance_transform_edt(~edges[1], sampling=SPACING)[edges[0]]
    to_a = distance_transform_edt(~edges[0], sampling=SPACING)[edges[1]]
    assert assd_mm(a, b, SPACING) == pytest.approx(np.r_[to_a, to_b].mean(), rel=1e-9)
    expected = max(np.percentile(to_a, 95), np.percentile(to_b, 95))
    assert hd95_mm(a, b, SPACING) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_dice_agrees_with_simpleitk(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (2, 9, 8, 7))
    judge = sitk.LabelOverlapMeasuresImageFilter()
    judge.Execute(*(sitk.GetImageFromArray(x.astype(np.uint8)) for x in (a, b)))
    for label in (1, 2, 3):
        assert dice(a, b, label) == pytest.approx(judge.GetDiceCoefficient(label))


def test_agrees_with_monai():
    monai_metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    a, b = blobs(3)
    tensors = [torch.from_numpy(x[None, None].astype(np.float32)) for x in (a, b)]
    hd95 = monai_metrics.compute_hausdorff_distance(
        *tensors, include_background=True, percentile=95, spacing=list(SPACING)
    )
    assd = monai_metrics.compute_average_surface_distance(
        *tensors, include_background=True, symmetric=True, spacing=list(SPACING)
    )
    assert hd95_mm(a, b, SPACING) == pytest.approx(hd95.item(), rel=1e-4)
    assert assd_mm(a, b, SPACING) == pytest.approx(assd.item(), rel=1e-4)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_symmetric_and_independent_of_orientation(seed):
    a, b = blobs(seed)
    straight = np.diag([*SPACING, 1.0])
    oblique = straight.copy()
    oblique[:3, :3] = rotation() @ np.diag(SPACING)
    oblique[:3, 3] = (-80, 33, 12)
    flipped = np.diag([-SPACING[0], SPACING[1], SPACING[2], 1.0])
    for measure in (hd95_mm, assd_mm):
        value = measure(a, b, straight)
        assert measure(b, a, straight) == pytest.approx(value)
        assert measure(a, b, oblique) == pytest.approx(value)
        assert measure(a[::-1], b[::-1], flipped) == pytest.approx(value)
        permuted = np.diag([SPACING[2], SPACING[0], SPACING[1], 1.0])
        moved = (np.moveaxis(mask, 2, 0) for mask in (a, b))
        assert measure(*moved, permuted) == pytest.approx(value)


def test_sheared_affine_measures_in_world_space():
    """Along a sheared axis the column's length is not the distance between columns."""
    affine = np.eye(4)
    affine[0, 1] = 1.0
    a, b = np.zeros((2, 6, 6, 6), bool)
    a[1, 1, 1], b[0, 2, 1] = True, True
    assert assd_mm(a, b, affine) == pytest.approx(1.0)


@pytest.mark.parametrize("geometry", [(0.7, 1.3), np.diag([-0.7, -1.3, 1.0, 1.0])])
def test_two_dimensions(geometry):
    a, b = box((20, 20), (3, 3), (4, 9)), box((20, 20), (7, 3), (8, 9))
    assert hd95_mm(a, b, geometry) == pytest.approx(4 * 0.7)
    scores = score_masks(a, b, geometry)
    assert scores["area_mm2"] == pytest.approx(6 * 0.7 * 1.3)


def test_oblique_plane_in_the_world():
    affine = np.eye(4)
    affine[:3, :3] = rotation() @ np.diag([0.7, 1.3, 1.0])
    a, b = box((20, 20), (3, 3), (4, 9)), box((20, 20), (7, 3), (8, 9))
    assert hd95_mm(a, b, affine) == pytest.approx(4 * 0.7)
    assert score_masks(a, b, affine)["area_mm2"] == pytest.approx(6 * 0.7 * 1.3)


def test_single_slice_volume_is_measured_in_its_plane():
    """A slice stored as a volume has no boundary above and below it."""
    a, b = box((20, 20), (4, 4), (12, 12)), box((20, 20), (5, 4), (13, 12))
    flat = score_case(a, b, (1.0, 1.0))[1]
    volume = score_case(a[..., None], b[..., None], (1.0, 1.0, 8.0))[1]
    assert volume["assd_mm"] == pytest.approx(flat["assd_mm"])
    assert 0 < volume["assd_mm"] < 1


@pytest.mark.parametrize("plane", [0, 4, 8])
def test_thin_label_in_a_thick_volume_is_all_boundary(plane):
    """Each is one voxel thick and the same, so only whole plates tell them from their rims."""
    a = box((9, 9, 9), (1, 1, plane), (8, 8, plane + 1)).astype(int)
    b = a.copy()
    b[4, 4, plane] = 0
    # b's hole is one voxel from its boundary; a plate seen as flat would be a rim, 3 away from it.
    assert score_case(a, b, (1, 1, 2.5))[1]["assd_mm"] == pytest.approx(1 / (49 + 48))


def test_case_scores_equal_the_single_functions():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 5, (2, 10, 9, 8))
    scores = score_case(a, b, SPACING)
    assert list(scores) == [1, 2, 3, 4]
    for label, entry in scores.items():
        assert entry["dice"] == dice(a, b, label)
        assert entry["hd95_mm"] == pytest.approx(hd95_mm(a, b, SPACING, label))
        assert entry["assd_mm"] == pytest.approx(assd_mm(a, b, SPACING, label))
        assert entry["voxels"] == (a == label).sum()


def test_absent_labels_are_null_not_zero_and_not_dropped():
    a, b = np.zeros((2, 6, 6, 6), int)
    a[1:3], b[1:3, 2:4], b[5] = 1, 1, 2
    scores = score_case(a, b, SPACING, labels=[1, 2, 3])
    assert 0 < scores[1]["dice"] < 1
    for label in (2, 3):
        assert [scores[label][key] for key in ("dice", "hd95_mm", "assd_mm")] == [None] * 3
    assert scores[2]["reference_voxels"] == 36
    assert scores[2]["voxels"] == scores[3]["voxels"] == scores[3]["reference_voxels"] == 0


def test_empty_maps():
    nothing = np.zeros((4, 4), int)
    assert score_case(nothing, nothing, None) == {}
    assert dice(nothing, nothing) is None
    assert hd95_mm(nothing, nothing, (1, 1)) is None


def test_perfect_prediction():
    labels = np.random.default_rng(0).integers(0, 3, (8, 8, 8))
    for entry in score_case(labels, labels, SPACING).values():
        assert (entry["dice"], entry["hd95_mm"], entry["assd_mm"]) == (1.0, 0.0, 0.0)


def test_unknown_spacing_gives_no_millimetres():
    a = np.ones((4, 4), int)
    assert set(score_case(a, a, None)[1]) == {"dice", "voxels", "reference_voxels"}


def test_ignored_voxels_count_on_neither_side():
    a, b = np.zeros((2, 8, 8), int)
    a[2:6, 2:6] = b[2:6, 2:6] = 1
    a[0, :] = 1
    b[0, :] = 255
    scores = score_case(a, b, (1, 1), ignore=255)
    assert list(scores) == [1]
    assert scores[1]["dice"] == 1.0


def test_bad_geometry_is_one_sentence():
    a = np.ones((4, 4, 4), int)
    with pytest.raises(InputError, match="does not fit a 3D label map"):
        hd95_mm(a, a, (1.0, 1.0))
    with pytest.raises(InputError, match="positive and finite"):
        hd95_mm(a, a, (1.0, 1.0, 0.0))
    with pytest.raises(InputError, match="positive and finite"):
        hd95_mm(a, a, (1.0, 1.0, -1.0))
    with pytest.raises(InputError, match="different shapes"):
        dice(a, a[:2])
