"""Tables of the rows of a file: means over seeds, one table for each experiment and data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
#: What the rows of one table have in common.
KIND = ("experiment", "data", "pretrain", "pretrain_rate", "tune")
FACTS = (*KIND, "seed", "setting", "cpu_seconds", "curve")
#: Experiments that compare starts, and the scores that are compared.
COMPARED = ("few-shot", "frozen", "quarter")
SCORES = ("dice", "dice_pool")
#: Percentiles that bound 95 % of the draws of a bootstrap.
INTERVAL = (2.5, 97.5)


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a file, none where there is no file yet."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def print_tables(rows: Sequence[Row]) -> None:
    """Print every experiment in the rows."""
    kinds = dict.fromkeys(tuple(row.get(name) for name in KIND) for row in rows)
    for kind in kinds:
        experiment, data, pretrain, rate, tune = kind
        own = [row for row in rows if tuple(row.get(name) for name in KIND) == kind]
        minutes = sum(row["cpu_seconds"] for row in own) / 60
        steps = f"steps {pretrain} (rate {rate}) and {tune}"
        print(f"\n{experiment}, {data}, {steps}: {minutes:.1f} CPU-minutes\n")
        if experiment == "curve":
            print("\n".join(curve_table(own)))
            continue
        print("\n".join(table(with_gains(own) if experiment in COMPARED else own)))
        if experiment == "repeats":
            print(f"\ncorrelation over test scans: {correlation(own):.3f}")
        if experiment == "shortfall":
            print("\n".join(["", *closures(own)]))


def with_gains(rows: Sequence[Row], base: str = "scratch") -> list[Row]:
    """Return the rows with what each score gained over that of `base` with the same seed."""
    bases = {row["seed"]: row for row in rows if row["setting"] == base}
    gained = []
    for row in rows:
        other = {} if row["setting"] == base else bases.get(row["seed"], {})
        names = [name for name in SCORES if name in row and name in other]
        gained.append(row | {f"{name} gain": row[name] - other[name] for name in names})
    return gained


def table(rows: Sequence[Row]) -> list[str]:
    """Return lines of a table: one row for each setting, means over seeds and their spread."""
    names = [k for k, v in rows[0].items() if k not in FACTS and not isinstance(v, list)]
    names += [k for row in rows for k in row if k not in (*names, *FACTS)]
    names = [n for n in dict.fromkeys(names) if not n.endswith("_cases")]
    lines = [f"| setting | seeds | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        cells = [_cell([row[n] for row in own if row.get(n) is not None]) for n in names]
        lines.append(f"| {setting} | {len(own)} | {' | '.join(cells)} |")
    return lines


def curve_table(rows: Sequence[Row]) -> list[str]:
    """Return lines of a table of a course over steps, means over seeds."""
    names = ("dice", "deformation_dice", "fold_percent")
    lines = [f"| steps | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for points in zip(*(row["curve"] for row in rows), strict=True):
        cells = [_cell([point[name] for point in points]) for name in names]
        lines.append(f"| {points[0]['step']} | {' | '.join(cells)} |")
    return lines


def correlation(rows: Sequence[Row]) -> float:
    """Return Pearson's correlation of the Dice of each test scan between two repeats."""
    first, second = (
        np.concatenate([row["dice_cases"] for row in rows if row["setting"] == f"run {number}"])
        for number in (1, 2)
    )
    return float(np.corrcoef(first, second)[0, 1])


def closures(rows: Sequence[Row], repeats: int = 5000) -> list[str]:
    """Say for each seed how much of the gap from five to all labels GEMINI-Semi closes.

    The intervals are those of a bootstrap over scans (2.5 to 97.5 %).
    """
    lines = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        cases = {r["setting"]: np.array(r["held_back_cases"]) for r in rows if r["seed"] == seed}
        if not {"five labels", "all labels", "gemini-semi"} <= cases.keys():
            continue
        gain = cases["gemini-semi"] - cases["five labels"]
        gap = cases["all labels"] - cases["five labels"]
        drawn = np.random.default_rng(0).integers(0, len(gap), (repeats, len(gap)))
        gains = gain[drawn].mean(1)
        least, most = np.percentile(gains, INTERVAL)
        low, high = np.percentile(gains / gap[drawn].mean(1), INTERVAL)
        lines.append(
            f"seed {seed}: gemini-semi gains {gain.mean():.4f} ({least:.4f} to {most:.4f}) and "
            f"closes {gain.mean() / gap.mean():.0%} ({low:.0%} to {high:.0%}) of the gap"
        )
    return lines


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = 1 if max(map(abs, values)) >= 2 else 3
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"
