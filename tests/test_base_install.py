"""The base install: studies and scores work without torch and Qt, the rest says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# What the extras bring. Imports of these fail as if they were not installed.
BLOCKER = """
import sys
MISSING = {"torch", "monai", "safetensors", "openTSNE", "sklearn", "einops", "napari", "qtpy",
           "PyQt6", "PySide6", "superqt", "magicgui", "vispy", "dask", "distributed"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    """Environment of a Python that has the base install only."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "COLUMNS": "200"}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three small images and labels of the first two."""
    rng = np.random.default_rng(0)
    for name in ("scans", "labels"):
        (tmp_path / name).mkdir()
    for case in ("a", "b", "c"):
        labels = np.zeros((40, 36), np.uint8)
        labels[10:25, 8:20] = 1
        image = labels * 120 + rng.integers(0, 60, labels.shape, np.uint8)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "scans" / f"{case}.png")
        if case != "c":
            Image.fromarray(labels).save(tmp_path / "labels" / f"{case}.png")
    return tmp_path


def gemini(base: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napari_gemini.cli", *map(str, words)]
    return subprocess.run(command, env=base, capture_output=True, text=True, timeout=120)


def new_study(base: dict[str, str], scans: Path) -> Path:
    images = sorted((scans / "scans").iterdir())
    study = scans / "study"
    answer = gemini(base, "study", "new", study, *images, "--labels", scans / "labels")
    assert answer.returncode == 0, answer.stderr
    return study


def test_the_blocker_blocks(base: dict[str, str]) -> None:
    run = subprocess.run([sys.executable, "-c", "import torch"], env=base, capture_output=True)
    assert run.returncode != 0


def test_a_study_is_made_and_shown(base: dict[str, str], scans: Path) -> None:
    study = new_study(base, scans)
    answer = gemini(base, "study", "status", study, "--json")
    assert answer.returncode == 0, answer.stderr
    assert "labelled" in answer.stdout
    json.loads(answer.stdout)


def test_labels_are_scored(base: dict[str, str], scans: Path) -> None:
    out = scans / "scores.json"
    answer = gemini(base, "evaluate", scans / "labels", scans / "labels", "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(out.read_text())["mean"]["dice"] == 1


@pytest.mark.parametrize("command", ["train", "predict", "correspond", "embed"])
def test_what_needs_the_engine_says_how_to_get_it(
    base: dict[str, str], scans: Path, command: str
) -> None:
    study = new_study(base, scans)
    first, second = scans / "scans" / "a.png", scans / "scans" / "b.png"
    words: dict[str, list[str | Path]] = {
        "train": [study, "--preset", "quick"],
        "predict": ["none", "--study", study, "--out", scans / "out"],
        "correspond": [first, second, "--out", scans / "out", "--model", "none"],
        "embed": [first, "--out", scans / "out"],
    }
    answer = gemini(base, command, *words[command])
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr
    sentence = answer.stderr.strip().splitlines()[-1]
    assert "napari-gemini[engine]" in sentence, answer.stderr
    assert not (scans / "out").exists()


def test_the_doctor_names_what_is_missing(base: dict[str, str]) -> None:
    answer = gemini(base, "doctor", "--json")
    assert answer.returncode != 0
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["Python"]["ok"]
    assert checks["SimpleITK"]["ok"]
    assert not checks["torch"]["ok"]
    assert "pip install 'torch>=2.10'" in checks["torch"]["command"]
