"""A study at a glance, as plain data for the command line and the docks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_gemini.errors import StudyError
from napari_gemini.study.folder import LOCK_FILE
from napari_gemini.study.lock import living_owner
from napari_gemini.study.review import latest
from napari_gemini.study.study import Study


def study_status(study: Study) -> dict[str, Any]:
    """Describe a study.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    dict
        JSON-ready: ``folder``, ``dimension``, ``unit`` (mm or pixels), ``labels`` (name by value),
        ``overlapping``, ``ignore``, ``grid`` (shape, spacing), ``align``, ``counts`` (cases by
        role, with labels, with missing images), ``review`` (cases by latest verdict), ``runs``,
        ``predictions`` (cases predicted by run), ``in_use_by`` (a living writer or None) and
        ``cases`` (id, role, status, person, image, image_found, labels, saved, versions, verdict).
    """
    verdicts = latest(study.review())
    cases = []
    for case in study.cases:
        try:
            image, found = study.image_path(case.id), True
        except StudyError:
            image, found = Path(case.image), False
        cases.append(
            {
                "id": case.id,
                "role": case.role,
                "status": case.status,
                "person": case.person,
                "image": str(image),
                "image_found": found,
                "labels": study.has_labels(case.id),
                "saved": _saved(study, case.id),
                "versions": len(study.history(case.id)),
                "verdict": verdicts[case.id].verdict if case.id in verdicts else None,
            }
        )
    roles = Counter(case["role"] for case in cases)
    owner = living_owner(study.folder / LOCK_FILE)
    grid = study.grid
    return {
        "folder": str(study.folder),
        "dimension": study.dimension,
        "unit": "mm" if study.spacing_known else "pixels",
        "labels": {str(value): name for value, name in study.scheme.names.items()},
        "overlapping": study.scheme.overlapping,
        "ignore": study.scheme.ignore,
        "grid": {"shape": list(grid.shape), "spacing": list(grid.spacings)},
        "align": study.file.align,
        "counts": {
            "cases": len(cases),
            "labelled": roles["labelled"],
            "unlabelled": roles["unlabelled"],
            "test": roles["test"],
            "with_labels": sum(case["labels"] for case in cases),
            "missing_images": sum(not case["image_found"] for case in cases),
        },
        "review": dict(Counter(row.verdict for row in verdicts.values())),
        "runs": _folders(study.runs_dir),
        "predictions": _predictions(study),
        "in_use_by": None if owner is None else {"pid": owner.pid, "host": owner.host},
        "cases": cases,
    }


def _saved(study: Study, case_id: str) -> str | None:
    """Return when the labels of a case were last written, ISO 8601."""
    if not study.has_labels(case_id):
        return None
    path = study.labels_path(case_id)
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.is_file()]
    newest = max(file.stat().st_mtime for file in files)
    return datetime.fromtimestamp(newest, UTC).astimezone().isoformat(timespec="seconds")


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(e.name for e in parent.iterdir() if e.is_dir() and not e.name.startswith("."))


def _predictions(study: Study) -> dict[str, int]:
    """Return how many cases each run has predicted."""
    return {
        run: sum(study.prediction_path(run, case.id).is_file() for case in study.cases)
        for run in _folders(study.folder / "predictions")
    }
