"""``napari-gemini propagate``: one atlas's labels for many scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import (
    AsJson,
    Debug,
    Device,
    Model,
    Out,
    Refine,
    Scheduler,
    Similarity,
    Spacing,
)
from napari_gemini.commands.running import exit_if_failed, guarded, number, run_and_show


@guarded
def propagate(
    targets: Annotated[
        list[Path], typer.Argument(metavar="TARGETS...", help="Scans to be labelled.")
    ],
    atlas: Annotated[Path, typer.Option("--atlas", help="Scan that has labels.")],
    labels: Annotated[Path, typer.Option("--labels", help="Its labels.")],
    out: Out,
    model: Model = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="DIR",
            help="Known labels of the targets, named alike: reports then have Dice.",
        ),
    ] = None,
    refine: Refine = None,
    similarity: Similarity = "auto",
    spacing: Spacing = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Carry the labels of one atlas to many scans; each target gets a folder below --out."""
    from napari_gemini.engine.jobs import PropagateJob, make_job

    job = make_job(
        PropagateJob,
        atlas=atlas,
        labels=labels,
        targets=targets,
        out=out,
        model=model,
        references=references,
        refine=refine,
        similarity=similarity,
        spacing=spacing,
        scheduler=scheduler,
        device=device,
    )
    result = run_and_show(job, summarise_targets, as_json=as_json)
    exit_if_failed(result, "targets")


def summarise_targets(result: Mapping[str, Any]) -> Iterator[str]:
    """Say in a line per target how it went."""
    for name, report in result["targets"].items():
        scores = [entry for entry in (report.get("dice") or {}).values() if entry is not None]
        dice = f", mean Dice {number(sum(scores) / len(scores))}" if scores else ""
        yield (
            f"{name}: folds {number(report['fold_percent'])} %, local correlation "
            f"{number(report['gvs_mean'])}{dice}"
        )
    for name, sentence in result["failed"].items():
        yield f"{name}: FAILED. {sentence}"
    yield f"Model: {result['model']}"
    yield f"Results: {result['out']}"
