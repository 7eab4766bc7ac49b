"""``napari-gemini phantom``: synthetic cohorts, of one known organ or of random anatomies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_gemini.commands.options import AsJson, Debug
from napari_gemini.commands.running import guarded, run_with_bar, show
from napari_gemini.errors import InputError

if TYPE_CHECKING:
    from napari_gemini.progress import Reporter


@guarded
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the cohort.")],
    random: Annotated[
        bool,
        typer.Option(
            "--random",
            help="Random anatomies, contrasts and artefacts: a study to pre-train on. Without it: "
            "scans of one organ, with labels and a five-shot split.",
        ),
    ] = False,
    count: Annotated[int, typer.Option("--count", min=1, help="Scans (without --random).")] = 24,
    groups: Annotated[int, typer.Option("--groups", min=1, help="Anatomies (with --random).")] = 40,
    per_group: Annotated[
        int, typer.Option("--per-group", min=2, help="Scans of each anatomy (with --random).")
    ] = 4,
    flat: Annotated[bool, typer.Option("--2d", help="Images instead of volumes.")] = False,
    size: Annotated[
        int | None,
        typer.Option("--size", help="Voxels along the longest axis; 64, or 128 in 2D."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make synthetic scans whose true correspondence is known."""
    dimension: Literal[2, 3] = 2 if flat else 3
    if random:

        def work(reporter: Reporter) -> dict[str, Any]:
            return make_random(folder, groups, per_group, dimension, size, seed, reporter)
    else:
        if size is not None:
            raise InputError("--size needs --random; the organ of one cohort has a fixed size.")

        def work(reporter: Reporter) -> dict[str, Any]:
            return make_organ(folder, count, dimension, seed)

    show(run_with_bar(work), summarise, as_json=as_json)


def make_random(
    folder: Path,
    groups: int,
    per_group: int,
    dimension: Literal[2, 3],
    size: int | None,
    seed: int,
    reporter: Reporter,
) -> dict[str, Any]:
    """Write a study of random anatomies and return what was made."""
    from napari_gemini.phantom.random_cohort import random_groups
    from napari_gemini.phantom.random_files import write_random_study

    made = random_groups(groups, per_group, dimension, size, seed)
    path = write_random_study(folder, made, groups, reporter)
    return {
        "folder": str(path),
        "dimension": dimension,
        "cases": groups * per_group,
        "groups": groups,
        "seed": seed,
        "next": f"napari-gemini pretrain {folder} --objective gemini-mip --out {folder}-model",
    }


def make_organ(folder: Path, count: int, dimension: Literal[2, 3], seed: int) -> dict[str, Any]:
    """Write a cohort of one organ and return what was made."""
    from napari_gemini.phantom.cohort import make_cohort
    from napari_gemini.phantom.files import check_cohort, write_cohort

    check_cohort(folder, count)
    path = write_cohort(folder, make_cohort(count, dimension, seed=seed))
    return {
        "folder": str(path.absolute()),
        "dimension": dimension,
        "cases": count,
        "groups": 1,
        "seed": seed,
        "next": f"napari-gemini study new {folder}/study {folder}/images "
        f"--labels {folder}/labels --split {folder}/split.json",
    }


def summarise(result: Mapping[str, Any]) -> Iterator[str]:
    """Say what was made and what to do with it."""
    anatomies = "one anatomy" if result["groups"] == 1 else f"{result['groups']} anatomies"
    scans = f"{result['cases']} {result['dimension']}D scans"
    yield f"Made {scans} of {anatomies} in {result['folder']}"
    yield f"Next: {result['next']}"
