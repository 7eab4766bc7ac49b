"""The report of a training run: how it learned, how good it is by case, how it compares."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from napari_gemini.evaluation import charts
from napari_gemini.evaluation.comparison import load_report
from napari_gemini.evaluation.comparison_page import ComparisonView, compare_methods
from napari_gemini.evaluation.doubt import Doubt
from napari_gemini.evaluation.folders import evaluate_folders
from napari_gemini.evaluation.history import History, read_history
from napari_gemini.evaluation.html import number, render
from napari_gemini.evaluation.pictures import label_color
from napari_gemini.evaluation.provenance import commands_of, provenance_sections
from napari_gemini.evaluation.run_pictures import case_picture
from napari_gemini.evaluation.run_sources import RunSources, find_sources
from napari_gemini.evaluation.run_table import (
    case_order,
    case_table,
    label_means,
    label_titles,
)
from napari_gemini.evaluation.tables import KeyEntry, Picture, Tile
from napari_gemini.volumes.atomic import write_text_atomic

MOST_PICTURES = 60
#: What the page calls the values that training reports, in this order; others come after.
LOSS_TITLES = {
    "loss_correspondence": "Correspondence loss (weighted sum)",
    "gss": "Semantic similarity loss (GSS)",
    "gvs": "Visual similarity loss (GVS)",
    "smooth": "Smoothness loss",
    "loss_segmentation": "Segmentation loss (weighted)",
    "segmentation": "Segmentation loss (cross-entropy + Dice)",
}


def write_run_report(
    run_folder: str | Path,
    *,
    out: str | Path | None = None,
    predictions: str | Path | None = None,
    references: str | Path | None = None,
    images: Mapping[str, str | Path] | None = None,
    scores: Mapping[str, Any] | str | Path | None = None,
    comparisons: Mapping[str, Mapping[str, Any] | str | Path] | None = None,
    baseline: str | None = None,
    ceiling: str | None = None,
    doubts: Sequence[Doubt] = (),
    highlights: Sequence[Tile] = (),
    links: Mapping[str, str | Path] | None = None,
    name: str | None = None,
    most_pictures: int = MOST_PICTURES,
) -> Path:
    """Write the report of a training run as a self-contained HTML page.

    Parameters
    ----------
    run_folder
        With ``config.json`` and ``events.jsonl``; whatever is missing is left out of the page.
    out
        The page; ``report.html`` in the run folder when not given.
    predictions
        Folder of predictions; the study's for this run when not given.
    references
        Folder of true label maps; drawn beside the predictions, and scored against them when no
        `scores` are given.
    images
        Image of each case, where the study around the run does not know it.
    scores
        Report of `evaluate_folders` for the predictions, or its JSON file.
    comparisons
        Such reports of other methods over the same cases, by name.
    baseline, ceiling
        Names among the comparisons between which the share of the closed gap is given.
    doubts
        Ranking of `rank_by_doubt`, shown per case; the order of the table where there are no
        scores.
    highlights
        More headline numbers.
    links
        Other pages or folders to link to, by title.
    name
        What this run is called beside the comparisons; the run folder's name when not given.
    most_pictures
        Cases that get a picture in the table, worst first.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If the run folder is missing, an input cannot be read, or the page cannot be written.
    """
    folder = Path(run_folder)
    sources = find_sources(folder, predictions, references, images)
    if scores is None and references is not None and sources.predictions:
        given = predictions if predictions is not None else _parent_of(sources.predictions)
        scores = evaluate_folders(given, references)
    report = None if scores is None else load_report(scores)
    others = {title: load_report(other) for title, other in (comparisons or {}).items()}
    title = name or folder.absolute().name
    path = Path(out) if out is not None else folder / "report.html"
    page = RunPage(title, sources, read_history(folder), report, list(doubts))
    comparison = None
    if report is not None and others:
        comparison = compare_methods(
            title, report, others, label_titles(report, sources), baseline, ceiling
        )
    write_text_atomic(
        path, page.render(comparison, highlights, _relative_links(links or {}, path), most_pictures)
    )
    return path


class RunPage:
    """Puts the parts of the page together."""

    def __init__(
        self,
        title: str,
        sources: RunSources,
        history: History,
        report: Mapping[str, Any] | None,
        doubts: list[Doubt],
    ) -> None:
        self.title = title
        self.sources = sources
        self.history = history
        self.report = report
        self.doubts = {doubt.case: doubt for doubt in doubts}

    def render(
        self,
        comparison: ComparisonView | None,
        highlights: Sequence[Tile],
        links: Mapping[str, str],
        most_pictures: int,
    ) -> str:
        """Return the page."""
        config, order = self.sources.config, self.order
        drawn = {
            case: case_picture(self.sources, case, small=True) for case in order[:most_pictures]
        }
        cases = case_table(
            order, self.report, self.doubts, {c: p for c, p in drawn.items() if p}, self.sources
        )
        return render(
            "run.html.j2",
            title=self.title,
            subtitle=self._subtitle(),
            tiles=[*self._tiles(), *highlights],
            warnings=self.history.warnings[:20],
            validation=self._validation_charts(),
            losses=self._loss_charts(),
            skipped=self.history.skipped,
            examples=self._examples(),
            cases=cases,
            sorted_words=self._sorted_words(),
            pictures_missing=len(order) > len(drawn) and bool(drawn),
            unmatched=(self.report or {}).get("unmatched") or {},
            labels=None if self.report is None else label_means(self.report, self.sources),
            absent=self._absent_words(),
            comparison=comparison,
            links=links,
            commands=commands_of(config),
            sections=provenance_sections(config),
            raw=json.dumps(config, indent=2, ensure_ascii=False),
        )

    @property
    def order(self) -> list[str]:
        """All cases that anything is known of, worst first."""
        known = set(self.report["cases"]) if self.report is not None else set()
        return case_order(
            known | self.doubts.keys() or set(self.sources.predictions), self.report, self.doubts
        )

    def _subtitle(self) -> str:
        job = self.sources.config.get("job")
        settings = job.get("settings") if isinstance(job, Mapping) else None
        parts = []
        if isinstance(settings, Mapping):
            parts = [f"objective {settings.get('objective')}", f"preset {settings.get('preset')}"]
        if self.history.last_step is not None:
            parts.append(f"{self.history.last_step:,} steps")
        if self.history.seconds:
            parts.append(f"{self.history.seconds / 60:.1f} minutes")
        return " · ".join(parts)

    def _tiles(self) -> list[Tile]:
        found = []
        for title, values in self.history.validation.items():
            found.append(Tile("Best on validation", number(max(values.values())), title))
        if self.report is None:
            return found
        mean = self.report["mean"]
        count = len(self.report["cases"])
        names = (
            ("dice", "Dice", 3, f"mean over {count} cases of each case's mean over labels"),
            ("hd95_mm", "HD95", 2, "mean 95th percentile of surface distance, mm"),
            ("assd_mm", "ASSD", 2, "mean average surface distance, mm"),
        )
        return [
            *[Tile(title, number(mean[k], d), hint) for k, title, d, hint in names if k in mean],
            *found,
        ]

    def _validation_charts(self) -> list[Picture]:
        return [
            Picture(title.capitalize(), "Higher is better; the circle marks the best checkpoint.",
                    charts.curve(values, size=(13, 3), best=True), wide=True, plot=True)
            for title, values in self.history.validation.items()
        ]  # fmt: skip

    def _loss_charts(self) -> list[Picture]:
        order = {name: rank for rank, name in enumerate(LOSS_TITLES)}
        drawn = []
        for name in sorted(self.history.losses, key=lambda n: (order.get(n, len(order)), n)):
            values = self.history.losses[name]
            last = number(list(values.values())[-1], 4)
            scale = "Logarithmic scale. " if charts.spans_decades(list(values.values())) else ""
            drawn.append(
                Picture(
                    LOSS_TITLES.get(name, name),
                    f"{scale}Last value {last}.",
                    charts.curve(values, logarithmic=True),
                    plot=True,
                )
            )
        return drawn

    def _examples(self) -> list[Picture]:
        """Return the worst, the median and the best case in large, where cases are scored."""
        if self.report is None or not self.order:
            return []
        order = [case for case in self.order if case in self.sources.images]
        if not order:
            return []
        chosen = {"Worst": order[0], "Median": order[len(order) // 2], "Best": order[-1]}
        key = [
            KeyEntry(title, label_color(label, self.sources.colors), line=True)
            for label, title in label_titles(self.report, self.sources).items()
        ]
        if self.sources.references:
            key.append(KeyEntry("true labels", "#a9b3bf", line=True, dashed=True))
        shown: dict[str, Picture] = {}
        for rank, case in chosen.items():
            source = case_picture(self.sources, case)
            if source and case not in shown:
                caption = "Slices through the middle of the labels."
                shown[case] = Picture(f"{rank} case: {case}", caption, source, key)
        return list(shown.values())

    def _sorted_words(self) -> str:
        if self.report is not None:
            return (
                "Sorted by mean Dice, worst first. A label that is on one side only has no Dice; "
                "for the order it counts as 0."
            )
        if self.doubts:
            return "Sorted by doubt, worst first: distance from the cohort in robust z-scores."
        return "Nothing is known about the quality of these predictions yet."

    def _absent_words(self) -> str:
        absent = (self.report or {}).get("absent") or {}
        missed, extra = absent.get("absent_in_prediction", 0), absent.get("absent_in_reference", 0)
        if not missed and not extra:
            return ""
        return (
            f"Labels that only one side has: {missed} missing in predictions, {extra} missing in "
            "references. They have no score and are left out of the means."
        )


def _parent_of(cases: Mapping[str, Path]) -> Path:
    return next(iter(cases.values())).parent


def _relative_links(links: Mapping[str, str | Path], page: Path) -> dict[str, str]:
    here = page.absolute().parent
    return {
        title: quote(Path(os.path.relpath(Path(path).absolute(), here)).as_posix())
        for title, path in links.items()
    }
