"""Scans that the library's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from GeminiPropagateLib.jobs import AtlasFiles, TargetFile

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven tiny scans with their labels."""
    scans = make_cohort(7, 3, (24, 24, 24), spacing=3.0, noise=0.02)
    return write_cohort(tmp_path_factory.mktemp("scans") / "cohort", scans, test=2)


@pytest.fixture(scope="session")
def atlas(cohort: Path) -> AtlasFiles:
    image = sorted((cohort / "images").iterdir())[0]
    return AtlasFiles("atlas", "Atlas", image, cohort / "labels" / image.name)


@pytest.fixture(scope="session")
def targets(cohort: Path) -> list[TargetFile]:
    images = sorted((cohort / "images").iterdir())[1:3]
    return [TargetFile(i.name.split(".")[0], f"Patient {n}", i) for n, i in enumerate(images)]
