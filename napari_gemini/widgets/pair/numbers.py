"""The numbers of a pair in plain words, per label, and beside the study's other pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_gemini.errors import GeminiError
from napari_gemini.evaluation.pair_files import PairFiles
from napari_gemini.evaluation.pair_words import label_table, mean_dice, sentences
from napari_gemini.evaluation.tables import Table
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.ranking import EVIDENCE, Rank, evidence, pair_reports, ranks

#: Key of the evidence -> (title, unit or "", digits, what it means).
_ROWS: dict[str, tuple[str, str, int, str]] = {
    "dice": ("Dice, mean", "", 3, "overlap of carried and known labels, 1 is best"),
    "fold_percent_digital": (
        "Folds (digital)",
        "%",
        3,
        "share of voxels any corner of which is turned inside out",
    ),
    "inverse_consistency": (
        "Inverse consistency",
        "LENGTH",
        2,
        "mean distance between a point and where there-and-back ends",
    ),
    "sd_log_jacobian": (
        "SD of log-Jacobian",
        "",
        3,
        "unevenness of the local change of volume",
    ),
    "gss_mean": ("GSS", "", 3, "mean similarity of matched features, 1 is best"),
    "gvs_mean": (
        "GVS",
        "",
        3,
        "mean squared local correlation; part of what is optimised",
    ),
    "mask_percent": ("Overlap", "%", 1, "share of the fixed scan that the moving one covers"),
}
#: Maps that the table of labels is made from.
_STEMS = ("labels", "log_jacobian", "folds", "gss", "gvs", "mask")


@dataclass(frozen=True)
class NumberRow:
    """One number.

    Parameters
    ----------
    title, value, hint
        What it is called, how it is written with its unit, what it means.
    rank
        Among the study's pairs, None where nothing can be compared.
    """

    title: str
    value: str
    hint: str
    rank: Rank | None = None


@dataclass(frozen=True)
class Numbers:
    """Everything that the panel shows.

    Parameters
    ----------
    rows
        Evidence, each with its rank.
    words
        What the numbers mean.
    labels
        A row per label, None without labels.
    others
        How many other pairs the ranks are among.
    """

    rows: list[NumberRow]
    words: list[str]
    labels: Table | None
    others: int


def collect(pair: PairData, pairs_folder: Path | None, names: Mapping[int, str]) -> Numbers:
    """Read what is needed and put the numbers together; slow, not for the GUI thread.

    Parameters
    ----------
    pair
        The pair.
    pairs_folder
        Of the study, None without one.
    names
        Of labels.
    """
    others = {} if pairs_folder is None else pair_reports(pairs_folder)
    if pair.folder is not None:
        others = {
            name: report
            for name, report in others.items()
            if pairs_folder is None or not _same(pairs_folder / name, pair.folder)
        }
    places = ranks(pair.report, others)
    words = sentences(pair.report)
    words += [note for note in pair.report.get("notes", []) if isinstance(note, str)]
    return Numbers(number_rows(pair, places), words, _label_rows(pair, names), len(others))


def number_rows(pair: PairData, places: Mapping[str, Rank]) -> list[NumberRow]:
    """Return the evidence of a pair, each with its unit and rank."""
    values = evidence(pair.report)
    rows = []
    for key in EVIDENCE:
        if key not in values:
            continue
        title, unit, digits, hint = _ROWS[key]
        unit = pair.unit if unit == "LENGTH" else unit
        value = f"{values[key]:.{digits}f}{' ' if unit else ''}{unit}"
        rows.append(NumberRow(title, value, hint, places.get(key)))
        if key == "inverse_consistency":
            rows += _p95(pair)
    return rows


def _p95(pair: PairData) -> list[NumberRow]:
    error = pair.report.get(f"inverse_consistency_{pair.unit}") or {}
    p95 = error.get("p95") if isinstance(error, Mapping) else None
    if p95 is None:
        return []
    return [NumberRow("   95 % are below", f"{p95:.2f} {pair.unit}", "of the same distances")]


def _same(first: Path, second: Path) -> bool:
    return first.resolve() in (second.resolve(), second.resolve().parent)


def _label_rows(pair: PairData, names: Mapping[int, str]) -> Table | None:
    """Return Dice, change of volume, folds and similarity per label."""
    maps = {}
    for stem in _STEMS:
        try:
            volume = pair.volume(stem)
        except GeminiError:
            continue
        if volume is not None:
            maps[stem] = volume
    labels = maps.pop("labels", None)
    if labels is None or pair.folder is None:
        return None
    # Surface distances take long on large scans; Dice is in the report.
    files = PairFiles(pair.folder, pair.report, fixed=pair.fixed, maps=maps, labels=labels)
    return label_table(files, names, {})


def headline(pair: PairData) -> str:
    """Say in one line what the pair is and what stands out."""
    dice = mean_dice(pair.report)
    model = pair.report.get("model")
    model = "no model" if model in (None, "none") else f"model {Path(str(model)).name}"
    parts = [f"{pair.moving_name} → {pair.fixed_name}", model]
    if dice is not None:
        parts.append(f"Dice {dice:.2f}")
    return ", ".join(parts)


def label_names(scheme: Any) -> dict[int, str]:
    """Return the names of a study's labels, none without a study."""
    return {} if scheme is None else dict(scheme.names)
