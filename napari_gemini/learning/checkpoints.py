"""Checkpoints on disk: safetensors and JSON only, one folder a unit, hashes over all of it.

``checkpoints/<step>/`` holds ``weights.safetensors``, ``model.json``, ``state.safetensors``,
``state.json`` and ``sha256.json``. The folder is written under another name and renamed when it is
complete, then ``last.json`` or ``best.json`` is replaced, so a kill at any moment leaves the
checkpoint before. Nothing here ever unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_gemini.errors import ModelError
from napari_gemini.learning.card import CARD, ModelCard, read_card
from napari_gemini.learning.tensor_files import save_tensors
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.resources import find_model
from napari_gemini.volumes.atomic import (
    explain_write_error,
    flush_file,
    flush_folder,
    write_json_atomic,
)

WEIGHTS = "weights.safetensors"
STATE = "state.safetensors"
STATE_JSON = "state.json"
HASHES = "sha256.json"
FOLDER = "checkpoints"
KEPT_GENERATIONS = 2


@dataclass
class LoadedModel:
    """A network ready for use and what is known about it."""

    network: GeminiNetwork
    card: ModelCard
    folder: Path


@dataclass
class TrainingState:
    """Everything besides the weights that an exact resume needs.

    Attributes
    ----------
    tensors
        Optimiser moments and the generator's state, by name.
    values
        JSON-ready numbers: step, best score, counters, threads, versions.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def file_sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_checkpoint(
    run: Path, network: GeminiNetwork, card: ModelCard, state: TrainingState, *, best: bool
) -> Path:
    """Write one checkpoint as a unit and point ``last.json`` (and ``best.json``) to it.

    Parameters
    ----------
    run
        The run folder.
    best
        Whether this is the best model so far.

    Returns
    -------
    Path
        The checkpoint's folder.
    """
    root = run / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    final = root / f"{state.values['step']:07d}"
    if final.exists():
        if _is_intact(final):
            _point(run, final, best)
            return final
        shutil.rmtree(final)
    part = root / f".part-{os.getpid()}-{final.name}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        save_tensors(weights, part / WEIGHTS)
        card = card.model_copy(update={"weights_sha256": file_sha256(part / WEIGHTS)})
        (part / CARD).write_text(card.model_dump_json(indent=1))
        save_tensors(
            {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}, part / STATE
        )
        (part / STATE_JSON).write_text(json.dumps(state.values, indent=1))
        names = (WEIGHTS, CARD, STATE, STATE_JSON)
        (part / HASHES).write_text(json.dumps({n: file_sha256(part / n) for n in names}))
        for name in (*names, HASHES):
            flush_file(part / name)
        flush_folder(part)
        part.rename(final)
        flush_folder(root)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise explain_write_error(error, final) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _point(run, final, best)
    _prune(run)
    return final


def _point(run: Path, folder: Path, best: bool) -> None:
    pointer = {"checkpoint": folder.name}
    write_json_atomic(run / "last.json", pointer)
    if best:
        write_json_atomic(run / "best.json", pointer)


def _prune(run: Path) -> None:
    """Remove all but the last two generations and the best, and what an earlier kill left."""
    root = run / FOLDER
    steps = sorted(p for p in root.iterdir() if p.is_dir() and p.name.isdigit())
    keep = {p.name for p in steps[-KEPT_GENERATIONS:]} | {_pointed(run, "best.json")}
    for folder in root.iterdir():
        stale = folder.name.startswith(".part-")
        if stale or (folder.name.isdigit() and folder.name not in keep):
            shutil.rmtree(folder, ignore_errors=True)


