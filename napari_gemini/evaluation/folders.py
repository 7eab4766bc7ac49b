"""Score a folder of predicted label maps against a folder of references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.evaluation.metrics import Scores, score_case
from napari_gemini.evaluation.summary import summarise
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.volumes.geometry import largest_distance
from napari_gemini.volumes.reading import SUFFIXES, read_labels, suffix_of
from napari_gemini.volumes.volume import Volume

AFFINE_TOLERANCE_MM = 1e-3


def evaluate_folders(
    predictions: str | Path,
    references: str | Path,
    *,
    labels: Iterable[int] | None = None,
    names: Mapping[int, str] | None = None,
    ignore: int | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score every prediction that has a reference of the same id.

    The id of a case is its file name without extension. A case may also be a folder of one mask
    file per label (overlapping label schemes); the label's key is then the file name.

    Parameters
    ----------
    predictions, references
        Folders of label maps. References without a prediction and predictions without a reference
        are listed in the report and otherwise left out.
    labels
        Labels to score; None takes every label that occurs in any matched case.
    names
        Names of the labels, written into the report.
    ignore
        A label of the references whose voxels do not count.
    reporter
        Told about every case; may cancel.

    Returns
    -------
    dict
        ``cases.<id>.<label>.{dice,hd95_mm,assd_mm,volume_ml,...}`` with null where the label is
        absent from one side; ``mean.{dice,hd95_mm,assd_mm}``, the mean over cases of each case's
        mean over labels (``mean.dice_missed_as_zero`` counts a label on one side only as 0);
        ``labels.<label>`` with the same per label, standard deviation, counts of absence and name;
        ``absent`` with the counts over all; ``unmatched``. Millimetre keys appear only where the
        spacing is known.

    Raises
    ------
    InputError
        If a folder is missing or empty, no id is in both, an id stands for two files, a file
        cannot be read, or the grids of a pair differ.
    """
    reporter = reporter or SilentReporter()
    found, expected = find_cases(predictions), find_cases(references)
    matched = sorted(found.keys() & expected.keys())
    if not matched:
        raise InputError(
            f"No file in {predictions} has the same name as one in {references}; name the label "
            "maps of one case alike."
        )
    wanted = None if labels is None else list(labels)
    cases: dict[str, dict[str, Scores]] = {}
    for done, case in enumerate(matched):
        stop_if_cancelled(reporter)
        reporter.progress(done, len(matched), f"scoring {case}")
        cases[case] = _score_pair(found[case], expected[case], wanted, ignore)
    reporter.progress(len(matched), len(matched), "scored")
    report = summarise(cases, names or {})
    report["unmatched"] = {
        "predictions": sorted(found.keys() - expected.keys()),
        "references": sorted(expected.keys() - found.keys()),
    }
    return report


def find_cases(folder: str | Path) -> dict[str, Path]:
    """Return the label map, or folder of masks, of each case id in `folder`.

    Raises
    ------
    InputError
        If the folder is missing, holds no label map, or holds two for one id.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the folder that holds the label maps.")
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        case = _case_id(path)
        if case is None:
            continue
        if case in found:
            raise InputError(
                f"{found[case].name} and {path.name} in {root} are both for case {case}; keep one."
            )
        found[case] = path
    if not found:
        raise InputError(
            f"{root} holds no label map; expected are files ending in {', '.join(SUFFIXES)}."
        )
    return found


def _case_id(path: Path) -> str | None:
    if path.name.startswith("."):
        return None
    if path.is_dir():
        return path.name if _mask_files(path) else None
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] or None if suffix else None


def _mask_files(folder: Path) -> dict[str, Path]:
    inside = ((_case_id(path), path) for path in sorted(folder.iterdir()) if path.is_file())
    return {label: path for label, path in inside if label is not None}


def _score_pair(
    prediction: Path, reference: Path, labels: list[int] | None, ignore: int | None
) -> dict[str, Scores]:
    if prediction.is_dir() != reference.is_dir():
        raise InputError(
            f"{prediction} and {reference} are of different kinds, one a label map and the other a "
            "folder of masks; give both in one form."
        )
    if prediction.is_dir():
        return _score_mask_folders(prediction, reference)
    predicted, expected = read_labels(prediction), read_labels(reference)
    _require_same_grid(predicted, expected, prediction, reference)
    scores = score_case(predicted.data, expected.data, _geometry(expected), labels, ignore=ignore)
    return {str(label): entry for label, entry in scores.items()}


def _score_mask_folders(prediction: Path, reference: Path) -> dict[str, Scores]:
    """Score one file per label; a file that only one side has is a label absent from the other."""
    ours, theirs = _mask_files(prediction), _mask_files(reference)
    scores: dict[str, Scores] = {}
    for label in sorted(ours.keys() | theirs.keys()):
        paths = ours.get(label), theirs.get(label)
        volumes = [None if path is None else read_labels(path) for path in paths]
        present = next(volume for volume in volumes if volume is not None)
        if volumes[0] is not None and volumes[1] is not None:
            _require_same_grid(volumes[0], volumes[1], ours[label], theirs[label])
        masks = [
            np.zeros(present.shape, np.uint8)
            if volume is None
            else (volume.data != 0) * np.uint8(1)
            for volume in volumes
        ]
        scores[label] = score_case(masks[0], masks[1], _geometry(present), [1])[1]
    return scores


def _geometry(volume: Volume) -> NDArray[np.float64] | None:
    return volume.affine if volume.spacing_known else None


def _require_same_grid(ours: Volume, theirs: Volume, prediction: Path, reference: Path) -> None:
    if ours.shape != theirs.shape:
        raise InputError(
            f"{prediction} has {_size(ours)} voxels and {reference} has {_size(theirs)}; bring the "
            "prediction onto the grid of its reference before scoring."
        )
    distance = largest_distance(ours.affine, theirs.affine, ours.shape)
    if not distance <= AFFINE_TOLERANCE_MM:
        raise InputError(
            f"{prediction} and {reference} lie up to {distance:.3g} mm apart in space; bring the "
            "prediction onto the grid of its reference before scoring."
        )


def _size(volume: Volume) -> str:
    return " x ".join(str(length) for length in volume.shape)
