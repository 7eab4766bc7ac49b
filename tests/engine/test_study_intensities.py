"""Scans of one study are read alike, and none of them comes out empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from napari_gemini.errors import InputError
from napari_gemini.learning.study_cohort import (
    StudyCohort,
    common_intensity_mode,
    load_study_cohort,
    scan_on_grid,
)
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import TrainSettings
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from tests.engine.helpers import Warnings


def study_of(folder: Path, pictures: list[NDArray[np.generic]]) -> Study:
    images = folder / "images"
    images.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(images / f"p{index}.png")
    return Study.create(folder / "study", [images], scheme=LabelScheme(names={1: "part"}))


def read(study: Study, reporter: SilentReporter | None = None) -> StudyCohort:
    settings = TrainSettings(use_labels=False)
    return load_study_cohort(study, settings, reporter or SilentReporter(), torch.device("cpu"))


def picture(seed: int, deep: bool) -> NDArray[np.generic]:
    values = np.random.default_rng(seed).integers(20, 250, (32, 32))
    return (values * 200).astype(np.uint16) if deep else values.astype(np.uint8)


@pytest.mark.parametrize("depths", [(False, True, True), (False, False, True), (True, False)])
def test_pictures_of_mixed_depth_are_read_by_their_percentiles(
    tmp_path: Path, depths: tuple[bool, ...]
) -> None:
    study = study_of(tmp_path, [picture(k, deep) for k, deep in enumerate(depths)])
    warned = Warnings()
    data = read(study, warned)
    assert data.intensity_mode == "percentile"
    assert all(float(scan.std()) > 0.1 for scan in data.cohort.images)
    shallow = [f"p{k}" for k, deep in enumerate(depths) if not deep]
    assert any(", ".join(shallow) in text for text in warned.texts)


def test_pictures_of_one_depth_are_read_as_they_are(tmp_path: Path) -> None:
    warned = Warnings()
    data = read(study_of(tmp_path, [picture(k, False) for k in range(3)]), warned)
    assert data.intensity_mode == "uint8"
    assert warned.texts == []


@pytest.mark.parametrize(
    ("modes", "common"),
    [
        (["ct", "ct", "percentile"], "ct"),
        (["ct", "percentile"], "percentile"),
        (["uint8", "uint8", "percentile"], "percentile"),
        (["uint8"], "uint8"),
    ],
)
def test_one_mode_serves_all(modes: list[str], common: str) -> None:
    assert common_intensity_mode(modes) == common


def test_a_scan_that_a_mode_leaves_empty_is_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, [picture(k, True) for k in range(2)])
    image, placement = study.load_image("p0"), study.placement("p0")
    with pytest.raises(InputError, match=r"All values of .*p0\.png lie outside .* 'uint8'"):
        scan_on_grid(image, study.grid, placement, "uint8")
