"""What a pair leaves behind: images and maps on the fixed scan's own grid, and the report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.consistency import inverse_consistency_mm
from napari_gemini.correspondence.jacobian import FoldSummary, summarise_folds
from napari_gemini.engine.provenance import library_versions, sha256_of
from napari_gemini.engine.tasks.pair_inputs import PairInputs
from napari_gemini.engine.tasks.pair_matching import PairMatch
from napari_gemini.engine.tasks.serving import Serving
from napari_gemini.evaluation.metrics import dice
from napari_gemini.evaluation.pair_report import write_pair_report
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.fields import apply_field, moving_points, write_field
from napari_gemini.volumes.grid import image_from_grid
from napari_gemini.volumes.pictures import write_png
from napari_gemini.volumes.reading import smallest_label_type
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume

REPORT_SCHEMA = 1
MAPS = ("warped", "log_jacobian", "folds", "gss", "gvs", "mask", "inverse_consistency")
#: Folder within the results that holds the same files for the other direction.
INVERSE = "inverse"
#: Every name that a folder of results may hold; anything else there belongs to the user.
RESULT_NAMES = frozenset(
    [f"{stem}{suffix}" for stem in (*MAPS, "labels") for suffix in (".nii.gz", ".tif")]
    + ["labels.png", "field.h5", "report.json", "report.html", INVERSE]
)
_DIGITS = 6


@dataclass(frozen=True)
class PairResults:
    """Arrays on the fixed grid and the numbers of the report.

    Attributes
    ----------
    warped
        The moving scan on the fixed grid.
    labels
        The moving labels on the fixed grid, if there are any.
    maps
        ``log_jacobian``, ``folds``, ``gvs``, ``mask``, ``inverse_consistency`` (NaN where the
        counterpart lies outside the moving scan) and, where a model serves, ``gss``.
    numbers
        Keys of the report that come from the map.
    notes
        Sentences that a reader of the report has to know.
    """

    warped: NDArray[Any]
    labels: NDArray[Any] | None
    maps: dict[str, NDArray[Any]]
    numbers: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def evaluate_match(inputs: PairInputs, match: PairMatch, reporter: Reporter) -> PairResults:
    """Apply the total map to the user's own files and judge it there.

    Parameters
    ----------
    inputs
        The scans.
    match
        The map.
    reporter
        May stop the work.

    Returns
    -------
    PairResults
        Everything on the fixed scan's voxels.
    """
    fixed, moving = inputs.fixed, inputs.moving
    points = moving_points(match.field, fixed)
    mask = field_of_view(points, moving)
    if inputs.ignore is not None:
        mask &= ~inputs.ignore
    folds = summarise_folds(points, mask, fixed.affine)
    stop_if_cancelled(reporter)
    consistency = inverse_consistency_mm(
        points, moving_points(match.back, moving), fixed.affine, moving.affine, mask
    )
    del points
    stop_if_cancelled(reporter)
    warped = apply_field(match.field, moving, fixed)
    labels = None
    if inputs.labels is not None:
        labels = apply_field(match.field, inputs.labels, fixed, labels=True)
    stop_if_cancelled(reporter)
    maps = _maps(match, folds, mask, fixed)
    maps["inverse_consistency"] = consistency.error
    numbers = _numbers(inputs, folds, maps)
    numbers[f"inverse_consistency_{_unit(inputs)}"] = consistency.report()
    if labels is not None and inputs.fixed_labels is not None:
        numbers["dice"] = dice_per_label(labels, inputs.fixed_labels.data)
    return PairResults(warped, labels, maps, numbers, _notes(inputs, match, mask))


def field_of_view(points: NDArray[np.float64], moving: Volume) -> NDArray[np.bool_]:
    """Return where the counterpart of a voxel lies in the moving scan, edge voxels included.

    Parameters
    ----------
    points
        ``(d, *S)`` RAS mm.
    moving
        The moving scan.
    """
    inverse = np.linalg.inv(moving.affine)
    d = moving.ndim
    inside = np.ones(points.shape[1:], dtype=bool)
    for axis, size in enumerate(moving.shape):
        index = np.tensordot(inverse[axis, :d], points, axes=1)
        index += inverse[axis, 3]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return inside


def dice_per_label(labels: NDArray[Any], known: NDArray[Any]) -> dict[str, float | None]:
    """Return Dice per label that either side has (0 is background).

    The keys are label values as text.
    """
    values = sorted(
        ({int(v) for v in np.unique(labels)} | {int(v) for v in np.unique(known)}) - {0}
    )
    return {str(value): _rounded(dice(labels, known, value)) for value in values}


def write_results(folder: Path, inputs: PairInputs, match: PairMatch, results: PairResults) -> None:
    """Write images, maps and the field into a folder (the report comes last, by itself)."""
    fixed = inputs.fixed
    flat = fixed.ndim == 2
    for stem, data in {"warped": results.warped, **results.maps}.items():
        write_volume(folder / f"{stem}.nii.gz", data, fixed)
        if flat:
            write_volume(folder / f"{stem}.tif", data, fixed)
    if results.labels is not None:
        write_label_files(folder, "labels", results.labels, fixed)
    write_field(folder / "field.h5", match.field)


def write_label_files(folder: Path, stem: str, labels: NDArray[Any], like: Volume) -> None:
    """Write labels as NIfTI, in 2D as PNG too (where 16 bits hold them)."""
    write_labels(folder / f"{stem}.nii.gz", labels, like)
    kind = smallest_label_type(int(labels.max(initial=0)))
    if like.ndim == 2 and kind.itemsize <= 2:
        write_png(folder / f"{stem}.png", labels.astype(kind))


def write_report(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write ``report.json`` and the page beside it, and return the report with its ``files``."""
    files = {path.name for path in folder.iterdir()} | {"report.json", "report.html"}
    report = {**report, "files": sorted(files)}
    write_json_atomic(folder / "report.json", report)
    write_pair_report(folder)
    return report


