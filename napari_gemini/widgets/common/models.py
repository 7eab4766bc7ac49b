"""The models that a dock can offer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from napari_gemini.engine.models.shelf import list_models
from napari_gemini.errors import EngineError
from napari_gemini.resources import models_folder
from napari_gemini.study.study import Study

#: What a job calls identity plus refinement on the images.
NO_MODEL = "none"


@dataclass(frozen=True)
class ModelChoice:
    """A model to choose.

    Parameters
    ----------
    name
        What the user reads.
    spec
        What a job gets.
    dimension
        2 or 3; None serves both.
    description
        Where it comes from, a few words.
    """

    name: str
    spec: str
    dimension: int | None
    description: str


REFINEMENT_ONLY = ModelChoice(
    "none (refinement on the images)",
    NO_MODEL,
    None,
    "no network: the two images alone are matched",
)


def run_choices(study: Study) -> list[ModelChoice]:
    """Return the runs of a study that have a usable checkpoint, newest first."""
    try:
        runs = [run for run in study.runs_dir.iterdir() if _pointer(run) is not None]
    except OSError:
        return []
    runs.sort(key=lambda run: _modified(run), reverse=True)
    return [
        ModelChoice(run.name, str(run), study.dimension, "trained on this study") for run in runs
    ]


def shipped_choices(dimension: int | None) -> list[ModelChoice]:
    """Return the shipped models of a dimension, general ones first."""
    try:
        folders = sorted(models_folder().iterdir())
    except (OSError, EngineError):  # an installation without models offers none
        return []
    choices = []
    for folder in folders:
        card = folder / "model.json"
        found = _card_dimension(card)
        if found is not None and dimension in (None, found):
            general = json.loads(card.read_text(encoding="utf-8")).get("general")
            words = f"comes with napari-gemini{', for any anatomy' if general else ''}"
            choices.append(ModelChoice(folder.name, folder.name, found, words))
    return sorted(choices, key=lambda choice: not choice.name.startswith("general"))


def own_choices(dimension: int | None) -> list[ModelChoice]:
    """Return the models of a dimension that the user fetched or imported."""
    return [
        ModelChoice(entry.name, entry.name, entry.card.network.dimension, "fetched or imported")
        for entry in list_models()
        if entry.source == "own" and dimension in (None, entry.card.network.dimension)
    ]


def model_choices(study: Study | None, dimension: int | None) -> list[ModelChoice]:
    """Return all that can be chosen: runs, shipped and own models, and none at all."""
    runs = run_choices(study) if study is not None and dimension in (None, study.dimension) else []
    return [*runs, *shipped_choices(dimension), *own_choices(dimension), REFINEMENT_ONLY]


def _pointer(run: Path) -> Path | None:
    for name in ("best.json", "last.json"):
        if (run / name).is_file():
            return run / name
    return None


def _modified(run: Path) -> float:
    pointer = _pointer(run)
    try:
        return pointer.stat().st_mtime if pointer is not None else 0.0
    except OSError:
        return 0.0


def _card_dimension(card: Path) -> int | None:
    try:
        dimension = json.loads(card.read_text())["network"]["dimension"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dimension if dimension in (2, 3) else None
