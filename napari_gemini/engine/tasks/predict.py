"""The prediction job: labels for the scans of a study, or for any images, with a trained model."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from napari_gemini.engine.batch import BatchTarget, run_batch
from napari_gemini.engine.device import choose_precision, select_device
from napari_gemini.engine.jobs import PredictJob
from napari_gemini.engine.provenance import collect_provenance
from napari_gemini.errors import InputError, ModelError
from napari_gemini.evaluation.doubt import EVIDENCE, Doubt, rank_by_doubt
from napari_gemini.evaluation.run_report import write_run_report
from napari_gemini.learning.card import ModelCard, read_card
from napari_gemini.learning.checkpoints import (
    WEIGHTS,
    LoadedModel,
    load_model,
    resolve_model,
)
from napari_gemini.learning.prediction import (
    Atlas,
    features_on_grid,
    labels_from_features,
    model_grid,
    place_scan,
    weigh_evidence,
)
from napari_gemini.learning.study_cohort import scan_on_grid, target_on_grid
from napari_gemini.learning.target_masks import target_masks
from napari_gemini.progress import Reporter
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


@dataclass(frozen=True)
class _Session:
    """What all targets of one process share: model, study and its labelled scans."""

    model: LoadedModel
    device: torch.device
    autocast: torch.dtype | None
    study: Study | None
    atlases: list[Atlas]


def run(job: PredictJob, reporter: Reporter) -> dict[str, Any]:
    """Label scans and say which labels are doubtful.

    A scan whose labels are up to date is left as it is, and one that fails does not stop the
    others.

    Parameters
    ----------
    job
        The model, and a study or images.
    reporter
        Hears of progress; asked to stop between two scans.

    Returns
    -------
    dict
        ``out``, ``model``, ``seconds``, ``device``, ``failed`` (sentence by case), ``skipped`` and
        ``cases``, most doubtful first, each with its files and, with a study, ``agreement``,
        ``gss_mean`` and ``fold_percent``; the same is in ``predictions.json`` in the folder.

    Raises
    ------
    ModelError, InputError, StudyError, DeviceError
        With one sentence each.
    """
    started = time.monotonic()
    device = select_device(job.device)
    folder = resolve_model(job.model)
    card = read_card(folder)
    if not card.labels:
        raise ModelError(
            f"The model {job.model} was trained without labels and cannot label: train one on a "
            f"labelled study, starting from it with --init {job.model}."
        )
    study = None if job.study is None else Study.open(job.study)
    scans = list(_scans_of_study(study) if study is not None else _scans_of_images(job.images))
    if study is not None and not scans:
        raise InputError(
            f"Every case of {study.folder.name} is labelled, so there is none to predict; add "
            "scans to it, or name IMAGES instead of the study."
        )
    out = job.out or _default_folder(study, folder)
    targets = [_target(scan, out, folder, card, study) for scan in scans]
    # A model that cannot be used is said before anything is written.
    _session(str(folder), job.study, str(device))
    # The folder of the weights goes along: a run may get a better checkpoint meanwhile.
    work = functools.partial(
        predict_one, model=str(folder), study=job.study, out=out, device=str(device)
    )
    summary = run_batch(targets, work, out, reporter, job.scheduler)
    rows = [
        {"case": key, **outcome.values}
        for key, outcome in summary.outcomes.items()
        if outcome.status in ("done", "skipped")
    ]
    doubts = _rank(rows)
    reporter.log("Writing the report.", "debug")
    page = _write_page(study, folder, card, out, doubts)
    result = {
        "out": str(out),
        "html": None if page is None else str(page),
        "model": job.model,
        "model_card": card.model_dump(mode="json", exclude={"data_sha256"}),
        "device": str(device),
        "seconds": time.monotonic() - started,
        "cases": _most_doubtful_first(rows, doubts),
        "failed": {key: summary.outcomes[key].message for key in summary.keys("failed")},
        "skipped": summary.keys("skipped"),
        "provenance": collect_provenance(),
    }
    write_json_atomic(out / SUMMARY, result)
    return result


def predict_one(
    target: BatchTarget,
    reporter: Reporter,
    *,
    model: str,
    study: Path | None,
    out: Path,
    device: str,
) -> dict[str, Any]:
    """Label one scan and write its labels; runs here or on a worker of a cluster."""
    session = _session(model, study, device)
    suffix = str(target.parameters["suffix"])
    scan = _Scan(target.key, Path(target.inputs["image"]), suffix)
    return _predict(scan, out, session)


@lru_cache(maxsize=1)
def _session(model: str, study: Path | None, device: str) -> _Session:
    loaded = load_model(model, device)
    reduced = choose_precision("auto", device) == "bf16" and loaded.card.network.backbone == "unet"
    autocast = torch.bfloat16 if reduced else None
    opened = None if study is None else Study.open(study)
    atlases = [] if opened is None else list(_atlases(opened, loaded, autocast))
    return _Session(loaded, torch.device(device), autocast, opened, atlases)


def _target(
    scan: _Scan, out: Path, folder: Path, card: ModelCard, study: Study | None
) -> BatchTarget:
    inputs = {"image": scan.path, "weights": folder / WEIGHTS}
    if study is not None:
        for case in study.cases_with("labelled", labels=True):
            inputs[f"labels of {case.id}"] = study.labels_path(case.id)
    outputs = [out / scan.name if card.network.overlapping else out / f"{scan.name}{scan.suffix}"]
    return BatchTarget(scan.name, inputs, outputs, {"suffix": scan.suffix})


def _default_folder(study: Study | None, folder: Path) -> Path:
    assert study is not None
    run = folder.parent.parent
    return study.predictions_dir(run.name if run.parent == study.runs_dir else folder.name)


def _scans_of_study(study: Study) -> Iterator[_Scan]:
    taught = {case.id for case in study.teaching_cases()}
    for case in study.cases:
        if case.id not in taught:
            yield _Scan(case.id, study.image_path(case.id), case.label_suffix)


def _scans_of_images(images: list[Path]) -> Iterator[_Scan]:
    for name, path in by_case(find_images(images), "images").items():
        yield _Scan(name, path, ".png" if path.suffix.lower() == ".png" else ".nii.gz")


def _predict(scan: _Scan, out: Path, session: _Session) -> dict[str, Any]:
    model, study, autocast = session.model, session.study, session.autocast
    image = study.load_image(scan.name) if study is not None else read_volume(scan.path)
    check_dimension(image, model)
    grid, placement = _place(scan, image, model, study)
    array = scan_on_grid(image, grid, placement, model.card.intensity_mode)
    features = features_on_grid(model, array, autocast)
    labels = labels_from_features(model, features, grid, placement, image)
    files = _write(out, scan, labels, image, model)
    values: dict[str, Any] = {"files": [str(file) for file in files]}
    if session.atlases and grid == model_grid(model.card):
        with torch.autocast(session.device.type, dtype=autocast, enabled=autocast is not None):
            values |= asdict(weigh_evidence(model, features, session.atlases))
    return values


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


def _atlases(study: Study, model: LoadedModel, autocast: torch.dtype | None) -> Iterator[Atlas]:
    """Yield the labelled scans of the study, when the model can carry their labels over."""
    same_labels = model.card.network.classes == study.scheme.classes
    if not model.card.deforms or not same_labels or study.grid != model_grid(model.card):
        return
    for case in study.teaching_cases():
        image, placement = study.load_image(case.id), study.placement(case.id)
        array = scan_on_grid(image, study.grid, placement, model.card.intensity_mode)
        target = target_on_grid(study, case.id, study.grid, placement)
        features = features_on_grid(model, array, autocast)
        classes = torch.from_numpy(target)[None].to(features.device)
        yield Atlas(case.id, features, target_masks(classes, model.network.config)[0])


def _write(
    out: Path, scan: _Scan, labels: NDArray[Any], image: Volume, model: LoadedModel
) -> list[Path]:
    """Write labels on the scan's own grid; overlapping labels get one file each in a folder."""
    if not model.card.network.overlapping:
        path = out / f"{scan.name}{scan.suffix}"
        write_labels(path, labels, image)
        return [path]
    paths = []
    folder = out / scan.name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, folder) from error
    for name, mask in zip(model.card.labels.values(), labels, strict=True):
        paths.append(folder / f"{slug(name)}{scan.suffix}")
        write_labels(paths[-1], mask, image)
    return paths


def _rank(rows: list[dict[str, Any]]) -> list[Doubt]:
    """Rank the cases that have evidence, most doubtful first."""
    evidence = {
        row["case"]: {key: row[key] for key in EVIDENCE if key in row}
        for row in rows
        if "agreement" in row
    }
    return rank_by_doubt(evidence) if evidence else []


def _most_doubtful_first(rows: list[dict[str, Any]], doubts: list[Doubt]) -> list[dict[str, Any]]:
    """Sort cases by doubt and say why; cases without evidence keep their order at the end."""
    by_case = {row["case"]: row for row in rows}
    judged = [
        {
            **by_case.pop(doubt.case),
            "doubt": doubt.score,
            "outlier": doubt.outlier,
            "reasons": list(doubt.reasons),
        }
        for doubt in doubts
    ]
    return [*judged, *by_case.values()]


def _write_page(
    study: Study | None, folder: Path, card: ModelCard, out: Path, doubts: list[Doubt]
) -> Path | None:
    """Write the page of the run where the model is a run of the study; None elsewhere."""
    run = folder.parent.parent
    if study is None or run.parent != study.runs_dir or card.network.overlapping:
        return None
    return write_run_report(run, out=out / "report.html", predictions=out, doubts=doubts)
