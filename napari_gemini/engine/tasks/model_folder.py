"""Write a model as a folder: weights, ``model.json`` and the card for people, all or nothing."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from napari_gemini.engine.models.readme import model_readme
from napari_gemini.engine.models.shelf import folder_size
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.errors import ModelError
from napari_gemini.learning.card import CARD, README, ModelCard
from napari_gemini.learning.checkpoints import WEIGHTS
from napari_gemini.learning.tensor_files import save_tensors
from napari_gemini.volumes.atomic import (
    TEMPORARY_PREFIX,
    explain_write_error,
    flush_file,
    flush_folder,
)


def write_model_folder(
    final: Path, weights: Mapping[str, Tensor], card: ModelCard, *, largest: int | None = None
) -> None:
    """Write a model under another name and put it into place when it is complete.

    Parameters
    ----------
    final
        Its folder; one that is there is replaced.
    weights
        Contiguous tensors on the CPU.
    card
        Its card, which gets the hash of the weights.
    largest
        Bytes that the folder has to stay below.

    Raises
    ------
    ModelError
        If it is larger.
    InputError, EngineError
        If it cannot be written; what was there stays.
    """
    token = secrets.token_hex(4)
    part, old = (final.with_name(f"{TEMPORARY_PREFIX}{token}-{kind}") for kind in ("new", "old"))
    try:
        part.mkdir(parents=True)
        save_tensors(weights, part / WEIGHTS)
        card.weights_sha256 = sha256_of(part / WEIGHTS)
        (part / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        size = (part / WEIGHTS).stat().st_size
        (part / README).write_text(model_readme(card, size), encoding="utf-8")
        if largest is not None and folder_size(part) >= largest:
            raise ModelError(
                f"The model has {folder_size(part) / 1e6:.0f} MB and a published one may have "
                f"{largest / 1e6:.0f}: train with a base width of 16 at most."
            )
        for name in (WEIGHTS, CARD, README):
            flush_file(part / name)
        if final.exists():
            final.rename(old)
        part.rename(final)
        flush_folder(final.parent)
    except OSError as error:
        raise explain_write_error(error, final) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not final.exists():
            old.rename(final)
        shutil.rmtree(old, ignore_errors=True)
