"""Comparisons of methods as tables and pictures, in the run report or on a page of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_gemini.evaluation import charts
from napari_gemini.evaluation.comparison import (
    gap_closed,
    load_report,
    shared_cases,
    side_by_side,
)
from napari_gemini.evaluation.html import number, render
from napari_gemini.evaluation.run_table import DIGITS, TITLES
from napari_gemini.evaluation.tables import Column, Picture, Table, numeric, text
from napari_gemini.volumes.atomic import write_text_atomic


@dataclass(frozen=True)
class ComparisonView:
    """What a page shows of a comparison.

    Attributes
    ----------
    sentences
        The result in words.
    methods
        One row per method with its means.
    labels
        One row per label and method that is compared with.
    pictures
        Differences case by case.
    """

    sentences: Sequence[str]
    methods: Table
    labels: Table
    pictures: Sequence[Picture]


def write_comparison_report(
    report_a: Mapping[str, Any] | str | Path,
    report_b: Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    names: tuple[str, str] = ("A", "B"),
) -> Path:
    """Write two methods side by side as a self-contained HTML page.

    Parameters
    ----------
    report_a, report_b
        Reports of `evaluate_folders` over common cases, or their JSON files.
    out
        The page.
    names
        What the methods are called.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If a report cannot be read, they have no case in common, or the page cannot be written.
    """
    a, b = load_report(report_a), load_report(report_b)
    titles = {k: str(e["name"]) for k, e in (a.get("labels") or {}).items() if e.get("name")}
    view = compare_methods(names[0], a, {names[1]: b}, titles)
    found = side_by_side(a, b, names=names)
    worst_first = sorted(found["cases"].items(), key=lambda item: item[1]["difference"] or 0.0)
    cases = Table(
        [
            Column("Case", text=True),
            Column(f"{names[0]} Dice"),
            Column(f"{names[1]} Dice"),
            Column("Difference", sorted="ascending"),
        ],
        [
            [text(case), numeric(e["a"]), numeric(e["b"]),
             numeric(e["difference"], shown=_signed(e["difference"]))]
            for case, e in worst_first
        ],
    )  # fmt: skip
    path = Path(out)
    write_text_atomic(path, render("comparison.html.j2", names=names, comparison=view, cases=cases))
    return path


def compare_methods(
    name: str,
    report: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    baseline: str | None = None,
    ceiling: str | None = None,
) -> ComparisonView:
    """Compare one method with others over the cases that all have.

    Parameters
    ----------
    name, report
        The method and its scores.
    others
        Scores of the other methods by name.
    titles
        Names of labels by key.
    baseline, ceiling
        Methods between which the share of the closed gap is given.

    Returns
    -------
    ComparisonView
        Ready for a page.
    """
    shared = shared_cases([report, *others.values()])
    reports = {title: _only(r, shared) for title, r in {name: report, **others}.items()}
    found = {
        title: side_by_side(reports[name], reports[title], names=(name, title)) for title in others
    }
    sentences = [_difference_sentence(name, title, found[title]) for title in others]
    if baseline is not None and ceiling is not None and {baseline, ceiling} <= others.keys():
        sentences.append(_gap_sentence(name, baseline, ceiling, reports))
    pictures = [
        Picture(
            f"{name} minus {title}",
            "Dice difference of every case, sorted; above 0 this method is better.",
            charts.difference_bars(_differences(result)),
            plot=True,
        )
        for title, result in found.items()
    ]  # fmt: skip
    return ComparisonView(
        sentences, _method_table(name, found), _label_table(name, found, titles), pictures
    )


def _differences(result: Mapping[str, Any]) -> list[float]:
    found = (entry["difference"] for entry in result["cases"].values())
    return [difference for difference in found if difference is not None]


def _only(report: Mapping[str, Any], cases: Sequence[str]) -> dict[str, Any]:
    return {**report, "cases": {case: report["cases"][case] for case in cases}}


def _method_table(name: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    metrics = [m for m in TITLES if any(m in result["metrics"] for result in found.values())]
    columns = [Column("Method", text=True), *[Column(TITLES[metric]) for metric in metrics]]
    columns += [Column("Dice difference", hint=f"{name} minus this method, 95 % interval")]
    columns += [Column("Better in", hint=f"cases in which {name} has the higher Dice")]
    first = next(iter(found.values()))["metrics"]
    own = [numeric(first.get(m, {}).get("mean", {}).get("a"), DIGITS[m]) for m in metrics]
    rows = [[text(name), *own, numeric(None), numeric(None)]]
    for title, result in found.items():
        entry = result["metrics"]["dice"]["mean"]
        row = [text(title)]
        for metric in metrics:
            value = result["metrics"].get(metric, {}).get("mean", {}).get("b")
            row.append(numeric(value, DIGITS[metric]))
        row.append(numeric(entry["difference"], shown=_interval(entry)))
        better = entry.get("better")
        row.append(numeric(better, shown=f"{better} of {entry['pairs']}"))
        rows.append(row)
    return Table(columns, rows)


def _label_table(
    name: str, found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> Table:
    columns = [Column("Label", text=True), Column("Compared with", text=True)]
    metrics = [m for m in TITLES if any(m in result["metrics"] for result in found.values())]
    for metric in metrics:
        columns += [Column(f"{TITLES[metric]}, {name}"), Column("other"), Column("difference")]
    rows = []
    labels = dict.fromkeys(
        label for result in found.values() for label in result["metrics"]["dice"]["labels"]
    )
    for label in labels:
        for title, result in found.items():
            row = [text(titles.get(label) or f"label {label}"), text(title)]
            for metric in metrics:
                entry = result["metrics"].get(metric, {}).get("labels", {}).get(label, {})
                row += [numeric(entry.get(side), DIGITS[metric]) for side in ("a", "b")]
                row.append(numeric(entry.get("difference"), shown=_interval(entry, DIGITS[metric])))
            rows.append(row)
    return Table(columns, rows)


def _difference_sentence(name: str, other: str, result: Mapping[str, Any]) -> str:
    entry = result["metrics"]["dice"]["mean"]
    if entry["difference"] is None:
        return f"{name} and {other} have no case in which both have a Dice."
    more = "higher" if entry["difference"] >= 0 else "lower"
    sentence = (
        f"{name} has a mean Dice {number(abs(entry['difference']))} {more} than {other} over "
        f"{entry['pairs']} cases"
    )
    if entry["low"] is None:
        return f"{sentence}."
    judged = "excludes" if entry["low"] > 0 or entry["high"] < 0 else "includes"
    return (
        f"{sentence}; the paired 95 % interval [{_signed(entry['low'])}, {_signed(entry['high'])}] "
        f"{judged} 0."
    )


def _gap_sentence(
    name: str, baseline: str, ceiling: str, reports: Mapping[str, Mapping[str, Any]]
) -> str:
    found = gap_closed(reports[baseline], reports[name], reports[ceiling])
    if found.share is None:
        return f"{ceiling} is not better than {baseline} here, so there is no gap to close."
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" [{100 * found.low:.0f} %, {100 * found.high:.0f} %]"
    return (
        f"{name} closes {100 * found.share:.0f} %{interval} of the gap of {number(found.gap)} Dice "
        f"from {baseline} to {ceiling}."
    )


def _interval(entry: Mapping[str, Any], digits: int = 3) -> str:
    if entry.get("difference") is None:
        return number(None)
    shown = _signed(entry["difference"], digits)
    if entry.get("low") is None:
        return shown
    return f"{shown} [{_signed(entry['low'], digits)}, {_signed(entry['high'], digits)}]"


def _signed(value: float | None, digits: int = 3) -> str:
    return number(None) if value is None else f"{value:+.{digits}f}".replace("-", "−")
