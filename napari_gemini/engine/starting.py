"""What is known about a model to start from, without loading it."""

from __future__ import annotations

import json
from pathlib import Path

from napari_gemini.errors import ModelError
from napari_gemini.learning.card import CARD, read_card
from napari_gemini.resources import find_model
from napari_gemini.settings import NetworkSettings


def starting_network(spec: str) -> NetworkSettings:
    """Return the layout of a model.

    Parameters
    ----------
    spec
        A run folder, a folder with ``model.json``, or the name of a shipped model.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    folder = Path(spec)
    if not (folder / CARD).is_file():
        found = _checkpoint(folder) or find_model(spec)
        if found is None:
            raise ModelError(f"The model {spec} has no usable checkpoint: choose another.")
        folder = found
    return read_card(folder).starting_layout


def _checkpoint(run: Path) -> Path | None:
    for pointer in ("best.json", "last.json"):
        try:
            name = json.loads((run / pointer).read_text(encoding="utf-8"))["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        folder = run / "checkpoints" / str(name)
        if (folder / CARD).is_file():
            return folder
    return None
