"""Folds, ranks and what is carried across, without a window."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.volumes.applying import apply_field
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.pair.carrying import carry_points, carry_vectors, carry_volume
from napari_gemini.widgets.pair.folds import find_folds
from napari_gemini.widgets.pair.ranking import pair_reports, ranks
from tests.gui.pair.helpers import make_pair, true_inverse, true_map


def test_folds_are_counted_by_connected_region():
    data = np.zeros((12, 10, 8), np.uint8)
    data[2:5, 3:6, 2:5] = 1
    data[3, 4, 3] = 2
    data[9, 9, 7] = 2  # at the corner of the volume
    data[5, 6, 5] = 1  # touches the first by a corner
    volume = Volume(data, np.diag([2.0, 1.0, 3.0, 1.0]))
    first, second = find_folds(volume)
    assert (first.voxels, first.central, first.voxel) == (28, 1, (3, 4, 3))
    assert first.volume == pytest.approx(28 * 6)
    assert (second.voxels, second.central, second.voxel) == (1, 1, (9, 9, 7))
    assert find_folds(volume.with_data(np.zeros_like(data))) == []


def test_ranks_say_the_place_among_the_other_pairs(tmp_path):
    for name, gss, folds in (("a", 0.9, 0.0), ("b", 0.8, 0.0), ("c", 0.95, 1.0)):
        (tmp_path / name).mkdir()
        report = {"gss_mean": gss, "fold_percent_digital": folds, "gvs_mean": None}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("{")
    reports = pair_reports(tmp_path)
    assert sorted(reports) == ["a", "b", "c"]
    mine = reports.pop("a")
    found = ranks(mine, reports)
    assert (found["gss_mean"].place, found["gss_mean"].of) == (2, 3)
    assert found["fold_percent_digital"].place == 1  # shared with b
    assert "gvs_mean" not in found
    assert ranks(mine, {}) == {}


def test_images_are_pulled_as_the_job_pulls_them():
    pair = make_pair()
    found = carry_volume(pair, pair.moving, "moving", labels=False)
    assert np.allclose(found, apply_field(pair.there, pair.moving, pair.fixed), atol=1e-3)
    back = carry_volume(pair, pair.fixed, "fixed", labels=False)
    assert np.allclose(back, apply_field(pair.back, pair.fixed, pair.moving), atol=1e-3)
    labels = pair.moving.with_data((pair.moving.data > 50).astype(np.uint16) * 300)
    found = carry_volume(pair, labels, "moving", labels=True)
    assert found.dtype == np.uint16
    assert np.array_equal(found, apply_field(pair.there, labels, pair.fixed, labels=True))


def test_points_go_the_other_way_than_images():
    """A point drawn on a bright voxel of the moving scan lands on the warped bright voxel."""
    pair = make_pair()
    marker = np.zeros(pair.moving.shape, np.float32)
    voxel = (15, 13, 10)
    marker[voxel] = 100
    warped = carry_volume(pair, pair.moving.with_data(marker), "moving", labels=False)
    point = carry_points(pair, pair.moving.voxel_to_world(voxel), "moving")
    brightest = np.array(np.unravel_index(int(warped.argmax()), warped.shape))
    assert np.abs(pair.fixed.world_to_voxel(point) - brightest).max() < 1.0
    assert np.allclose(point, true_inverse(pair.moving.voxel_to_world(voxel)), atol=0.02)


def test_vectors_are_carried_by_both_ends():
    pair = make_pair()
    start = pair.fixed.voxel_to_world([[11, 14, 8]])
    landed, direction = carry_vectors(pair, start, [[2.0, 0, 0]], "fixed")
    assert np.allclose(landed, true_map(start), atol=0.02)
    assert np.allclose(landed + direction, true_map(start + np.array([2.0, 0, 0])), atol=0.02)


def test_another_dimension_is_refused():
    pair = make_pair()
    with pytest.raises(InputError, match="2D and the pair is 3D"):
        carry_volume(pair, Volume(np.zeros((4, 4)), np.eye(4)), "moving", labels=False)
