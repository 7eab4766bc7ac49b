"""``napari-gemini evaluate``: predicted label maps against references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded, number, run_and_show


@guarded
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Folder of predicted label maps.")
    ],
    references: Annotated[
        Path, typer.Argument(metavar="REFERENCES", help="Folder of true ones, named alike.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="report.json", help="Where to write.")],
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score label maps: Dice, 95 % Hausdorff distance and mean surface distance per label."""
    from napari_gemini.engine.jobs import EvaluateJob, make_job

    job = make_job(EvaluateJob, predictions=predictions, references=references, out=out)
    run_and_show(job, lambda report: summarise_scores(report, job.out), as_json=as_json)


def summarise_scores(report: Mapping[str, Any], out: Path) -> Iterator[str]:
    """Say the means of a report of scores."""
    mean = report["mean"]
    line = f"{len(report['cases'])} cases: mean Dice {number(mean.get('dice'))}"
    if "hd95_mm" in mean:
        line += f", HD95 {number(mean['hd95_mm'], 2)} mm, ASSD {number(mean['assd_mm'], 2)} mm"
    yield line
    absent = report.get("absent") or {}
    lacking = sum(count for count in absent.values() if isinstance(count, int))
    if lacking:
        yield f"Labels absent from one side or both: {lacking} (no distances there; see the report)"
    missing = report["unmatched"]["references"]
    if missing:
        yield f"Without a prediction: {', '.join(missing)}"
    yield f"Report: {out}"
