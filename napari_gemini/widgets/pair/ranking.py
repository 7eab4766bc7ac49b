"""How a pair compares with the other pairs of a study: a rank for each piece of evidence.

No threshold is agreed upon in the field, so nothing here says good or bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_gemini.errors import GeminiError
from napari_gemini.evaluation.pair_files import read_json
from napari_gemini.evaluation.pair_words import mean_dice

#: Key -> (what it is called, whether large is good).
EVIDENCE: dict[str, tuple[str, bool]] = {
    "dice": ("Dice", True),
    "fold_percent_digital": ("folds", False),
    "inverse_consistency": ("inverse consistency", False),
    "sd_log_jacobian": ("evenness", False),
    "gss_mean": ("GSS", True),
    "gvs_mean": ("GVS", True),
    "mask_percent": ("overlap", True),
}


@dataclass(frozen=True)
class Rank:
    """Place of a pair among others.

    Parameters
    ----------
    name
        Of the evidence.
    place
        1 is the best; equal values share the better place.
    of
        Number of pairs that have this evidence.
    """

    name: str
    place: int
    of: int

    @property
    def short(self) -> str:
        """Such as ``3 of 12``."""
        return f"{self.place} of {self.of}"


def pair_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the reports of all pairs in a folder by the pair's name; unreadable ones are left out.

    Parameters
    ----------
    folder
        A study's ``pairs``.
    """
    found = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return {}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            found[entry.name] = read_json(entry / "report.json")
        except GeminiError:
            continue
    return found


def evidence(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the pieces of evidence that a report has."""
    values: dict[str, Any] = {key: report.get(key) for key in EVIDENCE}
    values["dice"] = mean_dice(report)
    for unit in ("mm", "px"):
        error = report.get(f"inverse_consistency_{unit}")
        if isinstance(error, Mapping):
            values["inverse_consistency"] = error.get("mean")
    return {key: float(v) for key, v in values.items() if isinstance(v, int | float)}


def ranks(report: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> dict[str, Rank]:
    """Rank a pair among others.

    Parameters
    ----------
    report
        Of the pair.
    others
        Reports of the other pairs, without its own.

    Returns
    -------
    dict
        By the key of the evidence; only where another pair has it as well.
    """
    mine = evidence(report)
    theirs = [evidence(other) for other in others.values()]
    found = {}
    for key, value in mine.items():
        name, large_is_good = EVIDENCE[key]
        values = [other[key] for other in theirs if key in other]
        if values:
            better = sum((v > value) if large_is_good else (v < value) for v in values)
            found[key] = Rank(name, better + 1, len(values) + 1)
    return found
