"""The canvas grid: nothing moves, nothing is mirrored, painting reaches the file's array."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gemini.volumes.geometry import compose
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from tests.gui.helpers import AFFINES, MARKER, SHAPE, rotation, write_marked


@pytest.mark.parametrize("name", AFFINES)
def test_a_marker_keeps_its_world_position(tmp_path, name):
    path = write_marked(tmp_path, name)
    volume = read_volume(path)
    grid = CanvasGrid.of(volume)

    shown = grid.to_canvas(volume.data)
    place = np.unravel_index(int(np.argmax(shown)), shown.shape)

    truth = nib.affines.apply_affine(nib.load(path).affine, MARKER)
    np.testing.assert_allclose(grid.data_to_world(place), truth, atol=1e-4)
    np.testing.assert_allclose(grid.data_to_voxel(place), MARKER)
    np.testing.assert_allclose(grid.voxel_to_data(MARKER), place)
    np.testing.assert_allclose(grid.world_to_data(truth), place, atol=1e-4)


@pytest.mark.parametrize("name", AFFINES)
def test_axes_run_to_inferior_posterior_left(name):
    grid = CanvasGrid.of_affine(AFFINES[name], SHAPE)
    for axis, world_axis in enumerate((2, 1, 0)):
        step = np.zeros(3)
        step[axis] = 1
        moved = grid.data_to_world(step) - grid.data_to_world(np.zeros(3))
        assert moved[world_axis] < 0
    assert grid.axcodes == ("I", "P", "L")
    assert min(grid.spacing) > 0


def test_the_canvas_is_not_mirrored():
    """napari's default camera looks along +x right, +y down, depth towards the viewer."""
    for name, affine in AFFINES.items():
        matrix = CanvasGrid.of_affine(affine, SHAPE).data_affine[:3, :3]
        depth, down, right = matrix.T
        # right x up x towards is a right-handed system in the body as well.
        assert np.dot(np.cross(right, -down), depth) > 0, name


def test_painting_the_view_paints_the_file_array():
    labels = np.zeros(SHAPE, np.uint8)
    grid = CanvasGrid.of_affine(AFFINES["oblique-flipped"], SHAPE)
    view = grid.to_canvas(labels)
    view[tuple(grid.voxel_to_data(MARKER).astype(int))] = 3
    assert labels[MARKER] == 3
    assert np.count_nonzero(labels) == 1
    np.testing.assert_array_equal(grid.from_canvas(view), labels)
    assert np.shares_memory(grid.from_canvas(view), labels)


def test_axis_aligned_scans_overlap_where_the_body_does():
    first = CanvasGrid.of_affine(AFFINES["ras"], SHAPE)
    second = CanvasGrid.of_affine(AFFINES["anisotropic"], SHAPE)
    world = np.array([1.0, 2.0, 3.0])
    for grid in (first, second):
        canvas = grid.world_to_data(world) * grid.spacing + grid.translate
        np.testing.assert_allclose(canvas, -world[::-1], atol=1e-9)


def test_a_direction_is_turned_like_the_difference_of_two_positions():
    grid = CanvasGrid.of_affine(AFFINES["oblique"], SHAPE)
    start, vector = np.array([3.0, -2.0, 7.0]), np.array([1.5, 0.5, -2.0])
    difference = grid.world_to_data(start + vector) - grid.world_to_data(start)
    np.testing.assert_allclose(grid.vectors_to_data(vector), difference, atol=1e-9)


def test_a_picture_is_shown_as_stored():
    volume = Volume(np.arange(12).reshape(4, 3), np.eye(4), spacing_known=False)
    grid = CanvasGrid.of(volume)
    np.testing.assert_array_equal(grid.to_canvas(volume.data), volume.data.T)
    assert grid.axis_labels == ("row", "column")
    assert grid.unit == "pixel"
    assert grid.ends == (("", ""), ("", ""))


def test_a_wrong_shape_is_refused():
    grid = CanvasGrid.of_affine(np.eye(4), (2, 3, 4))
    with pytest.raises(ValueError, match="is not on"):
        grid.to_canvas(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="is not on"):
        grid.from_canvas(np.zeros((2, 3, 4)))


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
)
def test_any_orientation_round_trips(angles, spacing, flips, shape):
    direction = np.eye(3)
    for axis, angle in enumerate(angles):
        direction = direction @ rotation(angle, axis)
    affine = compose([1, -2, 3], spacing, direction @ np.diag(flips))
    grid = CanvasGrid.of_affine(affine, shape)
    data = np.arange(np.prod(shape)).reshape(shape)
    shown = grid.to_canvas(data)
    np.testing.assert_array_equal(grid.from_canvas(shown), data)
    points = np.random.default_rng(0).uniform(0, 1, (5, 3)) * (np.array(shape) - 1)
    np.testing.assert_allclose(grid.data_to_voxel(grid.voxel_to_data(points)), points, atol=1e-9)
    world = points @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(grid.data_to_world(grid.voxel_to_data(points)), world, atol=1e-6)
    np.testing.assert_allclose(grid.world_to_data(world), grid.voxel_to_data(points), atol=1e-6)
