"""Scenes on Slicer's real core (slicer-core). Without it these tests fail, they never skip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from GeminiPropagateLib.scene_run import ScenePropagation

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from tests.slicer_module.mrml.helpers import (
    ENVIRONMENT,
    QUICK,
    Cohort,
    finish,
    kept_logics,
    new_scene,
)


@pytest.fixture
def scene() -> Iterator[Any]:
    made = new_scene()
    yield made
    made.Clear(1)
    kept_logics.clear()


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven small scans: axes permuted and flipped, voxels anisotropic, slices tilted."""
    scans = make_cohort(7, 3, (24, 24, 24), spacing=3.0, headers="oblique", noise=0.02)
    return write_cohort(tmp_path_factory.mktemp("oblique") / "cohort", scans, test=2)


@pytest.fixture
def phantoms(scene: Any, cohort: Path) -> Cohort:
    return Cohort(scene, cohort)


@pytest.fixture(scope="session")
def results(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of two atlases for one target, as the engine left them, with the given labels."""
    scene = new_scene()
    phantoms = Cohort(scene, cohort)
    out = tmp_path_factory.mktemp("results")
    run = ScenePropagation(scene, sys.executable, ENVIRONMENT)
    run.start(phantoms.atlases, [phantoms.target(0)], QUICK, "similarity", out)
    assert finish(run)[-1].run.state == "done"
    run.close()
    return {path.name: path / "Patient_0" for path in sorted((out / "results").iterdir())}
