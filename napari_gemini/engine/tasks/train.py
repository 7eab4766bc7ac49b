"""The training job: from a study to checkpoints in a run folder."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch

from napari_gemini.engine.device import choose_precision, select_device, setup_determinism
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.provenance import library_versions, sha256_of
from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.engine.run_session import run_folder_of
from napari_gemini.engine.tasks.train_checks import (
    DataHashes,
    compare_with_model,
    describe_grid,
    refuse_other_study,
    warn_of_frozen_noise,
)
from napari_gemini.learning.card import ModelCard, read_card
from napari_gemini.learning.checkpoints import (
    intact_checkpoints,
    load_weights,
    read_weights,
    resolve_model,
)
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.study_cohort import (
    StudyCohort,
    describe_model,
    fit_network,
    load_study_cohort,
)
from napari_gemini.learning.trainer import Trainer
from napari_gemini.learning.validation import HeldBackDice, LabelConsistency, Validator
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.progress import Reporter
from napari_gemini.settings import TrainSettings
from napari_gemini.study.study import Study


def run(job: TrainJob, reporter: Reporter) -> dict[str, Any]:
    """Train a network on a study.

    The caller has locked the run folder and records events (see
    :func:`napari_gemini.engine.run_session.run_session`).

    Parameters
    ----------
    job
        What to train; its run has a name.
    reporter
        Hears of progress; when it asks to stop, a checkpoint is written first.

    Returns
    -------
    dict
        ``step``, ``steps``, ``stopped``, ``best_score``, ``nonfinite``, ``device``, ``precision``,
        ``checkpoint``.

    Raises
    ------
    StudyError, ModelError, DeviceError, TrainingError
        With one sentence each.
    """
    study = Study.open(job.study)
    folder = run_folder_of(job)
    device = select_device(job.device)
    settings = job.settings.model_copy(update={"network": fit_network(job.settings.network, study)})
    autocast = autocast_dtype(settings, device)
    facts = setup_determinism(settings.seed, settings.threads)
    data = load_study_cohort(study, settings, reporter, device)
    network = build_network(settings.network).to(device)
    objective = objective_class(settings.objective)(network, settings, data.cohort)
    objective.check()
    card = describe_model(study, settings, data.intensity_mode, library_versions())
    card = card.model_copy(update={"trained": objective.learned})
    trainer = Trainer(objective, folder.path, card, reporter, _validator(settings, data), autocast)
    hashes = _hashes(study, data)
    if job.resume:
        for sentence in refuse_other_study(folder, settings, study.grid, hashes):
            reporter.log(sentence, "warning")
    resumed = job.resume and trainer.resume()
    if not resumed and job.init is not None:
        labels = card.labels if "head" in card.trained else {}
        source = start_from(network, job.init, labels, reporter)
        for sentence in compare_with_model(source, study, data.intensity_mode):
            reporter.log(sentence, "warning")
    elif not resumed and settings.freeze_backbone:
        warn_of_frozen_noise(reporter)
    precision = "bf16" if autocast is not None else "fp32"
    grid = describe_grid(study.grid)
    _record(folder, settings, facts, data, hashes, grid, f"{device}", precision)
    reporter.log(
        f"{'Resuming' if resumed else 'Training'} {settings.objective} at step {trainer.step} of "
        f"{settings.steps} on {device} ({precision}, {facts['threads']} threads): "
        f"{len(data.cohort.ids)} scans on a grid of {' x '.join(map(str, study.grid.shape))}, "
        f"{len(data.cohort.labels)} of them labelled."
    )
    result = trainer.fit()
    newest = next(intact_checkpoints(folder.path), None)
    return {
        "step": result.step,
        "steps": settings.steps,
        "stopped": result.stopped,
        "best_score": result.best_score,
        "nonfinite": result.nonfinite,
        "device": str(device),
        "precision": precision,
        "checkpoint": None if newest is None else str(newest),
    }


def autocast_dtype(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    """Return the reduced precision of the network's layers, None for float32.

    The transformer backbone stays in float32 on CPUs unless bf16 is asked for: its 3D convolutions
    meet grids of two voxels, where CPU kernels cannot be trusted (see
    :func:`napari_gemini.networks.blocks.too_small_for_bf16`).
    """
    if (
        settings.precision == "auto"
        and device.type == "cpu"
        and settings.network.backbone != "unet"
    ):
        return None
    return torch.bfloat16 if choose_precision(settings.precision, device) == "bf16" else None


def start_from(
    network: GeminiNetwork, spec: str, labels: dict[int, str], reporter: Reporter
) -> ModelCard:
    """Copy the weights that another model learned; a head for other labels starts afresh.

    Parameters
    ----------
    network
        Takes the weights.
    spec
        See :func:`napari_gemini.learning.checkpoints.resolve_model`.
    labels
        Label value -> name in the order of the head's channels, as on a card; empty where nothing
        is learned from labels.
    reporter
        Hears which parts start afresh and why.

    Returns
    -------
    ModelCard
        Of that model.

    Raises
    ------
    ModelError
        If the model is of another layout.
    """
    folder = resolve_model(spec)
    card = read_card(folder)
    weights = read_weights(folder, card)
    drawn = {part: value.clone() for part, value in network.state_dict().items()}
    left = load_weights(network, weights, strict=False, source=spec)
    sentences = []
    fresh = {name.split(".")[0] for name in drawn} - set(card.trained)
    if "deformer" in fresh:
        sentences.append("The deformer starts afresh, since that model did not train one.")
    if why := _why_no_head(card, labels, fits=not left):
        fresh.add("head")
        sentences.append(f"The segmentation head {why}.")
    # What that model never learned is worth no more than what was drawn for this run.
    kept = {name: value for name, value in drawn.items() if name.split(".")[0] in fresh}
    network.load_state_dict({**network.state_dict(), **kept})
    reporter.log(" ".join([f"Starting from the weights of {spec}.", *sentences]))
    return card


def _why_no_head(card: ModelCard, labels: dict[int, str], *, fits: bool) -> str:
    """Say why a model's head is of no use for other labels; nothing where it is."""
    if "head" not in card.trained or not card.labels:
        return "starts afresh, since that model has learned none"
    if not labels:
        return "is left behind, since nothing is learned from labels here"
    # Order counts as well, since a channel means the label at its place.
    for number, (there, here) in enumerate(zip_longest(card.labels.items(), labels.items())):
        if there != here:
            return (
                f"starts afresh, since the labels differ (class {number} is {_label(there)} there "
                f"and {_label(here)} here)"
            )
    return "" if fits else "starts afresh, since its layout differs"