def _pointed(run: Path, pointer: str) -> str | None:
    try:
        name = json.loads((run / pointer).read_text())["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _is_intact(folder: Path) -> bool:
    """Whether every file of a checkpoint is there with the hash it was written with."""
    try:
        hashes: dict[str, str] = json.loads((folder / HASHES).read_text())
        return bool(hashes) and all(file_sha256(folder / n) == h for n, h in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def intact_checkpoints(run: Path, pointer: str = "last.json") -> Iterator[Path]:
    """Yield the intact checkpoints of a run: the one pointed to first, then newest first."""
    root = run / FOLDER
    if not root.is_dir():
        return
    names = sorted((p.name for p in root.iterdir() if p.name.isdigit()), reverse=True)
    first = _pointed(run, pointer)
    if first in names:
        names.remove(first)
        names.insert(0, first)
    for name in names:
        if _is_intact(root / name):
            yield root / name


def load_training_state(folder: Path) -> tuple[dict[str, Tensor], TrainingState]:
    """Read weights and training state of one intact checkpoint."""
    values = json.loads((folder / STATE_JSON).read_text())
    return load_file(folder / WEIGHTS), TrainingState(load_file(folder / STATE), values)


def resolve_model(spec: str | Path) -> Path:
    """Return the folder with ``weights.safetensors`` that a user means.

    Parameters
    ----------
    spec
        Name of a shipped, fetched or imported model, run folder, or folder with weights and
        ``model.json``.

    Raises
    ------
    ModelError
        If there is no such model, or a run has no intact checkpoint yet.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        if path.name == WEIGHTS:
            return path.parent
        raise ModelError(
            f"'{path}' is not a model: give a run folder or a folder with {WEIGHTS} and {CARD} "
            "(pickled checkpoints such as .pt and .pth are never opened here, since they can run "
            "code; napari-gemini models import reads the weights of known ones without running it)."
        )
    if (path / WEIGHTS).is_file():
        return path
    if (path / FOLDER).is_dir():
        for folder in intact_checkpoints(path, "best.json"):
            return folder
        raise ModelError(f"The run '{path}' has no usable checkpoint yet; train it for longer.")
    found = find_model(str(spec))
    if found is not None:
        return found
    raise ModelError(
        f"There is no model '{spec}': give the name of a shipped model (napari-gemini models list "
        f"shows them), a run folder, or a folder with {WEIGHTS} and {CARD}."
    )


def read_weights(folder: Path, card: ModelCard) -> dict[str, Tensor]:
    """Read the weights of a model's folder and check their hash.

    Raises
    ------
    ModelError
        If the file is corrupt, not safetensors, or not the one that the card describes.
    """
    path = folder / WEIGHTS
    if card.weights_sha256 and file_sha256(path) != card.weights_sha256:
        raise ModelError(
            f"'{path}' is damaged or was replaced (its hash is not the one in {CARD}); "
            "copy the model's folder again."
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError):
        raise ModelError(f"'{path}' is not a safetensors file; copy the model again.") from None


def load_model(spec: str | Path, device: str | torch.device = "cpu") -> LoadedModel:
    """Load a model for use, in evaluation mode.

    Parameters
    ----------
    spec
        See :func:`resolve_model`.
    device
        Where the network goes.

    Raises
    ------
    ModelError
        If there is no such model, or its files are damaged or do not fit each other.
    """
    folder = resolve_model(spec)
    card = read_card(folder)
    weights = read_weights(folder, card)
    network = build_network(card.network)
    missing = load_weights(network, weights, strict=True, source=str(folder))
    assert not missing
    return LoadedModel(network.to(device).eval(), card, folder)


def load_weights(
    network: GeminiNetwork, weights: dict[str, Tensor], *, strict: bool, source: str
) -> list[str]:
    """Copy weights into a network.

    Parameters
    ----------
    strict
        All weights have to fit. Otherwise a head of which some do not is left as it is (transfer).

    Returns
    -------
    list of str
        Names that kept their fresh weights.

    Raises
    ------
    ModelError
        If the weights belong to another network.
    """
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    left = [k for k in own if k not in fitting]
    needed = left if strict else [k for k in left if not k.startswith("head.")]
    if not strict and len(needed) < len(left):
        # Half of a head, below a last layer that knows nothing of it, is of no use.
        fitting = {k: v for k, v in fitting.items() if not k.startswith("head.")}
        left = [k for k in own if k not in fitting]
    if needed or (strict and len(fitting) != len(weights)):
        config = network.config
        raise ModelError(
            f"The weights of '{source}' belong to another network than {config.dimension}D "
            f"{config.backbone} of base width {config.base_width} with {config.classes} classes "
            f"(first difference: {next(iter(needed), 'unknown weights')}); "
            "choose a model of that layout or set the layout to the model's."
        )
    network.load_state_dict({**own, **{k: v.to(own[k]) for k, v in fitting.items()}})
    return left
