"""Small studies on real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from tests.study.helpers import labels, write_map, write_scan


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five scans a to e, labels for a to d, and a split: a, b labelled, e test."""
    folder = tmp_path / "data"
    for seed, name in enumerate("abcde"):
        write_scan(folder / "images" / f"{name}.nii.gz", seed)
        if name != "e":
            write_map(folder / "labels" / f"{name}.nii.gz", labels(seed))
    split = {
        "labels": {"0": "background", "1": "left part", "2": "right part"},
        "labelled": {"seed0": ["a", "b"], "seed1": ["b", "c"]},
        "pool": ["a", "b", "c", "d"],
        "test": ["e"],
    }
    (folder / "split.json").write_text(json.dumps(split))
    return folder


@pytest.fixture
def study(tmp_path: Path, data: Path) -> Study:
    return Study.create(
        tmp_path / "study", [data / "images"], data / "labels", data / "split.json", "seed0"
    )


@pytest.fixture
def overlapping(tmp_path: Path) -> Study:
    """Two scans with masks of two labels that overlap, and an ignore label."""
    folder = tmp_path / "chest"
    for seed, name in enumerate("ab"):
        write_scan(folder / "images" / f"{name}.nii.gz", seed)
    for mask in ("left_lung", "2"):
        write_map(folder / "labels" / "a" / f"{mask}.nii.gz", (labels(5) > 0).astype(np.uint8))
    scheme = LabelScheme(names={1: "Left lung", 2: "Heart"}, overlapping=True, ignore=255)
    return Study.create(tmp_path / "study", [folder / "images"], folder / "labels", scheme=scheme)
