"""The numbers of a correspondence report: in words, as headline tiles and per label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gemini.evaluation.html import number, percent
from napari_gemini.evaluation.metrics import Scores, score_case
from napari_gemini.evaluation.pair_files import PairFiles
from napari_gemini.evaluation.pictures import label_color
from napari_gemini.evaluation.tables import Cell, Column, Table, Tile, numeric, text


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """Return the headline numbers that the report has."""
    unit = "mm" if "inverse_consistency_mm" in report else "px"
    error = report.get(f"inverse_consistency_{unit}") or {}
    entries = [
        ("fold_percent", "Folds", percent, "share of voxels where the map turns space inside out"),
        (
            "fold_percent_digital",
            "Folds, digital criterion",
            percent,
            "stricter: every corner of every voxel counts",
        ),
        (
            "nondiffeomorphic_volume_percent",
            "Non-diffeomorphic volume",
            lambda value: percent(value, 3),
            "how severe the folds are",
        ),
        ("sd_log_jacobian", "SD log-Jacobian", number, "unevenness of local volume change"),
        ("gss_mean", "GSS", number, "mean similarity of matched features, 1 is best"),
        ("gvs_mean", "GVS", number, "mean similarity of matched intensities, 1 is best"),
        (
            "mask_percent",
            "Overlap",
            lambda v: percent(v, 1),
            "share of the fixed scan that is covered",
        ),
    ]
    found = [
        Tile(title, write(report[key]), hint)
        for key, title, write, hint in entries
        if report.get(key) is not None
    ]
    if error.get("mean") is not None:
        hint = f"mean error there and back; 95 % are below {number(error.get('p95'), 2)} {unit}"
        found.insert(3, Tile("Inverse consistency", f"{number(error['mean'], 2)} {unit}", hint))
    dice = mean_dice(report)
    if dice is not None:
        found.insert(0, Tile("Dice", number(dice), "mean over labels, warped against known labels"))
    return found


def mean_dice(report: Mapping[str, Any]) -> float | None:
    """Return the mean of ``report["dice"]`` over its labels, or None."""
    values = [v for v in _dice_entries(report).values() if v is not None]
    return float(np.mean(values)) if values else None


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Say what the numbers mean, one sentence each."""
    said = []
    folds, digital = report.get("fold_percent"), report.get("fold_percent_digital")
    if folds is not None:
        said.append(_about_folds(folds, digital))
    for unit in ("mm", "px"):
        error = report.get(f"inverse_consistency_{unit}") or {}
        if error.get("mean") is not None:
            long = {"mm": "mm", "px": "pixels"}[unit]
            said.append(
                f"A point carried to the moving scan and back misses its start by "
                f"{number(error['mean'], 2)} {long} on average; for 5 % of the points the miss is "
                f"above {number(error.get('p95'), 2)} {long}. A small error shows that both "
                "directions agree, not that they are right."
            )
    if report.get("sd_log_jacobian") is not None:
        spread = float(report["sd_log_jacobian"])
        said.append(
            f"Local volume typically changes by a factor of {number(float(np.exp(spread)), 2)} (SD "
            f"of the log-Jacobian {number(spread)}; by Learn2Reg's definition "
            f"{number(report.get('sd_log_jacobian_l2r'))})."
        )
    if report.get("gss_mean") is not None:
        said.append(
            f"Matched voxels have a mean feature similarity (GSS) of {number(report['gss_mean'])}. "
            "Scans that do not match at all often reach 0.8, so compare it with other pairs."
        )
    if report.get("gvs_mean") is not None:
        said.append(
            f"Matched neighbourhoods have a mean squared correlation of intensities (GVS) of "
            f"{number(report['gvs_mean'])}. {_about_gvs(report)}"
        )
    if report.get("mask_percent") is not None:
        said.append(
            f"{percent(report['mask_percent'], 1)} of the fixed scan lies within the moving scan's "
            "field of view; all percentages and means here are over that part."
        )
    dice = mean_dice(report)
    if dice is not None:
        said.append(
            f"Against the known labels of the fixed scan the warped labels reach a mean Dice of "
            f"{number(dice)}."
        )
    said.append(_about_the_run(report))
    return [sentence for sentence in said if sentence]


def label_table(
    files: PairFiles, names: Mapping[int, str], colors: Mapping[str, str]
) -> Table | None:
    """Return what is known per label: overlap, volumes and the evidence maps within it.

    Parameters
    ----------
    files
        The pair.
    names, colors
        Of labels, by value.

    Returns
    -------
    Table or None
        Sorted by Dice, worst first, where labels of the fixed scan are known; None without labels.
    """
    if files.labels is None:
        return None
    labels = files.labels.data
    counts = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
    scores = _known_scores(files)
    values = sorted({*counts, *scores} - {0})
    within = _means_within(files, labels, values)
    columns, rows, cell = _label_columns(files, scores), [], _cell_size(files)
    worst_first = sorted(values, key=lambda v: _order(scores.get(v, {}).get("dice")))
    for value in worst_first if scores else values:
        entry = scores.get(value, {})
        name = f"{value}  {names[value]}" if value in names else str(value)
        row: list[Cell] = [text(name, label_color(value, colors))]
        row += [numeric(entry.get(key)) for key in ("dice", "hd95_mm", "assd_mm") if key in columns]
        count = counts.get(value, 0)
        row.append(numeric(count if cell is None else count * cell, 2))
        row += [
            numeric(within[key].get(value), digits)
            for key, digits in _EVIDENCE_DIGITS
            if key in within
        ]
        rows.append(row)
    return Table(list(columns.values()), rows)


