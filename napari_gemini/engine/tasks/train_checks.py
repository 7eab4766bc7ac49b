"""What a training asks of the run that it goes on with and of the model that it starts from."""

from __future__ import annotations

import math

from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.errors import InputError, listed
from napari_gemini.learning.card import ModelCard
from napari_gemini.progress import Reporter
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.study import Study
from napari_gemini.volumes.grid import StudyGrid

#: Hashes of the files of each case: ``image`` and, where there are some, ``labels``.
DataHashes = dict[str, dict[str, str]]
#: A model's spacing may differ from the study's by this factor without a word.
_SPACING_FACTOR = 1.25


def refuse_other_study(
    folder: RunFolder, settings: TrainSettings, grid: StudyGrid, hashes: DataHashes
) -> list[str]:
    """Refuse to go on with a run that was begun on another study than the one at hand.

    Parameters
    ----------
    folder
        Of the run.
    settings
        What the study and the job ask for now.
    grid
        Of the study now.
    hashes
        Of the study's files now.

    Returns
    -------
    list of str
        One sentence for each difference that a training can go on with: scans and labels that have
        come, and labels that have changed.

    Raises
    ------
    InputError
        If a scan that the run was begun on is not used any more, or the grid or the number of
        classes has changed.
    """
    config = folder.read_config()
    if "data_sha256" not in config:
        return []  # It ended before its scans were read.
    before: DataHashes = config["data_sha256"]
    way_out = f"start a new run with --init {folder.path}"
    _refuse_lost_scans(folder, before, hashes, way_out)
    network = settings.network
    begun = NetworkSettings.model_validate(config["settings"]["network"])
    if (begun.classes, begun.overlapping) != (network.classes, network.overlapping):
        raise InputError(
            f"The study's labels have changed since the run {folder.name} was begun "
            f"({begun.classes} classes then, {network.classes} now): {way_out}."
        )
    described = describe_grid(grid)
    if config.get("grid", described) != described:
        raise InputError(
            f"The run {folder.name} was begun on {config['grid']}, and this study has {described}: "
            f"resume it with its own study, or {way_out}."
        )
    return _scans_that_came(before, hashes) + (
        _labels_that_changed(before, hashes) if settings.use_labels else []
    )


def describe_grid(grid: StudyGrid) -> str:
    """Say what a study grid is, for the record of a run and for messages."""
    shape, spacing = (" x ".join(f"{n:g}" for n in v) for v in (grid.shape, grid.spacings))
    return f"a grid of {shape} voxels of {spacing}"


def _refuse_lost_scans(
    folder: RunFolder, before: DataHashes, now: DataHashes, way_out: str
) -> None:
    """Refuse a study that lacks a scan of the run; its record would no longer be complete."""
    present = {files["image"] for files in now.values()}
    lost = [name for name, files in before.items() if files["image"] not in present]
    if len(lost) == len(before):
        raise InputError(
            f"The run {folder.name} was begun on other scans: resume it with its own study, or "
            f"{way_out}."
        )
    if lost:
        raise InputError(
            f"Of the {len(before)} scans that the run {folder.name} was begun on, {len(lost)} "
            f"changed, went away or became a test case ({listed(lost)}): bring back what there "
            f"was, or {way_out}."
        )


def _scans_that_came(before: DataHashes, now: DataHashes) -> list[str]:
    seen = {files["image"] for files in before.values()}
    come = sum(files["image"] not in seen for files in now.values())
    if not come:
        return []
    scans = "1 scan has" if come == 1 else f"{come} scans have"
    return [f"{scans} come since the run was begun; it goes on with all."]


def _labels_that_changed(before: DataHashes, now: DataHashes) -> list[str]:
    known = {files["image"]: files.get("labels") for files in before.values()}
    changed = [
        name
        for name, files in now.items()
        if files["image"] in known and files.get("labels") != known[files["image"]]
    ]
    if not changed:
        return []
    return [
        f"The labels of {listed(changed)} have changed since the run was begun; it goes on with "
        "what they are now."
    ]


def compare_with_model(card: ModelCard, study: Study, intensity_mode: str) -> list[str]:
    """Say in what a study differs from what a model was trained on.

    Parameters
    ----------
    card
        Of the model that a training starts from.
    study
        That is trained on.
    intensity_mode
        How its scans are brought to [0, 1].

    Returns
    -------
    list of str
        One sentence for each difference; none for a general model.
    """
    if card.general:
        return []
    sentences = []
    spacings = zip(card.spacing_mm, study.grid.spacings, strict=True)
    limit = math.log(_SPACING_FACTOR)
    if study.spacing_known and any(abs(math.log(a / b)) > limit for a, b in spacings):
        sentences.append(
            f"That model was trained at {_spacing(card.spacing_mm)} mm and the study's grid has "
            f"{_spacing(study.grid.spacings)} mm: it may know little of what is seen here."
        )
    if card.intensity_mode != intensity_mode:
        sentences.append(
            f"That model was trained on intensities of the kind '{card.intensity_mode}' and these "
            f"scans are of the kind '{intensity_mode}': it may know little of what is seen here."
        )
    return sentences


def warn_of_frozen_noise(reporter: Reporter) -> None:
    """Say that a backbone which nobody trained is about to be frozen."""
    reporter.log(
        "The backbone is frozen and starts from random weights; name a model to start from "
        "(--init).",
        "warning",
    )


def _spacing(values: list[float] | tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)
