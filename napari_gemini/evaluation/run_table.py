"""The tables of a run report: cases worst first, and means per label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from napari_gemini.evaluation.doubt import Doubt
from napari_gemini.evaluation.html import number
from napari_gemini.evaluation.pictures import label_color
from napari_gemini.evaluation.run_sources import RunSources
from napari_gemini.evaluation.summary import METRICS, case_means, is_missed
from napari_gemini.evaluation.tables import Cell, Column, Table, numeric, text

TITLES = {"dice": "Dice", "hd95_mm": "HD95 mm", "assd_mm": "ASSD mm"}
DIGITS = {"dice": 3, "hd95_mm": 2, "assd_mm": 2}
MOST_LABEL_COLUMNS = 6


def case_order(
    cases: Iterable[str], report: Mapping[str, Any] | None, doubts: Mapping[str, Doubt]
) -> list[str]:
    """Return cases worst first: by mean Dice where there are scores, else by doubt."""
    scored = {} if report is None else case_means(report["cases"], missed_as_zero=True)

    def badness(case: str) -> tuple[float, float, str]:
        value = scored.get(case)
        doubt = doubts.get(case)
        return (2.0 if value is None else value, -doubt.score if doubt else 0.0, case)

    return sorted(cases, key=badness)


def case_table(
    order: Sequence[str],
    report: Mapping[str, Any] | None,
    doubts: Mapping[str, Doubt],
    pictures: Mapping[str, str],
    sources: RunSources,
) -> Table | None:
    """Return the table of cases in the given order, None without cases."""
    if not order:
        return None
    columns = [Column("Case", text=True)]
    if pictures:
        columns.append(Column("Slices", text=True))
    cases = {} if report is None else report["cases"]
    metrics = [metric for metric in METRICS if report is not None and metric in report["mean"]]
    titles = label_titles(report or {}, sources)
    labels = list(titles)
    shown = labels if len(labels) <= MOST_LABEL_COLUMNS else []
    for metric in metrics:
        hint = "mean over the labels on both sides"
        columns.append(
            Column(TITLES[metric], sorted="ascending" if metric == "dice" else "", hint=hint)
        )
    columns += [Column(f"{titles[label]} Dice") for label in shown]
    if labels and not shown:
        columns.append(Column("Worst label", text=True))
    if doubts:
        columns.append(Column("Doubt", sorted="" if metrics else "descending",
                              hint="robust z-scores against the cohort"))  # fmt: skip
    means = {metric: case_means(cases, metric) for metric in metrics}
    rows = []
    for case in order:
        entries = cases.get(case, {})
        row = [text(case, marks=_marks(entries, titles, doubts.get(case)))]
        if pictures:
            row.append(Cell(picture=pictures[case]) if case in pictures else text(""))
        row += [numeric(means[metric].get(case), DIGITS[metric]) for metric in metrics]
        row += [numeric(entries.get(label, {}).get("dice")) for label in shown]
        if labels and not shown:
            row.append(text(_worst_label(entries, titles)))
        if doubts:
            doubt = doubts.get(case)
            row.append(numeric(None if doubt is None else min(doubt.score, 1e6), 1))
        rows.append(row)
    return Table(columns, rows)


def label_titles(report: Mapping[str, Any], sources: RunSources) -> dict[str, str]:
    """Return what each label of a report is called."""
    return {
        label: sources.names.get(label) or entry.get("name") or f"label {label}"
        for label, entry in (report.get("labels") or {}).items()
    }


def label_means(report: Mapping[str, Any], sources: RunSources) -> Table:
    """Return mean and spread per label, and how often it was absent from one side."""
    metrics = [metric for metric in METRICS if metric in report["mean"]]
    columns = [Column("Label", text=True)]
    columns += [
        Column(TITLES[metric], hint="mean ± standard deviation over cases") for metric in metrics
    ]
    columns += [
        Column("Cases scored"),
        Column("Missing in prediction", hint="the reference has the label, the prediction not"),
        Column("Missing in reference", hint="the prediction has the label, the reference not"),
    ]
    rows = []
    for label, title in label_titles(report, sources).items():
        entry = report["labels"][label]
        row = [text(title, label_color(label, sources.colors))]
        for metric in metrics:
            spread = entry.get(f"{metric}_sd")
            shown = number(entry.get(metric), DIGITS[metric])
            if spread is not None:
                shown += f" ± {number(spread, DIGITS[metric])}"
            row.append(numeric(entry.get(metric), shown=shown))
        for key in ("scored", "absent_in_prediction", "absent_in_reference"):
            row.append(numeric(entry.get(key), 0))
        rows.append(row)
    return Table(columns, rows)


def _marks(entries: Mapping[str, Any], titles: Mapping[str, str], doubt: Doubt | None) -> list[str]:
    marks = [
        f"{titles[label]} {'missing' if entry.get('reference_voxels') else 'not in the reference'}"
        for label, entry in entries.items()
        if is_missed(entry)
    ]
    return marks + list(doubt.reasons if doubt is not None and doubt.outlier else ())


def _worst_label(entries: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    known = {label: e["dice"] for label, e in entries.items() if e.get("dice") is not None}
    if not known:
        return ""
    worst = min(known, key=lambda label: known[label])
    return f"{titles[worst]} {number(known[worst])}"