def _label(label: tuple[int, str] | None) -> str:
    return "none" if label is None else f"'{label[0]} {label[1]}'"


def _validator(settings: TrainSettings, data: StudyCohort) -> Validator | None:
    if data.held_back:
        return HeldBackDice(data.cohort, data.held_back)
    free = len(data.cohort.ids) > len(data.cohort.labels)
    # Without a trained deformer nothing is propagated, so there is nothing to agree with.
    moves = "deformer" in objective_class(settings.objective).trains
    if not moves or not free or not data.cohort.labels or not settings.use_labels:
        return None
    return LabelConsistency(data.cohort)


def _hashes(study: Study, data: StudyCohort) -> DataHashes:
    hashes = {}
    for name in data.cohort.ids:
        hashes[name] = {"image": sha256_of(study.image_path(name))}
        if study.has_labels(name):
            hashes[name]["labels"] = sha256_of(study.labels_path(name))
    return hashes


def _record(
    folder: RunFolder,
    settings: TrainSettings,
    facts: dict[str, Any],
    data: StudyCohort,
    hashes: DataHashes,
    grid: str,
    device: str,
    precision: str,
) -> None:
    """Write down everything that is needed to repeat the run."""
    folder.update_config(
        settings=settings.model_dump(mode="json"),
        repeatability=facts,
        device=device,
        precision=precision,
        intensity_mode=data.intensity_mode,
        held_back=[data.cohort.ids[i] for i in data.held_back],
        data_sha256=hashes,
        grid=grid,
    )
