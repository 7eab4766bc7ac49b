from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_gemini.phantom.shapes import (
    ANTERIOR,
    CAPSULE,
    GLAND,
    NAMES,
    NUCLEUS,
    POSTERIOR,
    VENTRICLE,
    anatomy,
    labels_of,
)


def template(ndim: int, n: int = 48) -> np.ndarray:
    axis = np.linspace(-0.99, 0.99, n)
    points = np.stack(np.meshgrid(*[axis] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    return labels_of(anatomy(points * 30.0, np.full(ndim, 30.0))).reshape((n,) * ndim)


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_structure_is_there(ndim: int) -> None:
    counts = np.bincount(template(ndim).ravel(), minlength=7)
    assert (counts[1:] > 0).all()
    assert len(counts) == 1 + len(NAMES)
    assert counts[GLAND] == counts[1:].min()


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_capsule_is_a_closed_shell(ndim: int) -> None:
    labels = template(ndim)
    inner = (labels > 0) & (labels != CAPSULE)
    touching = ndimage.binary_dilation(labels == 0) & inner
    assert not touching.any()
    # From outside one cannot get in without crossing the capsule.
    regions, _ = ndimage.label(labels != CAPSULE)
    assert not set(np.unique(regions[inner])) & set(np.unique(regions[labels == 0]))


@pytest.mark.parametrize("ndim", [2, 3])
def test_structures_are_whole_and_nested(ndim: int) -> None:
    labels = template(ndim)
    for value in (CAPSULE, GLAND):
        assert ndimage.label(labels == value)[1] == 1, NAMES[value]
    pairs = 2 if ndim == 3 else 1  # the 2D cut goes through one of each
    assert ndimage.label(labels == NUCLEUS)[1] == pairs
    assert ndimage.label(labels == VENTRICLE)[1] == pairs
    organ = ndimage.binary_fill_holes(labels > 0)
    assert not (organ & (labels == 0)).any()


def test_lobes_lie_in_front_of_each_other() -> None:
    labels = template(3)
    centers = {v: ndimage.center_of_mass(labels == v) for v in (ANTERIOR, POSTERIOR)}
    assert centers[ANTERIOR][1] > centers[POSTERIOR][1] + 5


def test_labels_do_not_depend_on_units() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 3))
    small = labels_of(anatomy(points, np.ones(3)))
    large = labels_of(anatomy(points * [40.0, 50.0, 60.0], np.array([40.0, 50.0, 60.0])))
    assert np.array_equal(small, large)
