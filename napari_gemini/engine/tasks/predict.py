"""The prediction job: labels for the scans of a study, or for any images, with a trained model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gemini.engine.device import choose_precision, select_device
from napari_gemini.engine.jobs import PredictJob
from napari_gemini.engine.provenance import collect_provenance
from napari_gemini.errors import InputError
from napari_gemini.evaluation.doubt import EVIDENCE, rank_by_doubt
from napari_gemini.learning.checkpoints import LoadedModel, load_model
from napari_gemini.learning.prediction import (
    Atlas,
    Evidence,
    features_on_grid,
    labels_from_features,
    model_grid,
    place_scan,
    weigh_evidence,
)
from napari_gemini.learning.study_cohort import scan_on_grid, target_on_grid
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.study.naming import by_case, find_images
from napari_gemini.study.scheme import slug
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import explain_write_error, write_json_atomic
from napari_gemini.volumes.grid import Placement, StudyGrid
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels

SUMMARY = "predictions.json"


@dataclass(frozen=True)
class _Scan:
    name: str
    path: Path
    suffix: str


def run(job: PredictJob, reporter: Reporter) -> dict[str, Any]:
    """Label scans and say which labels are doubtful.

    Parameters
    ----------
    job
        The model, and a study or images.
    reporter
        Hears of progress; asked to stop between two scans.

    Returns
    -------
    dict
        ``out``, ``model``, ``seconds``, ``device`` and ``cases``, most doubtful first, each with
        its file and, with a study, ``agreement``, ``gss_mean`` and ``fold_percent``.

    Raises
    ------
    ModelError, InputError, StudyError, DeviceError
        With one sentence each.
    """
    started = time.monotonic()
    device = select_device(job.device)
    model = load_model(job.model, device)
    study = None if job.study is None else Study.open(job.study)
    scans = list(_scans_of_study(study) if study is not None else _scans_of_images(job.images))
    out = job.out or _default_folder(study, model)
    make_folder(out)
    precision = choose_precision("auto", device)
    autocast = torch.bfloat16 if precision == "bf16" and _is_unet(model) else None
    atlases = list(_atlases(study, model, autocast)) if study is not None else []
    rows = []
    for index, scan in enumerate(scans):
        stop_if_cancelled(reporter)
        reporter.progress(index, len(scans), f"predicting {scan.name}")
        rows.append(_predict_one(scan, out, model, study, atlases, autocast))
        reporter.event("target_done", **rows[-1])
    reporter.progress(len(scans), len(scans), "predicting")
    result = {
        "out": str(out),
        "model": job.model,
        "model_card": model.card.model_dump(mode="json", exclude={"data_sha256"}),
        "device": str(device),
        "precision": "bf16" if autocast is not None else "fp32",
        "seconds": time.monotonic() - started,
        "cases": _most_doubtful_first(rows),
        "provenance": collect_provenance(),
    }
    write_json_atomic(out / SUMMARY, result)
    return result


def make_folder(folder: Path) -> None:
    """Make a folder for results with its parents.

    Raises
    ------
    InputError, EngineError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error


def _is_unet(model: LoadedModel) -> bool:
    return model.card.network.backbone == "unet"


def _default_folder(study: Study | None, model: LoadedModel) -> Path:
    assert study is not None
    run = model.folder.parent.parent
    name = run.name if run.parent == study.runs_dir else model.folder.name
    return study.predictions_dir(name)


def _scans_of_study(study: Study) -> Iterator[_Scan]:
    for case in study.cases:
        if case.role != "labelled" or not study.has_labels(case.id):
            yield _Scan(case.id, study.image_path(case.id), case.label_suffix)


def _scans_of_images(images: list[Path]) -> Iterator[_Scan]:
    for name, path in by_case(find_images(images), "images").items():
        yield _Scan(name, path, ".png" if path.suffix.lower() == ".png" else ".nii.gz")


