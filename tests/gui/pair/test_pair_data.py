"""Points through a pair, in both directions, and the maps beside it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.volumes.applying import apply_field
from napari_gemini.widgets.pair.warped_array import (
    EdgeArray,
    WarpedArray,
    checkerboard,
    curtain,
)
from tests.gui.pair.helpers import (
    MOVING_SHAPE,
    make_pair,
    placement,
    true_inverse,
    true_map,
)


def inner_points(volume, count=40, margin=5):
    high = np.array(volume.shape) - 1 - margin
    index = np.random.default_rng(1).uniform(margin, high, (count, 3))
    return volume.voxel_to_world(index)


def test_points_go_where_the_map_sends_them():
    pair = make_pair()
    points = inner_points(pair.fixed)
    assert np.allclose(pair.map_fixed_to_moving(points), true_map(points), atol=0.02)
    points = inner_points(pair.moving)
    assert np.allclose(pair.map_moving_to_fixed(points), true_inverse(points), atol=0.02)


def test_without_a_field_of_the_other_direction_the_one_at_hand_is_inverted():
    pair = make_pair(back=False)
    points = true_map(inner_points(pair.fixed))
    assert np.allclose(pair.map_moving_to_fixed(points), true_inverse(points), atol=0.15)
    with pytest.raises(InputError, match="one direction"):
        pair.swapped()


def test_points_that_cannot_be_inverted_are_nan():
    pair = make_pair(back=False, size=40.0)  # such shears cannot be undone by iteration
    found = pair.map_moving_to_fixed(inner_points(pair.moving))
    kept = np.isfinite(found).all(axis=1)
    assert not kept.all()
    away = pair.map_fixed_to_moving(found[kept]) - inner_points(pair.moving)[kept]
    assert (np.linalg.norm(away, axis=1) <= 0.5 * min(pair.moving.spacing)).all()


def test_swapping_exchanges_everything():
    pair = make_pair()
    pair.fixed_case, pair.moving_case = "f", "m"
    other = pair.swapped()
    points = inner_points(pair.moving)
    assert np.allclose(other.map_fixed_to_moving(points), pair.map_moving_to_fixed(points))
    assert (other.fixed_case, other.moving_case) == ("m", "f")
    assert np.allclose(other.initial @ pair.initial, np.eye(4))


def test_displacement_leaves_the_placement_out():
    pair = make_pair()
    points = inner_points(pair.fixed)
    expected = true_map(points) - points - placement()[:3, 3]
    assert np.allclose(pair.displacement(points), expected, atol=0.02)
    pair.report = {}
    del pair.__dict__["initial"]
    shift = pair.initial[:3, 3] - placement()[:3, 3]
    # Without a report the mean shift takes its place, so displacements have no mean.
    assert np.linalg.norm(shift) < 2.0


def test_a_map_on_another_grid_is_refused(tmp_path):
    from tests.gui.pair.helpers import save_nifti

    pair = make_pair()
    pair.folder = tmp_path
    save_nifti(tmp_path / "gss.nii.gz", np.zeros((4, 4, 4), np.float32), np.eye(4))
    assert pair.has("gss")
    assert not pair.has("gvs")
    with pytest.raises(InputError, match="compute the pair again"):
        pair.volume("gss")
    assert pair.volume("gvs") is None


# -- the warped image, slice by slice ------------------------------------------------------------


def test_slices_are_those_of_the_warped_volume():
    pair = make_pair()
    array = WarpedArray(pair, pair.moving)
    whole = pair.fixed_grid.to_canvas(apply_field(pair.there, pair.moving, pair.fixed))
    for key in ((5, slice(None), slice(None)), (slice(None), 7, slice(None)), np.s_[..., 3]):
        found = array[key]
        seen = np.isfinite(found)
        assert found.shape == whole[key].shape
        assert seen.mean() > 0.5
        assert np.allclose(found[seen], whole[key][seen], atol=0.01)
    assert np.allclose(np.nan_to_num(np.asarray(array)), whole, atol=0.01)


def test_labels_are_never_mixed():
    pair = make_pair()
    labels = pair.moving.with_data((pair.moving.data > 50).astype(np.uint8) * 7)
    array = WarpedArray(pair, labels, labels=True)
    whole = pair.fixed_grid.to_canvas(apply_field(pair.there, labels, pair.fixed, labels=True))
    assert array.dtype == np.uint8
    assert np.array_equal(np.asarray(array), whole)


def test_at_zero_the_scan_is_only_placed_and_half_way_points_are_half_way():
    pair = make_pair()
    world = pair.fixed.voxel_to_world(np.array([11, 14, 8]))
    for t in (0.0, 0.5, 1.0):
        start, end = world + placement()[:3, 3], true_map(world)
        wanted = pair.moving.world_to_voxel(start + t * (end - start))
        ramp = pair.moving.with_data(np.indices(MOVING_SHAPE)[0].astype(np.float32))
        array = WarpedArray(pair, ramp, t=t)
        at = pair.fixed_grid.voxel_to_data([11, 14, 8]).astype(int)
        assert array[tuple(at)] == pytest.approx(wanted[0], abs=0.03)


def test_a_whole_volume_is_answered_coarsely_when_it_is_large(monkeypatch):
    from napari_gemini.widgets.pair import warped_array

    pair = make_pair()
    fine = np.asarray(WarpedArray(pair, pair.moving))
    monkeypatch.setattr(warped_array, "MOST_VOXELS", 500)
    rough = WarpedArray(pair, pair.moving)[:]
    assert rough.shape == fine.shape
    both = np.isfinite(rough) & np.isfinite(fine)
    assert np.corrcoef(rough[both], fine[both])[0, 1] > 0.8


def test_curtain_and_checkerboard_hide_their_part():
    pair = make_pair()
    array = WarpedArray(pair, pair.moving)
    array.hide = curtain(2, 10)
    cut = array[7]
    assert np.isnan(cut[:, :10]).all()
    assert np.isfinite(cut[:, 10:]).any()
    spacing = pair.fixed_grid.spacing
    first = WarpedArray(pair, pair.moving)
    second = WarpedArray(pair, pair.moving)
    first.hide = checkerboard((1, 2), spacing, 5.0)
    second.hide = checkerboard((1, 2), spacing, 5.0, turned=True)
    seen = np.stack([np.isfinite(a[7]) for a in (first, second)])
    all_seen = np.isfinite(WarpedArray(pair, pair.moving)[7])
    assert np.array_equal(seen.sum(axis=0) == 1, all_seen)
    assert 0.3 < seen[0].sum() / all_seen.sum() < 0.7


def test_edges_follow_the_border_of_the_object():
    pair = make_pair()
    image = WarpedArray(pair, pair.moving)
    edges = EdgeArray(image, 100.0)[7]
    values = image[7]
    on = np.isfinite(edges)
    assert 10 < on.sum() < on.size / 4
    assert 20 < np.median(values[on]) < 95  # on the slope, neither within nor outside
    assert on.shape == values.shape
