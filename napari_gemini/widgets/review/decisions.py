"""What a verdict does: who thought what, and predictions that become the labels of a case."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import StudyError
from napari_gemini.study.files import Status
from napari_gemini.study.review import Verdict
from napari_gemini.study.scheme import slug
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import write_text_atomic
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.review.items import MEASURES, Item

#: Verdicts that make the prediction the labels of its case.
TAKING: tuple[Verdict, ...] = ("accepted", "corrected")


def replaces_hand_labels(study: Study, item: Item) -> bool:
    """Say whether taking a prediction would replace labels that were not this prediction."""
    if item.case is None or not study.has_labels(item.case):
        return False
    return not (item.review is not None and item.review.verdict in TAKING)


def overwrite_question(study: Study, item: Item) -> str:
    """Return what to ask before labels are replaced."""
    assert item.case is not None
    state = "finished labels" if study.case(item.case).status == "done" else "labels"
    return (
        f"{item.case} has {state} already. Replace them by the prediction? "
        "The labels of now stay in the history of the study."
    )


def load_prediction(study: Study, item: Item) -> NDArray[np.integer]:
    """Read a prediction as one label map; of overlapping labels the highest lies on top.

    Raises
    ------
    GeminiError
        If it cannot be read.
    """
    if not item.path.is_dir():
        return read_labels(item.path).data
    assert item.case is not None
    flat = np.zeros(study.outline(item.case).shape, np.uint16)
    for value, mask in zip(study.scheme.values, _masks(study, item), strict=True):
        flat[mask] = value
    return flat


def _masks(study: Study, item: Item) -> list[NDArray[np.bool_]]:
    assert item.case is not None
    suffix = study.case(item.case).label_suffix
    names = [slug(study.scheme.names[value]) for value in study.scheme.values]
    return [read_labels(item.path / f"{name}{suffix}").data > 0 for name in names]


def take_prediction(study: Study, item: Item, verdict: Verdict, comment: str = "") -> None:
    """Make a prediction the labels of its case and note the verdict.

    What the case had before goes to the history. Accepted labels are finished, labels to correct
    are not.

    Raises
    ------
    GeminiError
        If the prediction cannot be read, or the study cannot be written.
    """
    if item.kind != "prediction" or item.case is None:
        raise StudyError(f"{item.name} is no prediction of a case of this study.")
    status: Status = "done" if verdict == "accepted" else "started"
    if study.scheme.overlapping:
        study.save_masks(item.case, np.stack(_masks(study, item)), status=status)
    else:
        study.save_labels(item.case, load_prediction(study, item), status=status)
    note_verdict(study, item, verdict, comment)


def note_verdict(study: Study, item: Item, verdict: Verdict, comment: str = "") -> None:
    """Write who thought what of a result and when.

    Raises
    ------
    GeminiError
        If the result belongs to no case, or the study cannot be written.
    """
    if item.case is None:
        raise StudyError(
            f"{item.name} is no case of this study, so there is no place for a verdict on it; "
            "open the study that its fixed scan belongs to."
        )
    study.add_review(item.case, verdict, comment, source=item.review_source)


def export_csv(path: Path, items: Iterable[Item]) -> None:
    """Write a table of items: evidence, doubt, and who thought what and when.

    Raises
    ------
    GeminiError
        If it cannot be written.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    told = ("verdict", "comment", "who", "when")
    writer.writerow(("kind", "name", "case", "source", "doubt", "outlier", *MEASURES, *told))
    for item in items:
        review = [getattr(item.review, name) if item.review else "" for name in told]
        numbers = [item.values.get(key, "") for key in MEASURES]
        doubt = "" if item.doubt is None else item.doubt
        about = (item.kind, item.name, item.case or "", item.source, doubt, item.outlier)
        writer.writerow((*about, *numbers, *review))
    write_text_atomic(path, stream.getvalue())
