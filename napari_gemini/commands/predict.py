"""``napari-gemini predict``: labels for all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug, Device, Scheduler
from napari_gemini.commands.running import exit_if_failed, guarded, run_and_show


@guarded
def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A run folder, a folder with weights, or a shipped model's name."
        ),
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGES...", help="Scans to be labelled.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option("--study", help="Label the scans of this study instead.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the labels; a study's own by default."
        ),
    ] = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Label scans with a trained model, each on its own grid."""
    from napari_gemini.engine.jobs import PredictJob, make_job

    job = make_job(
        PredictJob,
        model=model,
        images=images or [],
        study=study,
        out=out,
        scheduler=scheduler,
        device=device,
    )
    result = run_and_show(job, summarise_predictions, as_json=as_json)
    exit_if_failed(result, "scans")


def summarise_predictions(result: Mapping[str, Any]) -> Iterator[str]:
    """Say where the labels are, which were doubtful and which scans failed."""
    cases = result["cases"]
    yield f"Labelled {len(cases)} {'scan' if len(cases) == 1 else 'scans'}: {result['out']}"
    if result["skipped"]:
        yield f"Up to date already: {len(result['skipped'])}"
    for row in cases:
        if row.get("outlier"):
            yield f"{row['case']}: look at this one first ({'; '.join(row['reasons'])})"
    if result["html"]:
        yield f"Report: {result['html']}"
    for name, sentence in result["failed"].items():
        yield f"{name}: FAILED. {sentence}"
