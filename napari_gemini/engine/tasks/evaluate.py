"""The job ``evaluate``: a folder of predictions against a folder of references."""

from __future__ import annotations

from typing import Any

from napari_gemini.engine.jobs import EvaluateJob
from napari_gemini.engine.tasks.result_folder import check_result_file
from napari_gemini.evaluation.folders import evaluate_folders
from napari_gemini.progress import Reporter
from napari_gemini.volumes.atomic import write_json_atomic


def run(job: EvaluateJob, reporter: Reporter) -> dict[str, Any]:
    """Score label maps and write the report.

    Parameters
    ----------
    job
        Folders and the file to write.
    reporter
        Told about every case; may cancel.

    Returns
    -------
    dict
        The content of the report; see
        :func:`napari_gemini.evaluation.folders.evaluate_folders`.

    Raises
    ------
    InputError
        If a folder or a file cannot be used; nothing is written then.
    """
    check_result_file(job.out)
    report = evaluate_folders(job.predictions, job.references, reporter=reporter)
    write_json_atomic(job.out, report)
    return report
