"""Grid lines and arrows: each vertex is where the map puts it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.widgets.pair.deformation import (
    PIECES,
    Plane,
    arrows,
    clip,
    default_spacing,
    fixed_grid_on_moving,
    line_vertices,
    moving_grid_on_fixed,
    segments,
)
from tests.gui.pair.helpers import make_pair, placement, true_inverse, true_map


@pytest.fixture(scope="module")
def pair():
    return make_pair()


PLANE = Plane((1, 2), 7)


def inner(vertices, grid, margin=5):
    inside = (vertices >= margin).all(-1) & (vertices <= np.array(grid.shape) - 1 - margin).all(-1)
    return vertices[inside]


def test_undeformed_lines_are_evenly_spaced_in_mm(pair):
    grid = pair.fixed_grid
    for along, lines in enumerate(line_vertices(grid, PLANE, 4.0)):
        axis, across = PLANE.displayed[along], PLANE.displayed[1 - along]
        assert (lines[..., 0] == 7).all()
        assert np.allclose(np.diff(lines[:, 0, across]) * grid.spacing[across], 4.0)
        assert np.allclose(np.diff(lines[0, ::PIECES, axis]) * grid.spacing[axis], 4.0)
        assert lines.min() >= 0
        assert (lines[..., axis] <= grid.shape[axis] - 1).all()


def test_the_moving_grid_lies_where_its_tissue_ends_up(pair):
    grid = pair.fixed_grid
    lines = line_vertices(grid, PLANE, 4.0)
    for before, after in zip(lines, moving_grid_on_fixed(pair, lines), strict=True):
        tissue = grid.data_to_world(before) + placement()[:3, 3]
        expected = grid.world_to_data(true_inverse(tissue))
        near = (np.abs(before - (np.array(grid.shape) - 1) / 2) < np.array(grid.shape) / 4).all(-1)
        assert near.any()
        assert np.allclose(after[near], expected[near], atol=0.03)
        assert np.abs(after - before)[near].max() > 0.3
    still = moving_grid_on_fixed(pair, lines, t=0.0)
    for there, here in zip(still, lines, strict=True):
        seen = np.isfinite(there).all(axis=-1)
        assert np.allclose(there[seen], here[seen])
        # Where the moving scan has no tissue, nothing of it is drawn.
        tissue = grid.data_to_world(here) + placement()[:3, 3]
        index = pair.moving.world_to_voxel(tissue)
        inside = (index >= -0.5).all(-1) & (index < np.array(pair.moving.shape) - 0.5).all(-1)
        assert np.array_equal(seen, inside)
        assert 0.3 < seen.mean() < 1


def test_the_fixed_grid_lies_where_the_field_sends_it(pair):
    lines = line_vertices(pair.fixed_grid, PLANE, 4.0)
    for before, after in zip(lines, fixed_grid_on_moving(pair, lines), strict=True):
        world = pair.fixed_grid.data_to_world(before)
        assert np.allclose(
            after, pair.moving_grid.world_to_data(pair.map_fixed_to_moving(world)), atol=1e-9
        )
        assert np.allclose(after, pair.moving_grid.world_to_data(true_map(world)), atol=0.05)


def test_a_marker_under_a_vertex_is_the_voxel_that_the_field_names(pair):
    """A bright voxel of the moving scan is under the vertex of the fixed voxel mapped there."""
    start = pair.fixed.voxel_to_world([11, 14, 8])
    data = pair.fixed_grid.world_to_data(start)
    vertex = fixed_grid_on_moving(pair, [data[None, None]])[0][0, 0]
    voxel = np.rint(pair.moving_grid.data_to_voxel(vertex)).astype(int)
    expected = np.rint(pair.moving.world_to_voxel(true_map(start))).astype(int)
    assert np.array_equal(voxel, expected)


def test_segments_join_neighbours_and_leave_broken_pieces_out(pair):
    lines = [np.arange(24, dtype=float).reshape(2, 4, 3)]
    found = segments(lines)
    assert found.shape == (6, 2, 3)
    assert np.allclose(found[0, 0] + found[0, 1], lines[0][0, 1])
    lines[0][1, 2] = np.nan
    assert len(segments(lines)) == 4
    flat = segments(lines, flatten=(0, 9.0))
    assert (flat[:, 0, 0] == 9).all()
    assert (flat[:, 1, 0] == 0).all()


def test_lines_are_cut_at_the_border_of_the_scan():
    vectors = np.array(
        [
            [[2, 2, 2], [1, 0, 1]],  # within
            [[2, 2, 2], [0, 10, 0]],  # leaves
            [[-4, 1, 1], [8, 0, 0]],  # enters
            [[9, 9, 9], [5, 5, 5]],  # outside
            [[2, -3, 1], [1, 0, 0]],  # outside, beside
            [[-1, 2, 2], [20, 0, 0]],  # crosses
            [[3, 3, 3], [0, 0, 0]],  # a point
        ],
        float,
    )
    found, kept = clip(vectors, (5, 6, 7))
    assert kept.tolist() == [True, True, True, False, False, True, True]
    assert np.allclose(found[0], vectors[0])
    assert np.allclose(found[1], [[2, 2, 2], [0, 3, 0]])
    assert np.allclose(found[2], [[0, 1, 1], [4, 0, 0]])
    assert np.allclose(found[3], [[0, 2, 2], [4, 0, 0]])
    assert np.allclose(found[4], vectors[6])


def test_arrows_have_the_length_and_direction_of_the_displacement(pair):
    grid = pair.fixed_grid
    vectors, lengths = arrows(pair, PLANE, 5.0, flatten=False)
    start = grid.data_to_world(vectors[:, 0])
    end = grid.data_to_world(vectors[:, 0] + vectors[:, 1])
    assert np.allclose(np.linalg.norm(end - start, axis=1), lengths, atol=1e-4)
    expected = true_map(start) - start - placement()[:3, 3]
    assert np.allclose(end - start, expected, atol=0.05)
    assert lengths.max() > 1.5
    flat, same = arrows(pair, PLANE, 5.0)
    assert (flat[:, 1, 0] == 0).all()
    assert np.allclose(same, lengths)


def test_default_spacing_is_a_round_number(pair):
    spacing = default_spacing(pair.fixed_grid)
    assert spacing in (1, 2, 5, 10, 0.5, 0.2)
    longest = max(
        n * s for n, s in zip(pair.fixed_grid.shape, pair.fixed_grid.spacing, strict=True)
    )
    assert 8 <= longest / spacing <= 24
