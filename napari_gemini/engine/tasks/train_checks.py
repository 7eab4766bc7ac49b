"""What a training asks of the run that it goes on with and of the model that it starts from."""

from __future__ import annotations

import math

from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.errors import InputError
from napari_gemini.learning.card import ModelCard
from napari_gemini.progress import Reporter
from napari_gemini.settings import NetworkSettings
from napari_gemini.study.study import Study

#: Hashes of the files of each case: ``image`` and, where there are some, ``labels``.
DataHashes = dict[str, dict[str, str]]
#: A model's spacing may differ from the study's by this factor without a word.
_SPACING_FACTOR = 1.25


def refuse_other_study(folder: RunFolder, network: NetworkSettings, hashes: DataHashes) -> None:
    """Refuse to go on with a run that was begun on other scans or with other labels.

    Parameters
    ----------
    folder
        Of the run.
    network
        Layout that the study asks for now.
    hashes
        Of the study's files now.

    Raises
    ------
    InputError
        If no scan is the same or the number of classes has changed.
    """
    config = folder.read_config()
    if "data_sha256" not in config:
        return  # It ended before its scans were read.
    before = {files["image"] for files in config["data_sha256"].values()}
    if before.isdisjoint(files["image"] for files in hashes.values()):
        raise InputError(
            f"The run {folder.name} was begun on other scans: resume it with its own study, or "
            f"start a new run with --init {folder.path}."
        )
    begun = NetworkSettings.model_validate(config["settings"]["network"])
    if (begun.classes, begun.overlapping) != (network.classes, network.overlapping):
        raise InputError(
            f"The study's labels have changed since the run {folder.name} was begun "
            f"({begun.classes} classes then, {network.classes} now): start a new run with --init "
            f"{folder.path}."
        )


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
