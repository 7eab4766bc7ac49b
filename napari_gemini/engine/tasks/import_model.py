"""Make a model folder of a checkpoint of the authors' GEMINI or GVSL code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from napari_gemini.engine.models.shelf import folder_size, new_model_folder
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.engine.tasks.model_folder import write_model_folder
from napari_gemini.errors import InputError
from napari_gemini.learning.card import About, ModelCard
from napari_gemini.learning.foreign import ForeignModel, read_foreign
from napari_gemini.progress import Reporter
from napari_gemini.volumes.intensity import MODES

GRID = {2: [512, 512], 3: [160, 160, 128]}
"""Smallest grids that scans are put into; what a checkpoint was trained on nobody knows."""

_LIMITS = (
    "Its licence is whatever whoever published the checkpoint grants; do not pass it on without "
    "asking.",
    "The code that trained it samples at slightly other positions (up to half a voxel at the "
    "borders), so refine what it finds.",
)


def import_model(
    checkpoint: Path,
    name: str | None,
    reporter: Reporter,
    *,
    spacing: float = 1.0,
    intensity: str = "percentile",
    overlapping: bool = False,
    parent: Path | None = None,
) -> dict[str, Any]:
    """Import a checkpoint.

    Parameters
    ----------
    checkpoint
        The file; nothing in it is executed.
    name
        Name of the new model; from the file's name unless given.
    reporter
        Hears what was left out.
    spacing
        Voxel size in mm that it was trained at.
    intensity
        How its scans were brought to [0, 1]: ``percentile``, ``ct`` or ``uint8``.
    overlapping
        Whether each output of its head is a label of its own; see
        :func:`napari_gemini.learning.foreign.read_foreign`.
    parent
        Folder of models; the user's own unless given.

    Returns
    -------
    dict
        ``name``, ``folder``, ``kind``, ``network``, ``fresh``, ``left_out``, ``bytes``.

    Raises
    ------
    InputError, ModelError
        If it cannot be imported.
    """
    if intensity not in MODES:
        raise InputError(f"There is no intensity {intensity!r}; choose one of {', '.join(MODES)}.")
    if spacing <= 0:
        raise InputError("A spacing is more than 0 mm.")
    final = new_model_folder(name or _name_of(checkpoint), parent)
    model = read_foreign(checkpoint, overlapping=overlapping)
    card = _card(final.name, model, checkpoint, spacing, intensity)
    write_model_folder(final, model.weights, card)
    for sentence in _remarks(model):
        reporter.log(sentence)
    return {
        "name": final.name,
        "folder": str(final),
        "kind": model.kind,
        "network": model.network.model_dump(mode="json"),
        "fresh": model.fresh,
        "left_out": model.left_out,
        "bytes": folder_size(final),
    }


def _name_of(checkpoint: Path) -> str:
    """Return a model's name that resembles a file's."""
    name = re.sub(r"[^a-z0-9._-]+", "-", checkpoint.stem.lower()).strip("-._")
    return name[:64] or "imported"


def _card(
    name: str, model: ForeignModel, checkpoint: Path, spacing: float, intensity: str
) -> ModelCard:
    dimension = model.network.dimension
    labels = {}
    if "head" not in model.fresh:
        first = int(model.network.overlapping)
        labels = {k: f"label {k}" for k in range(first, model.network.classes + first)}
        if not model.network.overlapping:
            labels[0] = "background"
    return ModelCard(
        name=name,
        network=model.network,
        spacing_mm=[spacing] * dimension,
        grid_shape=GRID[dimension],
        intensity_mode=intensity,
        labels=labels,
        trained=[part for part in ("backbone", "deformer", "head") if part not in model.fresh],
        objective="gvsl" if model.kind == "gvsl" else "gemini",
        about=About(
            title=f"Weights of the authors' {model.kind.upper()} code, imported from a checkpoint",
            licence="not stated; ask whoever published the checkpoint",
            limits=list(_LIMITS),
        ),
        extra={
            "grid_known": False,
            "imported": {
                "file": checkpoint.name,
                "sha256": sha256_of(checkpoint),
                "fresh": model.fresh,
                "left_out": model.left_out,
            },
        },
    )


def _remarks(model: ForeignModel) -> list[str]:
    """Say which parts of the network do not come from the checkpoint."""
    remarks = []
    if "deformer" in model.fresh:
        remarks.append(
            "The checkpoint has no deformer of this kind: the fields start from the identity, so "
            "use --refine or train with --init."
        )
    if "head" in model.fresh:
        remarks.append("It has no segmentation head: it finds correspondence and cannot label.")
    elif not model.network.overlapping:
        remarks.append(
            f"Of its {model.network.classes} outputs the first is taken for the background; if "
            "each is a label of its own, as in the authors' 2D network of the chest, import it "
            "with --overlapping."
        )
    if model.left_out:
        parts = sorted({name.split(".")[0] for name in model.left_out})
        remarks.append(f"Left out, since they have no place here: {', '.join(parts)}.")
    return remarks
