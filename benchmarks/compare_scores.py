"""Compare what ``napari-gemini evaluate`` wrote for several methods on the same cases.

    python benchmarks/compare_scores.py five.json semi.json all.json

The first file is the baseline, the second the method, the third (if given) the ceiling. Printed are
the means per label, the paired difference of the method to the baseline with its 95 % interval
(bootstrap over cases) and the share of the gap to the ceiling that the method closes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.evaluation.statistics import paired_bootstrap, share_of_gap_closed


def case_means(report: dict[str, Any]) -> dict[str, float]:
    """Return the mean Dice over labels of every case; a missed label counts as 0."""
    return {
        case: float(np.mean([scores["dice"] or 0.0 for scores in labels.values()]))
        for case, labels in report["cases"].items()
    }


def label_means(report: dict[str, Any], metric: str) -> dict[str, float]:
    """Return the mean of a metric over cases for each label, absent values left out."""
    found: dict[str, list[float]] = {}
    for labels in report["cases"].values():
        for label, scores in labels.items():
            if scores.get(metric) is not None:
                found.setdefault(label, []).append(scores[metric])
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    files = parser.parse_args().reports
    reports = [json.loads(file.read_text()) for file in files]
    cases = sorted(set.intersection(*(set(report["cases"]) for report in reports)))
    dice = [[case_means(report)[case] for case in cases] for report in reports]
    for file, report, values in zip(files, reports, dice, strict=True):
        labels = ", ".join(
            f"label {label}: Dice {score:.4f}"
            + (f" HD95 {hd95[label]:.2f} mm" if label in hd95 else "")
            for hd95 in [label_means(report, "hd95_mm")]
            for label, score in label_means(report, "dice").items()
        )
        print(f"{file.stem:12} mean Dice {np.mean(values):.4f} over {len(cases)} cases ({labels})")
    if len(dice) > 1:
        # Reported as method minus baseline.
        print("method - baseline:", paired_bootstrap(dice[1], dice[0]))
    if len(dice) > 2:
        print("gap closed:", share_of_gap_closed(dice[0], dice[1], dice[2]))


if __name__ == "__main__":
    main()
