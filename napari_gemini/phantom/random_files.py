"""A randomised cohort as a study on disk, ready for pre-training."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import napari_gemini
from napari_gemini.errors import InputError
from napari_gemini.phantom.cohort import PhantomCase
from napari_gemini.phantom.random_cohort import RandomGroup
from napari_gemini.phantom.truth import write_truth
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.study.files import (
    Case,
    GridFile,
    StudyFile,
    relative_path,
    write_study_file,
)
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.atomic import explain_write_error
from napari_gemini.volumes.grid import choose_grid
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume

_STUDY_FOLDERS = ("images", "labels", "landmarks", "runs", "predictions", "truth")


def write_random_study(
    folder: str | Path,
    groups: Iterable[RandomGroup],
    count: int,
    reporter: Reporter | None = None,
) -> Path:
    """Write groups of scans as a study whose cases say which group they belong to.

    ``images/`` holds the scans (PNG in 2D, NIfTI in 3D), ``truth/<group>/`` the true maps,
    landmarks and structures. No case of the study is labelled, since a label means another
    structure in each group.

    Parameters
    ----------
    folder
        A folder that does not exist yet, or is empty.
    groups
        The groups, written as they come, so that only one is in memory.
    count
        How many there are, for the progress.
    reporter
        Hears of progress and may stop the work.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds something already.
    """
    folder = Path(folder).absolute()
    reporter = reporter or SilentReporter()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: choose another place for the study.")
    try:
        for name in _STUDY_FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        cases: list[Case] = []
        shells: list[Volume] = []
        for done, group in enumerate(groups):
            stop_if_cancelled(reporter)
            reporter.progress(done, count, "drawing scans")
            for case in group.cases:
                path = _write_case(folder, group.name, case)
                cases.append(_study_case(folder, path, group.name, case))
                shells.append(_shell(case.image))
            write_truth(folder / "truth" / group.name, group.truth)
        reporter.progress(count, count, "drawing scans")
        # The study comes last: a folder without it was not written to the end.
        write_study_file(folder, _study_file(cases, shells))
    except OSError as error:
        raise explain_write_error(error, folder) from error
    return folder


def _write_case(folder: Path, group: str, case: PhantomCase) -> Path:
    """Write scan and structures of one case and return the scan's path."""
    name = case.id + (".nii.gz" if case.image.spacing_known else ".png")
    truth = folder / "truth" / group / "labels"
    truth.mkdir(parents=True, exist_ok=True)
    write_volume(folder / "images" / name, case.image.data, case.image)
    write_labels(truth / name, case.labels.data, case.labels)
    return folder / "images" / name


def _study_case(folder: Path, path: Path, group: str, case: PhantomCase) -> Case:
    picture = not case.image.spacing_known
    return Case(
        id=case.id,
        image=str(path),
        relative=relative_path(path, folder),
        group=group,
        shape=case.image.shape,
        label_suffix=".png" if picture else ".nii.gz",
    )


def _shell(image: Volume) -> Volume:
    """Return a volume of the same geometry without its voxels."""
    return Volume(
        np.broadcast_to(np.uint8(0), image.shape), image.affine, spacing_known=image.spacing_known
    )


def _study_file(cases: list[Case], shells: list[Volume]) -> StudyFile:
    grid = choose_grid(shells, None)
    return StudyFile(
        dimension=3 if shells[0].ndim == 3 else 2,
        spacing_known=shells[0].spacing_known,
        scheme=LabelScheme(names={1: "label 1"}),
        grid=GridFile(shape=grid.shape, spacing=grid.spacing),
        reference=cases[0].id,
        created=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        software=f"napari-gemini {napari_gemini.__version__}",
        cases=cases,
    )
