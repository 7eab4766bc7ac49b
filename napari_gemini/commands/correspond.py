"""``napari-gemini correspond``: where every voxel of one scan is in another."""

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
    Similarity,
    Spacing,
)
from napari_gemini.commands.running import guarded, number, run_and_show


@guarded
def correspond(
    moving: Annotated[
        Path, typer.Argument(metavar="MOVING", help="Scan that is brought to the other.")
    ],
    fixed: Annotated[
        Path, typer.Argument(metavar="FIXED", help="Scan that stays; all results lie on its grid.")
    ],
    out: Out,
    model: Model = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Labels of MOVING, to be carried over.")
    ] = None,
    fixed_labels: Annotated[
        Path | None,
        typer.Option("--fixed-labels", help="Known labels of FIXED: the report then has Dice."),
    ] = None,
    refine: Refine = None,
    similarity: Similarity = "auto",
    ignore: Annotated[
        Path | None,
        typer.Option("--ignore", help="Mask on FIXED's grid of what must not count (lesion, ...)."),
    ] = None,
    both: Annotated[
        bool,
        typer.Option("--both", help="Write the way back too, into the folder inverse of --out."),
    ] = False,
    spacing: Spacing = None,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find the correspondence of two scans and what shows whether to trust it.

    Writes the warped image and labels, the field (an ITK transform that works on your own files),
    maps of similarity, Jacobian and folds, and a report.
    """
    from napari_gemini.engine.jobs import CorrespondJob, make_job

    job = make_job(
        CorrespondJob,
        moving=moving,
        fixed=fixed,
        out=out,
        model=model,
        labels=labels,
        fixed_labels=fixed_labels,
        refine=refine,
        similarity=similarity,
        ignore=ignore,
        both=both,
        spacing=spacing,
        device=device,
    )
    run_and_show(job, summarise_pair, as_json=as_json)


def summarise_pair(report: Mapping[str, Any]) -> Iterator[str]:
    """Say in a few lines what a pair's report holds."""
    consistency = report.get("inverse_consistency_mm") or report.get("inverse_consistency_voxels")
    unit = "mm" if "inverse_consistency_mm" in report else "voxels"
    yield f"Model: {report['model']}"
    yield (
        f"Folds: {number(report['fold_percent'])} % (digital criterion "
        f"{number(report['fold_percent_digital'])} %), SD of log Jacobian "
        f"{number(report['sd_log_jacobian'])}"
    )
    if consistency:
        yield (
            f"Inverse consistency: mean {number(consistency['mean'])} {unit}, "
            f"95 % below {number(consistency['p95'])} {unit}"
        )
    yield (
        f"Similarity: local correlation {number(report['gvs_mean'])}, features "
        f"{number(report['gss_mean'])}, over {number(report['mask_percent'], 1)} % of the scan"
    )
    scores = [entry for entry in (report.get("dice") or {}).values() if entry is not None]
    if scores:
        yield f"Mean Dice over {len(scores)} labels: {number(sum(scores) / len(scores))}"
    yield f"Results: {report['out']} ({report['seconds']:.1f} s on {report['device']})"
    if report.get("html"):
        yield f"Report: {report['html']}"
