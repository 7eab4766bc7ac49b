"""What there is to review: every predicted case and every pair of a study, with its evidence.

Nothing here touches Qt: a worker's thread collects, the GUI thread shows. Cases are compared within
their own cohort (the predictions of one run, the pairs of one folder), since models and tasks
differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from napari_gemini.errors import GeminiError
from napari_gemini.study.review import ReviewRow, latest_on
from napari_gemini.study.study import Study

#: File in which ``predict`` leaves the evidence on its cases.
SUMMARY = "predictions.json"
PREDICTIONS, PAIRS = "predictions", "pairs"

Kind = Literal["prediction", "pair"]


@dataclass(frozen=True)
class Measure:
    """One piece of evidence, as a column.

    Attributes
    ----------
    title
        Over the column.
    help
        What it is, and which way is worse.
    digits
        After the decimal point.
    lower_is_worse
        Whether small values raise doubt; None where it raises none.
    """

    title: str
    help: str
    digits: int
    lower_is_worse: bool | None


#: Key of :class:`Item.values` -> column, in this order.
MEASURES: dict[str, Measure] = {
    "agreement": Measure(
        "Agreement",
        "Dice of the labels of the segmentation head and the labels carried over from the labelled "
        "scans. Two ways that err differently: small means that one of them is wrong.",
        3,
        True,
    ),
    "fold_percent": Measure(
        "Folds %", "Voxels in which the map folds (central differences). Large is worse.", 2, False
    ),
    "gss_mean": Measure(
        "GSS", "Semantic similarity of matched voxels, 1 is best. Small is worse.", 3, True
    ),
    "gvs_mean": Measure(
        "GVS", "Visual similarity of matched voxels, 1 is best. Small is worse.", 3, True
    ),
    "inverse_consistency_mm": Measure(
        "Inverse",
        "By how much a point carried there and back misses its start, mean over the scan, in mm "
        "(pixels where their size is unknown). Large is worse.",
        2,
        False,
    ),
    "sd_log_jacobian": Measure(
        "Unevenness",
        "Standard deviation of the logarithm of local volume change. Large is worse.",
        3,
        False,
    ),
    "dice": Measure(
        "Dice", "Mean Dice with the known labels, where there are any. Small is worse.", 3, None
    ),
}


@dataclass(frozen=True)
class Item:
    """One result to review.

    Attributes
    ----------
    kind
        ``prediction`` of a run, or ``pair``.
    name
        What the table shows.
    case
        The case that the labels or the map belong to; None for scans outside the study.
    source
        The cohort: ``predictions/<run>``, ``pairs``, or a folder's name.
    path
        The label map of a prediction, the folder of a pair.
    values
        Evidence by key of `MEASURES`; what is not known is absent.
    doubt
        Root sum of squares of the robust z-scores on the doubtful side; None without evidence.
    outlier
        Whether a z-score is beyond the limit.
    z
        Robust z-score by measure, positive is worse than the cohort's median.
    review
        The latest verdict.
    cohort
        Number of results it is compared with, itself included.
    """

    kind: Kind
    name: str
    case: str | None
    source: str
    path: Path
    values: Mapping[str, float] = field(default_factory=dict)
    doubt: float | None = None
    outlier: bool = False
    z: Mapping[str, float] = field(default_factory=dict)
    review: ReviewRow | None = None
    cohort: int = 1

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other."""
        return self.source, self.name

    @property
    def review_source(self) -> str:
        """What ``review.csv`` calls it."""
        return f"{self.source}/{self.name}" if self.kind == "pair" else self.source


def collect(study: Study, folders: Iterable[Path] = (), run: str | None = None) -> list[Item]:
    """Return everything that can be reviewed, most doubtful first.

    Parameters
    ----------
    study
        The open study.
    folders
        More folders that ``correspond`` or ``propagate`` wrote.
    run
        Only the predictions of this run.
    """
    groups = [predicted(study, name) for name in _runs(study) if run in (None, name)]
    if run is None:
        groups.append(pairs_in(study.folder / PAIRS, PAIRS, study))
        groups += [pairs_in(folder, folder.name, study) for folder in folders]
    rows = study.review()
    items = [item for group in groups for item in judged(group)]
    return worst_first([_with_verdict(item, rows) for item in items])


def with_verdicts(items: Iterable[Item], rows: list[ReviewRow]) -> list[Item]:
    """Return items with the verdicts of the rows of ``review.csv``."""
    return [_with_verdict(item, rows) for item in items]


