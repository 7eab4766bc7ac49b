"""The job ``correspond``: one pair, from files to a folder of results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from napari_gemini.engine.device import format_bytes, peak_memory_mb, select_device
from napari_gemini.engine.jobs import CorrespondJob
from napari_gemini.engine.tasks.pair_inputs import PairInputs, read_pair_inputs
from napari_gemini.engine.tasks.pair_matching import PairMatch, match_as_asked
from napari_gemini.engine.tasks.pair_results import (
    INVERSE,
    RESULT_NAMES,
    PairResults,
    evaluate_match,
    make_report,
    reversed_inputs,
    write_report,
    write_results,
)
from napari_gemini.engine.tasks.result_folder import check_result_folder, result_folder
from napari_gemini.engine.tasks.serving import Serving, serve
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.fields import field_bytes


def run(job: CorrespondJob, reporter: Reporter) -> dict[str, Any]:
    """Find the correspondence of a pair and write everything that shows whether to trust it.

    Parameters
    ----------
    job
        What the user asked for.
    reporter
        Hears about progress.

    Returns
    -------
    dict
        The content of ``report.json`` with ``out`` and ``html``, where the results are.

    Raises
    ------
    GeminiError
        With one sentence for bad input; nothing is written then.
    """
    started = time.monotonic()
    check_result_folder(job.out, RESULT_NAMES)
    inputs = read_pair_inputs(job.moving, job.fixed, job.labels, job.fixed_labels, job.ignore)
    device = select_device(job.device)
    serving = serve(job.model, inputs.fixed.ndim, device)
    reporter.log(serving.sentence)
    pair = match_as_asked(inputs, serving, job, device, reporter, job.both)
    return finish_pair(
        inputs,
        pair,
        serving,
        job.out,
        reporter,
        "correspond",
        started,
        str(device),
        command(job),
        both=job.both,
    )


def finish_pair(
    inputs: PairInputs,
    pair: PairMatch,
    serving: Serving,
    out: Path,
    reporter: Reporter,
    kind: str,
    started: float,
    device: str,
    command_line: list[str],
    both: bool = False,
) -> dict[str, Any]:
    """Judge a match on the fixed scan's grid and publish its folder.

    Parameters
    ----------
    inputs, pair, serving
        The pair, its map and the model that served.
    out
        The folder of the results; a former result there is replaced as a whole.
    reporter
        Hears about it and may stop it.
    kind
        ``correspond`` or ``propagate``.
    started
        ``time.monotonic()`` of the beginning.
    device
        Where it was computed.
    command_line
        What repeats it.
    both
        Write the other direction too, into the folder ``inverse`` of the results.

    Returns
    -------
    dict
        The report, with ``out`` and ``html``.
    """
    reporter.log("Measuring folds, consistency and similarity.", "debug")
    facts: dict[str, Any] = {"device": device, "command": command_line}
    directions = [(inputs, pair, "")]
    if both:
        directions.append((reversed_inputs(inputs, pair), pair.reversed(), INVERSE))
    with result_folder(out, RESULT_NAMES) as folder:
        for scans, matched, name in reversed(directions):
            results = evaluate_match(scans, matched, reporter)
            if not name:
                _tell(results, matched, reporter)
            stop_if_cancelled(reporter)
            place = folder / name
            place.mkdir(exist_ok=True)
            write_results(place, scans, matched, results)
            facts["seconds"] = round(time.monotonic() - started, 2)
            facts["peak_memory_mb"] = peak_memory_mb(device)
            report = make_report(kind, scans, matched, serving, results, **facts)
            report = write_report(place, report)
            stop_if_cancelled(reporter)
    return {**report, "out": str(out), "html": str(out / "report.html")}


def _tell(results: PairResults, match: PairMatch, reporter: Reporter) -> None:
    reporter.log(f"field.h5 takes {format_bytes(field_bytes(match.field.shape))}.")
    for note in results.notes:
        reporter.log(note, "warning" if "No voxel" in note else "info")


def command(job: CorrespondJob) -> list[str]:
    """Return the command line that repeats a job."""
    words = ["napari-gemini", "correspond", str(job.moving), str(job.fixed), "--out", str(job.out)]
    options = {
        "--model": job.model,
        "--labels": job.labels,
        "--fixed-labels": job.fixed_labels,
        "--refine": job.refine,
        "--similarity": None if job.similarity == "auto" else job.similarity,
        "--ignore": job.ignore,
        "--spacing": job.spacing,
    }
    for name, value in options.items():
        if value is not None:
            words += [name, str(value)]
    if job.both:
        words.append("--both")
    return [*words, "--device", job.device]
