"""The benchmark of unlike contrasts: its pairs are what it says, and so are its errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.contrasts import ALIKE, SIZES, UNLIKE, measure, pairs_of, unregistered
from benchmarks.pairs import matched
from napari_gemini.engine.tasks.pair_inputs import PairInputs
from napari_gemini.phantom.cohort import PhantomCase
from napari_gemini.phantom.random_cohort import RandomGroup, random_groups
from napari_gemini.volumes.fields import DisplacementField


@pytest.fixture(scope="module")
def groups() -> list[RandomGroup]:
    return list(random_groups(40, 4, 2, 48, seed=1))


def profile(case: PhantomCase) -> NDArray[np.float64]:
    """Mean grey value of each structure that is large enough to have one."""
    image, labels = case.image.data.astype(float), case.labels.data
    return np.array([image[labels == v].mean() if (labels == v).sum() > 9 else np.nan
                     for v in case.names])  # fmt: skip


def likeness(pair: tuple[PhantomCase, PhantomCase]) -> float:
    """Correlation of the grey values of the structures of two scans."""
    a, b = map(profile, pair)
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[both], b[both])[0, 1]) if both.sum() > 3 else np.nan


def staying(inputs: PairInputs) -> DisplacementField:
    """Return the field that moves nothing."""
    shape = tuple(inputs.fixed.shape)
    return DisplacementField(np.zeros((len(shape), *shape)), inputs.fixed.affine)


def test_pairs_in_two_contrasts_look_less_alike(groups: list[RandomGroup]) -> None:
    found = {kind: [pairs_of(g)[kind] for g in groups if kind in pairs_of(g)]
             for kind in (ALIKE, UNLIKE)}  # fmt: skip
    assert len(found[ALIKE]) == len(groups)
    assert 5 <= len(found[UNLIKE]) <= 20
    alike, unlike = (np.nanmedian([likeness(pair) for pair in found[k]]) for k in (ALIKE, UNLIKE))
    assert alike > 0.8
    assert unlike < alike - 0.3


def test_the_error_of_scans_as_they_lie_is_the_length_of_the_true_map(
    groups: list[RandomGroup],
) -> None:
    group = groups[0]
    moving, fixed = pairs_of(group)[ALIKE]
    row = measure(group, moving, fixed, staying)
    a, b = group.truth.landmarks(fixed.id), group.truth.landmarks(moving.id)
    expected = np.linalg.norm(b.points - a.points, axis=1)[a.inside & b.inside].mean()
    assert row["error"] == pytest.approx(expected, abs=1e-6)
    assert row["error"] > 1
    assert 0 < row["dice"] < 1
    assert row["fold_percent"] == 0


def test_scans_in_two_contrasts_come_closer() -> None:
    """Over pairs as drawn for the general models, of which correlation makes most worse."""
    errors: dict[str, list[float]] = {"lying": [], "auto": [], "correlation": []}
    for group in random_groups(24, 4, 2, SIZES[2], seed=5):
        if UNLIKE not in pairs_of(group):
            continue
        moving, fixed = pairs_of(group)[UNLIKE]
        for name, way in {
            "lying": unregistered,
            "auto": matched("none", 2, 60),
            "correlation": matched("none", 2, 60, "correlation"),
        }.items():
            errors[name].append(measure(group, moving, fixed, way)["error"])
    lying, auto, correlation = map(np.mean, errors.values())
    assert len(errors["auto"]) >= 4
    assert auto < 0.6 * lying
    assert auto < 0.6 * correlation
