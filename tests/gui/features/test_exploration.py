"""Colours, painting and brushing of explored voxels, without the engine."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import find_layers, image_layer, labels_layer
from napari_gemini.widgets.features.exploration import Exploration, colours_by
from napari_gemini.widgets.features.painting import (
    SELECTION,
    default_width,
    paint,
    points_under,
    show_selection,
    take_selection_away,
)
from tests.gui.helpers import AFFINES, SHAPE


def explored(name: str = "oblique-flipped", count: int = 40) -> Exploration:
    grid = CanvasGrid.of_affine(AFFINES[name], SHAPE)
    flat = np.random.default_rng(0).choice(np.prod(SHAPE), count, replace=False)
    index = np.stack(np.unravel_index(np.sort(flat), SHAPE), axis=1)
    world = index @ AFFINES[name][:3, :3].T + AFFINES[name][:3, 3]
    label = np.arange(count) % 3
    coordinates = np.random.default_rng(1).normal(size=(count, 2)).astype(np.float32)
    return Exploration(
        np.zeros(count, int), index, world, label, [grid, grid], coordinates=coordinates
    )


def test_labels_take_the_colours_of_the_scheme():
    found = explored()
    colours, legend = colours_by(found, "label", {1: "#ff0000", 2: "#0000ff"}, {1: "left"})
    assert np.allclose(colours[found.label == 1], [1, 0, 0, 1])
    assert np.allclose(colours[found.label == 2], [0, 0, 1, 1])
    assert [words for _, words in legend] == ["background (14)", "left (13)", "label 2 (13)"]
    assert legend[1][0] == "#ff0000"


def test_what_is_not_known_is_grey():
    found = explored()
    colours, legend = colours_by(found, "kmeans")
    assert legend == []
    assert np.ptp(colours[:, :3]) == 0
    found.hdbscan = np.where(np.arange(40) < 10, 0, 1)
    colours, legend = colours_by(found, "hdbscan")
    assert np.ptp(colours[:10, :3]) == 0
    assert not np.allclose(colours[0], colours[-1])
    assert legend[-1][1] == "none (10)"


def test_positions_grow_along_their_axes():
    found = explored()
    colours, _ = colours_by(found, "position")
    for axis in range(3):
        order = np.argsort(found.world[:, axis])
        assert (np.diff(colours[order, axis]) >= -1e-6).all()


def test_voxels_are_painted_as_wide_as_can_be_seen():
    index, values = np.array([[2, 2, 2], [0, 0, 0]]), np.array([3, 5])
    assert default_width((24, 24, 24)) == 1
    assert default_width((160, 192, 160)) % 2 == 1
    assert default_width((160, 192, 160)) > 1
    one = paint((5, 5, 5), index, values, 1)
    assert np.count_nonzero(one) == 2
    assert one[2, 2, 2] == 3
    three = paint((5, 5, 5), index, values, 3)
    # A whole cube and the eighth of one that is within the scan; no neighbour hides a voxel.
    assert (three == 3).sum() + (three == 5).sum() == 27 + 8 - 1
    assert three[0, 0, 0] == 5
    assert three[2, 2, 2] == 3


@pytest.mark.parametrize("name", AFFINES)
def test_selected_voxels_are_where_they_are_in_the_file(name):
    """Brushed both ways on every orientation: paint a selection, then find its points again."""
    found = explored(name)
    found.grids = found.grids[:1]
    viewer = ViewerModel()
    scan = Volume(np.zeros(SHAPE, np.float32), AFFINES[name])
    assert show_selection([viewer], found, np.ones(40, bool), np.ones((40, 4))) == 0
    viewer.add_layer(image_layer(scan, "scan"))
    mask = np.arange(40) % 4 == 0
    colours, _ = colours_by(found, "label")
    assert show_selection([viewer], found, mask, colours, width=1) == 1
    (layer,) = find_layers(viewer, SELECTION)
    in_file = found.grids[0].from_canvas(np.asarray(layer.data))
    assert sorted(map(tuple, np.argwhere(in_file))) == sorted(map(tuple, found.index[mask]))
    k = int(np.flatnonzero(mask)[1])
    value = int(in_file[tuple(found.index[k])])
    assert np.allclose(layer.colormap.map(value), colours[k], atol=0.02)
    assert points_under(found, layer, value)[k]

    labels = np.zeros(SHAPE, np.uint8)
    labels[tuple(found.index[mask].T)] = 7
    under = points_under(found, labels_layer(Volume(labels, AFFINES[name]), "own"), 7)
    assert np.array_equal(under, mask)
    elsewhere = labels_layer(Volume(np.zeros((3, 4, 5), np.uint8), np.eye(4)), "other")
    assert points_under(found, elsewhere, 7) is None
    take_selection_away([viewer])
    assert not find_layers(viewer, SELECTION)


def test_scans_of_one_grid_are_told_apart(tmp_path):
    """Pictures of one size have the same grid: voxels of one are not painted on the other."""
    affine = AFFINES["ras"]
    files = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    scans = []
    for file in files:
        file.touch()
        scans.append(Volume(np.zeros(SHAPE, np.float32), affine, path=file))
    found = explored("ras")
    found.image = np.arange(40) % 2
    found.paths = tuple(files)
    first, second = ViewerModel(), ViewerModel()
    first.add_layer(image_layer(scans[0], "a"))
    everything, colours = np.ones(40, bool), np.ones((40, 4))

    # The second scan is not open; the first one is no place for its voxels.
    assert show_selection([first], found, everything, colours, width=1) == 1
    second.add_layer(image_layer(scans[1], "b"))
    assert show_selection([first, second], found, everything, colours, width=1) == 2
    for number, viewer in enumerate((first, second)):
        (layer,) = find_layers(viewer, SELECTION)
        painted = found.grids[number].from_canvas(np.asarray(layer.data)) > 0
        assert painted.sum() == 20
        assert painted[tuple(found.index[found.image == number].T)].all()

    # The other way: a label on one scan is no label on the other.
    labels = second.add_layer(labels_layer(Volume(np.ones(SHAPE, np.uint8), affine), "own"))
    under = points_under(found, labels, 1, [first, second])
    assert np.array_equal(under, found.image == 1)

    # Both in one viewer: neither takes the other's layer.
    third = ViewerModel()
    for scan in scans:
        third.add_layer(image_layer(scan, scan.path.name))
    assert show_selection([third], found, everything, colours, width=1) == 2
    assert len(find_layers(third, SELECTION)) == 2

    # The study knows its cases by name, whatever file served.
    found.cases = ("case1", "case2")
    other = ViewerModel()
    other.add_layer(image_layer(scans[0], "a", case="case3"))
    assert show_selection([other], found, everything, colours) == 0
