"""The present prediction of a training on one scan, for a window that watches it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.device import select_device
from napari_gemini.engine.jobs import PreviewJob
from napari_gemini.engine.tasks.train import autocast_dtype
from napari_gemini.errors import ModelError
from napari_gemini.evaluation.metrics import score_case
from napari_gemini.learning.checkpoints import load_model
from napari_gemini.learning.prediction import features_on_grid, labels_from_features, model_grid
from napari_gemini.learning.study_cohort import scan_on_grid
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.settings import TrainSettings
from napari_gemini.study.study import Study


def run(job: PreviewJob, reporter: Reporter) -> dict[str, Any]:
    """Label one scan of a study; the labels come back as a memory-mapped array.

    Parameters
    ----------
    job
        Study, case and model.
    reporter
        Asked to stop between reading and computing.

    Returns
    -------
    dict
        ``case``, ``step`` of the model, ``array`` (label map in the order of the file; of
        overlapping labels the highest value lies on top) and ``dice`` (label value -> Dice with the
        labels that the case has, empty without).

    Raises
    ------
    ModelError
        If there is no such model, or it was trained on another grid than the study's.
    InputError, StudyError
        If the case cannot be read.
    """
    device = select_device(job.device)
    study = Study.open(job.study)
    model = load_model(job.model, device)
    if model_grid(model.card) != study.grid:
        raise ModelError(
            f"The model {job.model} was trained on another grid than that of the study; "
            "predict with a run of this study."
        )
    image = study.load_image(job.case)
    stop_if_cancelled(reporter)
    placement = study.placement(job.case)
    scan = scan_on_grid(image, study.grid, placement, model.card.intensity_mode)
    autocast = autocast_dtype(TrainSettings(network=model.card.network), device)
    features = features_on_grid(model, scan, autocast)
    labels = labels_from_features(model, features, study.grid, placement, image)
    if model.card.network.overlapping:
        labels = _flat(labels, model.card.label_values)
    known = study.load_labels(job.case)
    ignore = study.scheme.ignore
    scores = {} if known is None else score_case(labels, known.data, None, ignore=ignore)
    return {
        "case": job.case,
        "step": model.card.step,
        "array": exchange().put(labels).model_dump(),
        "dice": {str(label): score["dice"] for label, score in scores.items()},
    }


def _flat(masks: NDArray[Any], values: list[int]) -> NDArray[np.uint16]:
    """Return masks (C, *shape) as one map, the highest value on top."""
    flat = np.zeros(masks.shape[1:], np.uint16)
    for value, mask in sorted(zip(values, masks, strict=True), key=lambda pair: pair[0]):
        flat[mask > 0] = value
    return flat