def _predict_one(
    scan: _Scan,
    out: Path,
    model: LoadedModel,
    study: Study | None,
    atlases: list[Atlas],
    autocast: torch.dtype | None,
) -> dict[str, Any]:
    image = study.load_image(scan.name) if study is not None else read_volume(scan.path)
    check_dimension(image, model)
    grid, placement = _place(scan, image, model, study)
    array = scan_on_grid(image, grid, placement, model.card.intensity_mode)
    features = features_on_grid(model, array, autocast)
    labels = labels_from_features(model, features, grid, placement, image)
    files = _write(out, scan, labels, image, model)
    row: dict[str, Any] = {"case": scan.name, "files": [str(f) for f in files]}
    if atlases and grid.shape == tuple(model.card.grid_shape):
        with torch.autocast(
            features.device.type, dtype=autocast, enabled=autocast is not None
        ):
            evidence: Evidence = weigh_evidence(model, features, atlases)
        row |= asdict(evidence)
    return row


def _place(
    scan: _Scan, image: Volume, model: LoadedModel, study: Study | None
) -> tuple[StudyGrid, Placement]:
    """Place a scan as training did where the study is the model's, else by its centre of mass."""
    if study is not None and study.grid == model_grid(model.card):
        return study.grid, study.placement(scan.name)
    return place_scan(image, model.card)


def check_dimension(image: Volume, model: LoadedModel) -> None:
    """Refuse a scan of another dimension than the model's.

    Raises
    ------
    InputError
        Naming the scan.
    """
    dimension = model.card.network.dimension
    if image.ndim != dimension:
        raise InputError(
            f"{image.name} is {image.ndim}D and the model is for {dimension}D scans; "
            "choose a model of that dimension."
        )


def _atlases(
    study: Study, model: LoadedModel, autocast: torch.dtype | None
) -> Iterator[Atlas]:
    """Yield the labelled scans of the study, when the model can carry their labels over."""
    trained_to_deform = model.card.objective != "supervised"
    same_labels = model.card.network.classes == study.scheme.classes
    if not trained_to_deform or not same_labels or study.grid != model_grid(model.card):
        return
    for case in study.cases_with("labelled", labels=True):
        image, placement = study.load_image(case.id), study.placement(case.id)
        array = scan_on_grid(image, study.grid, placement, model.card.intensity_mode)
        target = target_on_grid(study, case.id, study.grid, placement)
        features = features_on_grid(model, array, autocast)
        yield Atlas(case.id, features, target_masks(target, model.network).to(features.device))


def target_masks(target: NDArray[Any], network: GeminiNetwork) -> torch.Tensor:
    """Return float masks (C, *S) of a training target; ignored voxels belong to nothing."""
    if network.config.overlapping:
        return torch.from_numpy((target == 1).astype(np.float32))
    classes = np.arange(network.config.classes).reshape(-1, *[1] * target.ndim)
    return torch.from_numpy((target[None] == classes).astype(np.float32))


def _write(
    out: Path, scan: _Scan, labels: NDArray[Any], image: Volume, model: LoadedModel
) -> list[Path]:
    """Write labels on the scan's own grid; overlapping labels get one file each in a folder."""
    if not model.card.network.overlapping:
        path = out / f"{scan.name}{scan.suffix}"
        write_labels(path, labels, image)
        return [path]
    paths = []
    make_folder(out / scan.name)
    for name, mask in zip(model.card.labels.values(), labels, strict=True):
        paths.append(out / scan.name / f"{slug(name)}{scan.suffix}")
        write_labels(paths[-1], mask, image)
    return paths


def _most_doubtful_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort cases by doubt and say why; cases without evidence keep their order at the end."""
    evidence = {
        row["case"]: {key: row[key] for key in EVIDENCE if key in row}
        for row in rows
        if "agreement" in row
    }
    ranked = {doubt.case: doubt for doubt in rank_by_doubt(evidence)} if evidence else {}
    by_case = {row["case"]: row for row in rows}
    judged = [
        {
            **by_case[case],
            "doubt": doubt.score,
            "outlier": doubt.outlier,
            "reasons": list(doubt.reasons),
        }
        for case, doubt in ranked.items()
    ]
    return [*judged, *(row for row in rows if row["case"] not in ranked)]
