"""Jobs of a study that read many images: making it, and finding images that were moved.

Every image format is parsed here in the child, so that a broken file takes no window along.
"""

from __future__ import annotations

from typing import Any

from napari_gemini.engine.jobs import FindImagesJob, NewStudyJob
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study


def new_study(job: NewStudyJob, reporter: Reporter) -> dict[str, Any]:
    """Make a study; nothing appears unless everything is in order.

    Returns
    -------
    dict
        ``folder``, ``cases`` (how many) and ``labelled`` (how many of them).

    Raises
    ------
    InputError
        If anything about the input is wrong.
    """
    try:
        scheme = LabelScheme(names=job.names) if job.names else None
    except ValueError as error:
        raise InputError(f"The labels cannot be used: {error}.") from error
    study = Study.create(
        job.folder,
        job.images,
        labels_dir=job.labels,
        scheme=scheme,
        spacing=job.spacing,
        align=job.align,
        volume_indices=job.volumes,
        reporter=reporter,
    )
    return {
        "folder": str(study.folder),
        "cases": len(study.cases),
        "labelled": len(study.cases_with("labelled")),
    }


def find_images(job: FindImagesJob, reporter: Reporter) -> dict[str, Any]:
    """Look for moved images by name and size.

    Returns
    -------
    dict
        ``found``: path of the image by case.
    """
    reporter.log(f"Looking for images in {', '.join(map(str, job.sources))}.", "debug")
    found = Study.open(job.study).find_moved(job.sources)
    return {"found": {case: str(path) for case, path in found.items()}}
