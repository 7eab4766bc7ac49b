from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.phantom.appearance import (
    TISSUES,
    Appearance,
    acquire,
    paint,
    random_appearance,
    random_lesion,
)
from napari_gemini.phantom.shapes import NUCLEUS, VENTRICLE, anatomy, labels_of


def test_same_contrast_on_request() -> None:
    looks = [random_appearance(np.random.default_rng(s), contrast=0.0) for s in range(3)]
    assert all(look.tissues == TISSUES and look.gamma == 1.0 for look in looks)
    varied = [random_appearance(np.random.default_rng(s)) for s in range(3)]
    assert len({look.tissues["white"] for look in varied}) == 3


def test_tissues_show_their_grey_values() -> None:
    half = np.full(3, 40.0)
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)) * half
    structures = anatomy(points, half)
    grey = paint(structures, TISSUES, 1e-4)
    labels = labels_of(structures)
    for value, name in ((VENTRICLE, "ventricle"), (NUCLEUS, "nucleus")):
        assert np.median(grey[labels == value]) == pytest.approx(TISSUES[name], abs=1e-3)
    outside = structures.body > 0.2
    assert np.allclose(grey[outside], TISSUES["air"], atol=1e-3)
    assert grey.min() >= 0
    assert grey.max() <= 1.05


def test_noise_is_rician() -> None:
    looks = Appearance(TISSUES, gamma=1.0, bias=0.0, noise=0.1)
    empty = acquire(np.random.default_rng(0), np.zeros((60, 60, 60)), looks, 10.0)
    assert empty.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    bright = acquire(np.random.default_rng(0), np.ones((60, 60, 60)), looks, 10.0)
    assert bright.std() == pytest.approx(0.1, rel=0.02)


def test_bias_field_is_smooth_and_has_its_strength() -> None:
    looks = Appearance(TISSUES, gamma=1.0, bias=0.2, noise=0.0)
    log = np.log(acquire(np.random.default_rng(1), np.full((48, 48), 0.5), looks, 12.0) / 0.5)
    assert log.std() == pytest.approx(0.2, rel=0.1)
    assert np.abs(np.diff(log, axis=0)).max() < 0.05


def test_lesions_lie_in_the_organ() -> None:
    half = np.array([40.0, 48.0, 40.0])
    for seed in range(20):
        lesion = random_lesion(np.random.default_rng(seed), half)
        assert lesion.inside(lesion.center[None])[0] == -1.0
        assert anatomy(lesion.center[None], half).body[0] < 0
