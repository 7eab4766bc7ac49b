"""The job ``propagate``: the labels of one atlas for many targets."""

from __future__ import annotations

import functools
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_gemini.engine.batch import BatchSummary, BatchTarget, run_batch
from napari_gemini.engine.device import select_device
from napari_gemini.engine.jobs import PropagateJob
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.tasks.correspond import finish_pair
from napari_gemini.engine.tasks.pair_inputs import (
    PairInputs,
    check_dimensions,
    read_labels_of,
    read_scan,
)
from napari_gemini.engine.tasks.pair_matching import match_as_asked
from napari_gemini.engine.tasks.pair_results import RESULT_NAMES
from napari_gemini.engine.tasks.result_folder import check_result_file, check_result_folder
from napari_gemini.engine.tasks.serving import Serving, choose_model, model_sentence, serve
from napari_gemini.errors import InputError
from napari_gemini.evaluation.doubt import evidence_from_report, rank_by_doubt
from napari_gemini.evaluation.folders import find_cases
from napari_gemini.progress import Reporter
from napari_gemini.study.naming import by_case, find_images
from napari_gemini.volumes.atomic import explain_write_error, write_json_atomic

_SUMMARY = "report.json"


def run(job: PropagateJob, reporter: Reporter) -> dict[str, Any]:
    """Carry the labels of an atlas to every target, each into a folder of its own.

    A target whose results are up to date is left as it is, and one that fails does not stop the
    others.

    Parameters
    ----------
    job
        What the user asked for.
    reporter
        Hears about progress, and of each target as ``target_done``.

    Returns
    -------
    dict
        ``targets`` (report by target), ``failed`` (sentence by target), ``skipped``, ``ranking``
        (most doubtful first), ``model``, ``out``; the same is in ``report.json`` in the folder.

    Raises
    ------
    GeminiError
        If the atlas, its labels or the model cannot be used; nothing is written then.
    """
    atlas = read_scan(job.atlas)
    read_labels_of(job.labels, atlas)
    targets = _targets(job, atlas.ndim)
    _make_folder(job.out)
    select_device(job.device)
    name, weights = choose_model(job.model, atlas.ndim)
    reporter.log(model_sentence(job.model, name, weights, atlas.ndim))
    work = functools.partial(carry, job=job)
    summary = run_batch(targets, work, job.out, reporter, job.scheduler)
    result: dict[str, Any] = to_plain(_summarise(summary, name, job))
    write_json_atomic(job.out / _SUMMARY, result)
    return result


def carry(target: BatchTarget, reporter: Reporter, *, job: PropagateJob) -> dict[str, Any]:
    """Carry the labels to one target; runs here or on a worker of a cluster."""
    started = time.monotonic()
    folder = job.out / target.key
    check_result_folder(folder, RESULT_NAMES)
    atlas = read_scan(job.atlas)
    labels = read_labels_of(job.labels, atlas)
    fixed = read_scan(target.inputs["target"])
    check_dimensions(atlas, fixed)
    known = read_labels_of(target.inputs.get("reference"), fixed)
    inputs = PairInputs(atlas, fixed, labels, known)
    device = select_device(job.device)
    serving = _serving(job.model, atlas.ndim, str(device))
    pair = match_as_asked(inputs, serving, job, device, reporter)
    return finish_pair(
        inputs,
        pair,
        serving,
        folder,
        reporter,
        "propagate",
        started,
        str(device),
        command(job, target),
    )


def command(job: PropagateJob, target: BatchTarget) -> list[str]:
    """Return the command line that repeats one target."""
    words = ["napari-gemini", "propagate", "--atlas", str(job.atlas), "--labels", str(job.labels)]
    words += [str(target.inputs["target"]), "--out", str(job.out)]
    options = {
        "--model": job.model,
        "--references": job.references,
        "--refine": job.refine,
        "--similarity": None if job.similarity == "auto" else job.similarity,
        "--spacing": job.spacing,
    }
    for name, value in options.items():
        if value is not None:
            words += [name, str(value)]
    return [*words, "--device", job.device]


@lru_cache(maxsize=1)
def _serving(spec: str | None, dimension: int, device: str) -> Serving:
    """Load the model once for all targets of a process."""
    return serve(spec, dimension, device)


def _targets(job: PropagateJob, dimension: int) -> list[BatchTarget]:
    _, weights = choose_model(job.model, dimension)
    references = {} if job.references is None else find_cases(job.references)
    found = by_case(find_images(job.targets), "images")
    targets = []
    for key, path in found.items():
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
        inputs = {"atlas": job.atlas, "labels": job.labels, "target": path}
        if key in references:
            inputs["reference"] = references[key]
        if weights is not None:
            inputs["weights"] = weights / "weights.safetensors"
        parameters = {
            "refine": job.refine,
            "spacing": job.spacing,
            "similarity": job.similarity,
        }
        targets.append(BatchTarget(key, inputs, [job.out / key], parameters))
    if job.references is not None and not references.keys() & found.keys():
        raise InputError(
            f"No file in {job.references} has the same name as a target; name the known labels "
            "like their scans."
        )
    return targets


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, out) from error
    check_result_file(out / _SUMMARY)


def _summarise(summary: BatchSummary, model: str, job: PropagateJob) -> dict[str, Any]:
    reports = {
        key: outcome.values
        for key, outcome in summary.outcomes.items()
        if outcome.status in ("done", "skipped")
    }
    doubts = rank_by_doubt({key: evidence_from_report(report) for key, report in reports.items()})
    return {
        "schema_version": 1,
        "kind": "propagate-summary",
        "model": model,
        "out": str(job.out),
        "targets": reports,
        "failed": {key: summary.outcomes[key].message for key in summary.keys("failed")},
        "skipped": summary.keys("skipped"),
        "ranking": [
            {"target": doubt.case, "score": doubt.score, "reasons": list(doubt.reasons)}
            for doubt in doubts
        ],
    }
