"""Reading the result of a pair for a window: fields and scans as memory-mapped arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.jobs import LoadPairJob
from napari_gemini.errors import InputError
from napari_gemini.evaluation.pair_files import FIELD_NAMES, input_path, read_json
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.field_files import read_field
from napari_gemini.volumes.reading import read_volume

#: Folder within a result that holds the other direction.
INVERSE = "inverse"


def load_pair(job: LoadPairJob, reporter: Reporter) -> dict[str, Any]:
    """Read a folder that ``correspond`` or ``propagate`` wrote; needs no torch.

    Returns
    -------
    dict
        ``report``, and ``fixed``, ``moving`` (``array``, ``affine``, ``spacing_known``, ``path``),
        ``there`` and ``back`` (``array``, ``affine``; ``back`` is null where the result has one
        direction only).

    Raises
    ------
    InputError
        If the folder holds no readable result, or a scan is no longer where it was.
    """
    report = read_json(job.folder / "report.json")
    values: dict[str, Any] = {"report": report, "folder": str(job.folder)}
    for name, roles in (("fixed", ("fixed", "target")), ("moving", ("moving", "atlas"))):
        stop_if_cancelled(reporter)
        values[name] = _scan(scan_path(job.folder, report, *roles))
    stop_if_cancelled(reporter)
    values["there"] = _field(field_path(job.folder))
    other = job.folder.parent if job.folder.name == INVERSE else job.folder / INVERSE
    try:
        values["back"] = _field(field_path(other))
    except InputError:
        values["back"] = None
    return values


def scan_path(folder: Path, report: dict[str, Any], *roles: str) -> Path:
    """Return the file of a scan that a report names.

    Raises
    ------
    InputError
        If the report does not name it, or it is no longer there.
    """
    path = input_path(report, *roles)
    if path is None:
        raise InputError(
            f"{folder / 'report.json'} does not say which scan is the {roles[0]} one; choose a "
            "folder that correspond or propagate wrote."
        )
    if not path.exists():
        raise InputError(
            f"The {roles[0]} scan of {folder} is no longer at {path}; put it back or compute the "
            "pair again."
        )
    return path


def field_path(folder: Path) -> Path:
    """Return the file of a result's field.

    Raises
    ------
    InputError
        If there is none.
    """
    for name in FIELD_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} holds no field.h5; compute the pair again.")


def _scan(path: Path) -> dict[str, Any]:
    volume = read_volume(path)
    return {
        "array": exchange().put(volume.data).model_dump(),
        "affine": volume.affine.tolist(),
        "spacing_known": volume.spacing_known,
        "path": str(path),
    }


def _field(path: Path) -> dict[str, Any]:
    field = read_field(path)
    return {"array": exchange().put(field.vectors).model_dump(), "affine": field.affine.tolist()}
