"""Local descriptors, which stand in for features where no model serves."""

from __future__ import annotations

import numpy as np

from napari_gemini.engine.tasks.descriptors import (
    SCALES,
    local_descriptors,
    standardised_descriptors,
)


def test_descriptors_do_not_know_directions() -> None:
    image = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    turned = local_descriptors(np.rot90(image, axes=(0, 2)))
    expected = np.rot90(local_descriptors(image), axes=(1, 3))
    assert np.allclose(turned, expected, atol=1e-4)
    assert len(turned) == 3 * len(SCALES)


def test_a_ramp_has_its_slope_and_no_curvature() -> None:
    image = np.tile(np.arange(40, dtype=np.float32)[:, None] / 40, (1, 40))
    found = local_descriptors(image)[:, 20, 20]
    for number, scale in enumerate(SCALES[:3]):
        intensity, slope, curvature = found[3 * number : 3 * number + 3]
        assert np.isclose(intensity, 0.5, atol=1e-3)
        assert np.isclose(slope, scale / 40, rtol=0.02)
        assert abs(curvature) < 1e-3


def test_descriptors_are_standardised_over_all_images_where_they_were_seen() -> None:
    generator = np.random.default_rng(1)
    images = [generator.random((16, 16)).astype(np.float32) for _ in range(2)]
    seen = [np.ones((16, 16), np.uint8), np.zeros((16, 16), np.uint8)]
    seen[1][4:] = 1
    found = standardised_descriptors(images, seen)
    inside = np.concatenate(
        [parts[:, mask != 0] for parts, mask in zip(found, seen, strict=True)], axis=1
    )
    assert np.allclose(inside.mean(axis=1), 0, atol=1e-4)
    assert np.allclose(inside.std(axis=1), 1, atol=1e-3)
