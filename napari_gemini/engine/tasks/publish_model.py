"""From a training run to a model that others can use: weights in half precision, card, registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from napari_gemini.engine.models.registry import write_registry
from napari_gemini.engine.models.shelf import folder_size, new_model_folder
from napari_gemini.engine.tasks.model_folder import write_model_folder
from napari_gemini.errors import InputError, first_problem
from napari_gemini.evaluation.history import read_history
from napari_gemini.learning.card import About, ModelCard
from napari_gemini.learning.checkpoints import FOLDER, load_model
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.progress import Reporter

FEATURE_TOLERANCE = 0.01
"""Largest error of the features in half precision, as a share of their root mean square."""
FIELD_TOLERANCE = 0.05
"""Largest error of the displacement in half precision, in voxels."""
LARGEST_BYTES = 20_000_000
"""A published model's folder stays below this."""
MANY_SCANS = 250
"""Hashes of more scans than this are put together into one."""

_PROBE = {2: (64, 64), 3: (32, 32, 32)}


@dataclass(frozen=True)
class Precision:
    """What half precision costs.

    Attributes
    ----------
    features
        Root mean square error of the features as a share of their own.
    field
        Largest error of the displacement in voxels.
    """

    features: float
    field: float

    @property
    def harmless(self) -> bool:
        """Whether both stay within the tolerances (also where something is not finite)."""
        return self.features <= FEATURE_TOLERANCE and self.field <= FIELD_TOLERANCE


def publish_model(
    run: str,
    name: str,
    reporter: Reporter,
    *,
    about: Mapping[str, Any] | None = None,
    general: bool = False,
    parent: Path | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Make a model folder of a run's best checkpoint.

    Parameters
    ----------
    run
        Run folder, or any other model.
    name
        Name of the new model.
    reporter
        Hears what is done.
    about
        Fields of :class:`napari_gemini.learning.card.About`.
    general
        Whether it serves scans of any spacing and contrast.
    parent
        Folder of models; its registry is written anew. The user's own unless given.
    replace
        Take the place of a model of that name.

    Returns
    -------
    dict
        ``name``, ``folder``, ``dtype``, ``bytes``, ``feature_error``, ``field_error``.

    Raises
    ------
    InputError, ModelError
        If the name is taken, the run has no model, or the model is too large.
    """
    model = load_model(run)
    final = new_model_folder(name, parent, replace=replace)
    halves = {
        k: v.half() if v.is_floating_point() else v for k, v in _weights(model.network).items()
    }
    cost = half_precision_cost(model.network, halves)
    weights = halves if cost.harmless else _weights(model.network)
    reporter.log(
        f"Half precision changes features by {100 * cost.features:.2g} % and fields by at most "
        f"{cost.field:.2g} voxels: "
        + ("the weights are stored so." if cost.harmless else "too much, so they stay in float32.")
    )
    card = _card(model.card, name, about, general, _run_of(model.folder))
    card.dtype = "float16" if cost.harmless else "float32"
    card.extra = {**card.extra, "half_precision": {"features": cost.features, "field": cost.field}}
    write_model_folder(final, weights, card, largest=LARGEST_BYTES)
    write_registry(final.parent)
    return {
        "name": name,
        "folder": str(final),
        "dtype": card.dtype,
        "bytes": folder_size(final),
        "feature_error": cost.features,
        "field_error": cost.field,
    }


def _weights(network: GeminiNetwork) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}


@torch.no_grad()
def half_precision_cost(network: GeminiNetwork, halves: Mapping[str, Tensor]) -> Precision:
    """Compare a network with itself in half precision on two phantom scans.

    Parameters
    ----------
    network
        In float32.
    halves
        Its weights, rounded.

    Returns
    -------
    Precision
        Infinite errors where the rounded weights or what they give are not finite.
    """
    rounded = build_network(network.config)
    rounded.load_state_dict({k: v.float() for k, v in halves.items()})
    dimension = network.config.dimension
    cohort = make_cohort(2, dimension, _PROBE[dimension], crop=False)
    scans = np.stack([case.image.data.astype(np.float32) for case in cohort.cases])
    images = torch.from_numpy(scans / scans.max()).unsqueeze(1)
    results = []
    for each in (network.cpu().eval(), rounded.eval()):
        features = each.features(images)
        results.append((features, each.displacement(features[:1], features[1:])))
    (features, field), (features2, field2) = results
    error = (features2 - features).square().mean().sqrt() / features.square().mean().sqrt()
    worst = (field2 - field).abs().max()
    values = [float(value) if torch.isfinite(value) else float("inf") for value in (error, worst)]
    return Precision(*values)


def _run_of(folder: Path) -> Path | None:
    """Return the run that a checkpoint belongs to."""
    return folder.parent.parent if folder.parent.name == FOLDER else None


def _card(
    card: ModelCard, name: str, about: Mapping[str, Any] | None, general: bool, run: Path | None
) -> ModelCard:
    """Return the new model's card, completed from what the run wrote down."""
    known = card.about.model_dump() if card.about is not None else {}
    config = _config(run)
    if run is not None:
        known["hours"] = round(read_history(run).seconds / 3600, 2)
        known["machine"] = _machine(config)
    known.update({key: value for key, value in (about or {}).items() if value not in (None, "")})
    scans = config.get("data_sha256", {})
    # A head that never saw a label cannot label, whatever labels the study has.
    labels = card.labels if run is None or any("labels" in v for v in scans.values()) else {}
    return card.model_copy(
        update={
            "name": name,
            "labels": labels,
            "general": general or card.general,
            "about": About.model_validate(known),
            "data_sha256": card.data_sha256 or _data_hashes(scans),
            "study": "",  # the name of a folder on the machine that trained it
        }
    )


def _config(run: Path | None) -> dict[str, Any]:
    if run is None:
        return {}
    try:
        config: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config


def _machine(config: Mapping[str, Any]) -> str:
    """Return processor or GPU, without the name of the machine."""
    host = config.get("provenance", {}).get("host", {})
    if str(config.get("device", "")).startswith("cuda"):
        return ", ".join(host.get("gpus", [])) or "a CUDA device"
    cpu, threads = host.get("cpu", ""), config.get("repeatability", {}).get("threads")
    if not cpu or not threads:
        return str(cpu)
    return f"{cpu}, {threads} thread{'s' if threads > 1 else ''}"


def _data_hashes(scans: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the hash of each scan, or one over all of them where they are many."""
    hashes = {name: value["image"] for name, value in scans.items() if "image" in value}
    if len(hashes) <= MANY_SCANS:
        return hashes
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(hashes.items()))
    return {f"{len(hashes)} scans": hashlib.sha256(lines.encode()).hexdigest()}


def read_about(path: Path) -> dict[str, Any]:
    """Read a JSON file with fields of :class:`napari_gemini.learning.card.About`.

    Raises
    ------
    InputError
        If it cannot be read or has another field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} does not describe a model ({error}): correct it.") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path} does not describe a model: write a JSON object such as "
            '{"title": "..."} into it.'
        )
    try:
        about = About.model_validate(content)
    except ValidationError as error:
        where, what = first_problem(error)
        raise InputError(
            f"{path} does not describe a model ({where}: {what}): correct it."
        ) from None
    unknown = set(content) - set(About.model_fields)
    if unknown:
        raise InputError(f"{path} has the unknown field {min(unknown)}: correct it.")
    return about.model_dump(exclude_unset=True)
