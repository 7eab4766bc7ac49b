from __future__ import annotations

import numpy as np
import pytest

from napari_gemini.volumes.intensity import choose_intensity_mode, normalise
from napari_gemini.volumes.volume import Volume


def scan(data: np.ndarray, known: bool = True) -> Volume:
    return Volume(data, np.eye(4), spacing_known=known)


@pytest.fixture
def ct() -> np.ndarray:
    """Air, tissue and bone in Hounsfield units, with the padding of a round field of view."""
    data = np.full((20, 20, 20), -1000, np.int16)
    data[5:15, 5:15, 5:15] = 40
    data[9:11, 9:11, 5:15] = 1200
    data[0] = -3024
    return data


def test_the_mode_follows_from_the_values(ct: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert choose_intensity_mode(scan(ct)) == "ct"
    assert choose_intensity_mode(scan(rng.integers(0, 255, (9, 9)).astype("u1"), False)) == "uint8"
    assert choose_intensity_mode(scan(rng.integers(0, 255, (9, 9)).astype("u1"))) == "percentile"
    assert choose_intensity_mode(scan(rng.normal(size=(9, 9, 9)) * 1000)) == "percentile"
    assert choose_intensity_mode(scan(rng.integers(0, 900, (9, 9)).astype("u2"))) == "percentile"


def test_ct_window() -> None:
    values = np.array([-3024, -1024, 0, 1024, 3000], np.int16)
    np.testing.assert_allclose(normalise(values, "ct"), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(normalise(np.array([0, 255], np.uint8), "uint8"), [0, 1])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64, np.int32])
def test_result_is_float32_from_0_to_1(kind: type) -> None:
    data = np.random.default_rng(0).integers(0, 200, (20, 20, 20)).astype(kind)
    for mode in ("auto", "percentile", "ct", "uint8"):
        result = normalise(data, mode)
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1


def test_percentiles_are_robust_and_scale_free() -> None:
    data = np.random.default_rng(0).normal(100, 10, (30, 30, 30))
    reference = normalise(data)
    spiked = data.copy()
    spiked[0, 0, 0] = 1e6
    assert np.abs(normalise(spiked) - reference)[1:].max() < 0.01
    np.testing.assert_allclose(normalise(data * 7 + 3000), reference, atol=1e-5)
    # Far from zero, where float32 would lose the contrast.
    np.testing.assert_allclose(normalise(data + 1e9), reference, atol=1e-4)


def test_mostly_empty_and_constant_images() -> None:
    data = np.zeros((40, 40, 40))
    data[3, 3, 3] = 8
    assert normalise(data)[3, 3, 3] == 1
    np.testing.assert_array_equal(normalise(np.full((4, 4), 5.0)), np.zeros((4, 4)))


def test_large_images_use_a_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(size=(50, 50, 50))
    whole = normalise(data)
    monkeypatch.setattr("napari_gemini.volumes.intensity._MOST_VALUES", 10_000)
    np.testing.assert_allclose(normalise(data), whole, atol=0.05)


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="ct, percentile, uint8 or auto"):
        normalise(np.zeros(4), "window")