def make_report(
    kind: str,
    inputs: PairInputs,
    match: PairMatch,
    serving: Serving,
    results: PairResults,
    **facts: Any,
) -> dict[str, Any]:
    """Put together the report of a pair.

    Parameters
    ----------
    kind
        ``correspond`` or ``propagate``.
    inputs, match, serving, results
        Of the pair.
    **facts
        What else is known: ``seconds``, ``device``, ``peak_memory_mb``, ``command``.
    """
    unit = "mm" if inputs.spacing_known else "px"
    return {
        "schema_version": REPORT_SCHEMA,
        "kind": kind,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **results.numbers,
        "model": serving.name,
        **facts,
        "notes": results.notes,
        "settings": {
            "refine": match.refine,
            "similarity": match.similarity,
            "grid_shape": list(match.grid.shape),
            f"grid_spacing_{unit}": list(match.grid.spacings),
            "intensity_moving": match.intensity_modes[0],
            "intensity_fixed": match.intensity_modes[1],
            "initial_placement": match.initial_placement.tolist(),
            "model_sha256": None if serving.card is None else serving.card.weights_sha256,
        },
        "inputs": {
            role: {"path": str(path), "sha256": sha256_of(path)}
            for role, path in inputs.paths().items()
        },
        "versions": library_versions(),
    }


def reversed_inputs(inputs: PairInputs, match: PairMatch) -> PairInputs:
    """Return the files of a pair with their roles exchanged.

    What is to be ignored lies on the fixed scan; it is carried onto the moving one.
    """
    ignore = None
    if inputs.ignore is not None:
        mask = inputs.fixed.with_data(inputs.ignore.astype(np.uint8))
        ignore = apply_field(match.back, mask, inputs.moving, labels=True) != 0
    return PairInputs(
        moving=inputs.fixed,
        fixed=inputs.moving,
        labels=inputs.fixed_labels,
        fixed_labels=inputs.labels,
        ignore=ignore,
        ignore_path=inputs.ignore_path,
    )


def _maps(
    match: PairMatch, folds: FoldSummary, mask: NDArray[np.bool_], fixed: Volume
) -> dict[str, NDArray[Any]]:
    place = match.grid, match.fixed_placement, fixed
    maps: dict[str, NDArray[Any]] = {
        "log_jacobian": folds.log_jacobian,
        "folds": folds.folds,
        "gvs": image_from_grid(match.gvs, *place, outside=0.0),
        "mask": mask.astype(np.uint8),
    }
    if match.gss is not None:
        maps["gss"] = image_from_grid(match.gss, *place, outside=0.0)
    return maps


def _numbers(
    inputs: PairInputs, folds: FoldSummary, maps: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    mask = maps["mask"] != 0
    numbers: dict[str, Any] = {key: _rounded(value) for key, value in folds.report().items()}
    for stem in ("gss", "gvs"):
        numbers[f"{stem}_mean"] = _mean(maps.get(stem), mask)
    numbers["mask_percent"] = _rounded(100 * float(mask.mean()))
    return numbers


def _mean(values: NDArray[Any] | None, mask: NDArray[np.bool_]) -> float | None:
    if values is None or not mask.any():
        return None
    return _rounded(float(values[mask].mean(dtype=np.float64)))


def _notes(inputs: PairInputs, match: PairMatch, mask: NDArray[np.bool_]) -> list[str]:
    notes = []
    if match.gss is None:
        notes.append(
            "No model served, so there are no features to compare: gss_mean is null and there is "
            "no gss map."
        )
    if match.similarity == "self-similarity":
        notes.append(
            "The scans were compared by self-similarity, since their grey values do not go "
            "together, as in two contrasts, or since it was asked for."
        )
        if match.gss is not None:
            notes.append("The model took no part in the match, since it knows one contrast.")
    if not inputs.spacing_known:
        notes.append("The pixel spacing is unknown, so lengths are in pixels.")
    if not mask.any():
        notes.append(
            "No voxel of the fixed scan has its counterpart within the moving scan: the two may "
            "not show the same anatomy, or their headers lie."
        )
    return notes


def _unit(inputs: PairInputs) -> str:
    return "mm" if inputs.spacing_known else "px"


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(value, _DIGITS)
