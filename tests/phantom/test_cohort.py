from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.phantom.cohort import Cohort, make_cohort
from napari_gemini.phantom.headers import Headers
from napari_gemini.volumes.volume import Volume


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return make_cohort(6, 3, seed=4, crop=False)


@pytest.fixture(scope="module")
def pictures() -> Cohort:
    return make_cohort(8, 2, seed=4, crop=False)


def centers(volume: Volume) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    return volume.voxel_to_world(index.reshape(-1, volume.ndim).astype(float))


def mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        np.mean(
            [
                2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum())
                for k in range(1, 7)
            ]
        )
    )


def test_defaults_suit_a_demo(cohort: Cohort) -> None:
    image = cohort.cases[0].image
    assert image.shape == (40, 48, 40)
    assert image.spacing == (2.0, 2.0, 2.0)
    assert image.axcodes == ("R", "A", "S")
    assert image.data.dtype == np.int16
    assert len(cohort) == 6
    assert all(set(np.unique(c.labels.data)) == set(range(7)) for c in cohort.cases)


def test_pictures_have_no_spacing(pictures: Cohort) -> None:
    image = pictures.cases[0].image
    assert image.shape == (96, 96)
    assert not image.spacing_known
    assert np.array_equal(image.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert image.data.dtype == np.uint8


def test_unregistered_overlap_leaves_work_to_do(cohort: Cohort, pictures: Cohort) -> None:
    for some in (cohort, pictures):
        scores = [mean_dice(a.labels.data, b.labels.data) for a, b in combinations(some.cases, 2)]
        assert 0.45 < np.mean(scores) < 0.65


def test_same_seed_same_cohort() -> None:
    first, second = make_cohort(2, 2, seed=9), make_cohort(3, 2, seed=9)
    for a, b in zip(first.cases, second.cases, strict=False):
        assert np.array_equal(a.image.data, b.image.data)
        assert np.array_equal(a.labels.data, b.labels.data)
    other = make_cohort(1, 2, seed=10, crop=False)
    assert not np.array_equal(first.cases[0].labels.data, other.cases[0].labels.data[:96, :96])


def test_options_change_only_what_they_name() -> None:
    plain, changed = (
        make_cohort(2, 3, seed=1, crop=False),
        make_cohort(2, 3, seed=1, crop=False, lesions=True, noise=0.0, contrast=0.0),
    )
    for a, b in zip(plain.cases, changed.cases, strict=True):
        assert np.array_equal(a.labels.data, b.labels.data)
    assert changed.cases[0].lesion is None
    mask = changed.cases[1].lesion
    assert mask is not None
    assert mask.any()
    assert plain.cases[1].lesion is None


def test_lesion_shows_in_the_image_and_not_in_the_labels() -> None:
    quiet = {"noise": 0.0, "bias": 0.0, "contrast": 0.0, "crop": False}
    without = make_cohort(2, 3, seed=2, **quiet).cases[1]
    with_it = make_cohort(2, 3, seed=2, lesions=True, **quiet).cases[1]
    changed = without.image.data != with_it.image.data
    assert with_it.lesion is not None
    assert not (changed & ~with_it.lesion).any()
    assert changed[with_it.lesion].mean() > 0.9


def test_true_map_inverse_and_round_trips(cohort: Cohort) -> None:
    points = centers(cohort.cases[0].labels)[::37]
    there = cohort.true_map(0, 1, points)
    assert np.abs(cohort.true_map(1, 0, there) - points).max() < 0.05 * 2.0
    around = cohort.true_map(2, 0, cohort.true_map(1, 2, there))
    assert np.abs(around - points).max() < 0.05 * 2.0
    assert np.abs(cohort.true_map(3, 3, points) - points).max() < 1e-3
    assert np.linalg.norm(there - points, axis=1).mean() > 2.0


def test_true_map_never_folds(cohort: Cohort, pictures: Cohort) -> None:
    for some, pairs in ((cohort, [(0, 1), (4, 2)]), (pictures, [(0, 1), (5, 3), (7, 6)])):
        for a, b in pairs:
            labels = some.cases[a].labels
            d = labels.ndim
            mapped = some.true_map(a, b, centers(labels)).reshape(*labels.shape, d)
            spacing = labels.spacing
            gradient = np.gradient(mapped, *spacing, axis=tuple(range(d)))
            jacobian = np.linalg.det(np.stack(gradient, -1) * np.sign(np.diag(labels.affine)[:d]))
            assert jacobian.min() > 0.1
            assert jacobian.max() < 10
            assert np.log(jacobian).std() > 0.1


@pytest.mark.parametrize("headers", ["plain", "varied", "oblique"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_follow_the_true_map(ndim: int, headers: Headers) -> None:
    cohort = make_cohort(2, ndim, seed=7, headers=headers)
    fixed, moving = (case.labels for case in cohort.cases)
    voxels = np.argwhere(fixed.data > 0)
    where = np.rint(
        moving.world_to_voxel(cohort.true_map(0, 1, fixed.voxel_to_world(voxels.astype(float))))
    ).astype(int)
    inside = np.all((where >= 0) & (where < moving.shape), axis=1)
    assert inside.mean() > 0.9
    found = moving.data[tuple(where[inside].T)]
    # Rounding to a voxel moves thin structures; half a voxel off everywhere would give about 0.7.
    assert (found == fixed.data[tuple(voxels[inside].T)]).mean() > (0.86 if ndim == 3 else 0.93)


@pytest.mark.parametrize("headers", ["varied", "oblique"])
def test_headers_do_not_change_the_anatomy(headers: Headers) -> None:
    plain = make_cohort(4, 3, seed=5, crop=False)
    other = make_cohort(4, 3, seed=5, crop=False, headers=headers)
    codes = set()
    for a, b in zip(plain.cases, other.cases, strict=True):
        volumes = [
            (c.labels.data > 0).sum() * abs(np.linalg.det(c.labels.affine[:3, :3])) for c in (a, b)
        ]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
        marks = a.map.to_template(plain.truth.landmarks(a.id).points)
        assert np.allclose(marks, b.map.to_template(other.truth.landmarks(b.id).points), atol=1e-2)
        assert len(set(np.round(b.image.spacing, 3))) > 1
        assert b.image.is_oblique == (headers == "oblique")
        codes.add(b.image.axcodes)
    assert len(codes) > 1


def test_cropping_leaves_enough(cohort: Cohort) -> None:
    cropped = make_cohort(6, 3, seed=4)
    shapes = [case.image.shape for case in cropped.cases]
    assert any(shape != (40, 48, 40) for shape in shapes)
    assert min(map(min, shapes)) >= 32
    for whole, part in zip(cohort.cases, cropped.cases, strict=True):
        start = np.rint(whole.labels.world_to_voxel(part.labels.affine[:3, 3])).astype(int)
        window = tuple(slice(s, s + n) for s, n in zip(start, part.labels.shape, strict=True))
        assert (whole.labels.data[window] == part.labels.data).mean() > 0.999


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 4},
        {"shape": (40, 40)},
        {"shape": (8, 40, 40)},
        {"count": 0},
        {"headers": "upside down"},
    ],
)
def test_impossible_options_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=r"^[A-Z].*[.]$"):
        make_cohort(**wrong)