def _with_verdict(item: Item, rows: list[ReviewRow]) -> Item:
    found = None if item.case is None else latest_on(rows, item.case, item.review_source)
    return replace(item, review=found)


def worst_first(items: list[Item]) -> list[Item]:
    """Sort by doubt; items without evidence come last."""
    return sorted(items, key=lambda item: -1.0 if item.doubt is None else item.doubt, reverse=True)


def judged(items: list[Item]) -> list[Item]:
    """Compare items with each other and note how doubtful each one is."""
    from napari_gemini.evaluation.doubt import EVIDENCE, rank_by_doubt

    evidence = {
        str(number): {key: item.values[key] for key in EVIDENCE if key in item.values}
        for number, item in enumerate(items)
    }
    # A result without evidence is unknown, not doubtful: it stays without a number.
    known = {number: values for number, values in evidence.items() if values}
    ranked = {doubt.case: doubt for doubt in rank_by_doubt(known)}
    return [
        replace(
            item,
            doubt=ranked[str(number)].score,
            outlier=ranked[str(number)].outlier,
            z=dict(ranked[str(number)].z),
            cohort=len(known),
        )
        if str(number) in ranked
        else item
        for number, item in enumerate(items)
    ]


# -- predictions -------------------------------------------------------------------------------


def _runs(study: Study) -> list[str]:
    root = study.folder / PREDICTIONS
    try:
        return sorted(entry.name for entry in root.iterdir() if (entry / SUMMARY).is_file())
    except OSError:
        return []


def predicted(study: Study, run: str) -> list[Item]:
    """Return the cases that a run has predicted; none where nothing can be read."""
    summary = _read(study.predictions_dir(run) / SUMMARY)
    known = {case.id for case in study.cases}
    items = []
    for row in summary.get("cases", []):
        case = row.get("case") if isinstance(row, dict) else None
        if case not in known:
            continue
        path = study.prediction_path(run, case)
        if not path.exists() and study.scheme.overlapping:
            path = study.predictions_dir(run) / case
        if path.exists():
            values = _numbers(row)
            items.append(Item("prediction", case, case, f"{PREDICTIONS}/{run}", path, values))
    return items


def known_dice(study: Study, item: Item) -> float | None:
    """Return the mean Dice of a prediction with labels that the case has of its own.

    None where there are none, or where they are this prediction, accepted or corrected.
    """
    from napari_gemini.evaluation.metrics import score_case
    from napari_gemini.volumes.reading import read_labels

    taken = item.review is not None and item.review.verdict in ("accepted", "corrected")
    if item.kind != "prediction" or item.case is None or taken or study.scheme.overlapping:
        return None
    try:
        known = study.load_labels(item.case)
        if known is None:
            return None
        scores = score_case(
            read_labels(item.path).data, known.data, None, ignore=study.scheme.ignore
        )
    except (GeminiError, OSError):
        return None
    # A label that only one side has is a miss.
    found = [score["dice"] or 0.0 for score in scores.values()]
    return sum(found) / len(found) if found else None


# -- pairs -------------------------------------------------------------------------------------


def pairs_in(folder: Path, source: str, study: Study | None) -> list[Item]:
    """Return the pairs in a folder that ``correspond`` or ``propagate`` wrote."""
    found = [folder] if (folder / "field.h5").is_file() else _subfolders(folder)
    items = []
    for place in found:
        report = _read(place / "report.json")
        if report:
            case = _fixed_case(study, report)
            items.append(Item("pair", place.name, case, source, place, pair_values(report)))
    return items


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [e for e in entries if not e.name.startswith(".") and (e / "report.json").is_file()]


def pair_values(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the evidence in the report of a pair."""
    from napari_gemini.evaluation.pair_words import mean_dice

    values = _numbers(report)
    inverse = report.get("inverse_consistency_mm") or report.get("inverse_consistency_px")
    if isinstance(inverse, Mapping) and isinstance(inverse.get("mean"), int | float):
        values["inverse_consistency_mm"] = float(inverse["mean"])
    dice = mean_dice(report)
    if dice is not None:
        values["dice"] = dice
    return values


def _fixed_case(study: Study | None, report: Mapping[str, Any]) -> str | None:
    from napari_gemini.evaluation.pair_files import input_path
    from napari_gemini.widgets.pair.loading import case_of

    return case_of(study, input_path(report, "fixed", "target"))


# -- files -------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    values = {key: row.get(key) for key in MEASURES}
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and value == value
    }