_EVIDENCE_DIGITS = (("change", 2), ("folds", 2), ("gss", 3), ("gvs", 3))


def _label_columns(files: PairFiles, scores: Mapping[int, Scores]) -> dict[str, Column]:
    columns = {"label": Column("Label", text=True)}
    if scores:
        columns["dice"] = Column("Dice", sorted="ascending", hint="overlap with the known labels")
        if any("hd95_mm" in entry for entry in scores.values()):
            columns["hd95_mm"] = Column("HD95 mm", hint="95th percentile of surface distance")
            columns["assd_mm"] = Column("ASSD mm", hint="average symmetric surface distance")
    size = (
        "Voxels"
        if not files.grid.spacing_known
        else ("Volume ml" if files.grid.ndim == 3 else "Area mm²")
    )
    columns["size"] = Column(size, hint="of the warped label on the fixed grid")
    if files.array("log_jacobian") is not None:
        columns["change"] = Column(
            "Moving / fixed size", hint="mean Jacobian determinant of the map within the label"
        )
    if files.array("folds") is not None:
        columns["folds"] = Column("Folds %", hint="by central differences, within the label")
    for key in ("gss", "gvs"):
        if files.array(key) is not None:
            columns[key] = Column(f"{key.upper()}", hint=f"mean {key.upper()} within the label")
    return columns


def _means_within(
    files: PairFiles, labels: NDArray[Any], values: list[int]
) -> dict[str, dict[int, float | None]]:
    """Average the evidence maps within each label, over the mask."""
    found: dict[str, dict[int, float | None]] = {}
    counted = np.where(files.mask, labels, 0)
    for key, stem, change in (
        ("change", "log_jacobian", np.exp),
        ("folds", "folds", lambda folds: 100.0 * (folds == 2)),
        ("gss", "gss", None),
        ("gvs", "gvs", None),
    ):
        array = files.array(stem)
        if array is None:
            continue
        measured = np.asarray(array, dtype=np.float64)
        if change is not None:
            measured = change(measured)
        usable = np.where(np.isfinite(measured), counted, 0)
        sizes = ndimage.sum_labels(np.ones_like(usable), usable, values)
        sums = ndimage.sum_labels(np.nan_to_num(measured), usable, values)
        found[key] = {
            value: float(total / size) if size else None
            for value, total, size in zip(values, sums, sizes, strict=True)
        }
    return found


def _known_scores(files: PairFiles) -> dict[int, Scores]:
    """Return scores against the fixed labels, recomputed where those can be read."""
    if files.fixed_labels is not None and files.labels is not None:
        geometry = files.grid.affine if files.grid.spacing_known else None
        return score_case(files.labels.data, files.fixed_labels.data, geometry)
    return {
        int(label): {"dice": value}
        for label, value in _dice_entries(files.report).items()
        if label.isdecimal()
    }


def _dice_entries(report: Mapping[str, Any]) -> dict[str, float | None]:
    entries = report.get("dice")
    if not isinstance(entries, Mapping):
        return {}
    return {
        str(label): value
        for label, value in entries.items()
        if label != "mean" and (value is None or isinstance(value, int | float))
    }


def _cell_size(files: PairFiles) -> float | None:
    """Return ml of a voxel, mm² of a pixel, None where the spacing is unknown."""
    if not files.grid.spacing_known:
        return None
    size = abs(float(np.linalg.det(files.grid.affine[:3, :3])))
    return size / 1000 if files.grid.ndim == 3 else size


def _order(value: float | int | None) -> float:
    return float("inf") if value is None else value


def _about_folds(folds: float, digital: float | None) -> str:
    first = (
        "The map folds nowhere by central differences"
        if folds == 0
        else f"The map folds at {percent(folds)} of the voxels by central differences"
    )
    if digital is None:
        return f"{first}."
    if digital == 0:
        return (
            f"{first} and nowhere by the stricter digital criterion: it can be inverted throughout "
            "the region that was judged."
        )
    return (
        f"{first} and at {percent(digital)} by the stricter digital criterion. What lies in a fold "
        "has no unique counterpart; do not trust labels or measures there."
    )


def _about_gvs(report: Mapping[str, Any]) -> str:
    settings = report.get("settings")
    if isinstance(settings, Mapping) and settings.get("similarity") == "self-similarity":
        return "The scans were compared by self-similarity, so a low GVS is no bad sign."
    return "It is part of what was optimised, so it cannot vouch for the result alone."


def _about_the_run(report: Mapping[str, Any]) -> str:
    parts = []
    if report.get("seconds") is not None:
        parts.append(f"took {number(float(report['seconds']), 1)} s")
    if report.get("device"):
        parts.append(f"on {report['device']}")
    if report.get("peak_memory_mb") is not None:
        parts.append(f"with at most {number(float(report['peak_memory_mb']), 0)} MB of memory")
    sentence = f"The computation {' '.join(parts)}." if parts else ""
    model = report.get("model")
    if isinstance(model, Mapping):
        model = model.get("name") or model.get("path")
    if model in (None, "none"):
        return (
            f"{sentence} No model was used: identity plus refinement on the images alone.".strip()
        )
    return f"{sentence} The model was {model}.".strip()
