"""``napari-gemini embed``: what the features of voxels say, in two dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug, Device, Model, Out, Spacing
from napari_gemini.commands.running import guarded, number, run_and_show


@guarded
def embed(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Scan whose voxels are embedded.")],
    out: Out,
    image2: Annotated[
        Path | None,
        typer.Argument(metavar="[IMAGE2]", help="A second scan, embedded together with the first."),
    ] = None,
    model: Model = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Labels of IMAGE.")] = None,
    labels2: Annotated[Path | None, typer.Option("--labels2", help="Labels of IMAGE2.")] = None,
    spacing: Spacing = None,
    samples: Annotated[
        int, typer.Option("--samples", min=10, help="Voxels drawn from each scan.")
    ] = 2000,
    clusters: Annotated[
        int | None,
        typer.Option("--clusters", min=2, max=100, help="For k-means; as many as labels, or best."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    perplexity: Annotated[float, typer.Option("--perplexity", help="Of the t-SNE.")] = 30.0,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Turn voxel features into a t-SNE map and clusters (embedding.csv, clusters.nii.gz)."""
    from napari_gemini.engine.jobs import EmbedJob, make_job

    job = make_job(
        EmbedJob,
        image=image,
        image2=image2,
        out=out,
        model=model,
        labels=labels,
        labels2=labels2,
        spacing=spacing,
        samples=samples,
        clusters=clusters,
        seed=seed,
        perplexity=perplexity,
        device=device,
    )
    run_and_show(job, summarise_embedding, as_json=as_json)


def summarise_embedding(report: Mapping[str, Any]) -> Iterator[str]:
    """Say how many voxels fell into how many clusters."""
    yield f"Model: {report['model']}"
    yield f"{report['voxels']} voxels in {report['clusters']} clusters"
    for name, score in report["scores"].items():
        if isinstance(score, float | None):
            yield f"{name.replace('_', ' ').capitalize()}: {number(score)}"
    yield f"Results: {report['out']}"
