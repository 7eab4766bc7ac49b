"""``napari-gemini study``: make a study and see how it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded, show
from napari_gemini.errors import InputError

if TYPE_CHECKING:
    from napari_gemini.study.study import Study


@guarded
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make the study in.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Scans: files, patterns, folders of images or of DICOM series.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="DIR", help="Label maps, named like their scans."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="FILE", help="Who is labelled, pool and test (JSON)."),
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="NAME", help="Which labelled set of the split.")
    ] = None,
    all_labels: Annotated[
        bool, typer.Option("--all-labels", help="Use the labels of the whole pool, not just five.")
    ] = False,
    spacing: Annotated[
        float | None, typer.Option("--spacing", metavar="MM", help="Voxel size of the study grid.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="FILE",
            help="Scans that may be paired (CSV: case,group), such as those of one view.",
        ),
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            "--align", metavar="center|affine", help="How scans are brought onto the study grid."
        ),
    ] = "center",
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a study; the scans stay where they are and are only read."""
    from napari_gemini.study.groups import read_groups
    from napari_gemini.study.study import Study

    if align not in ("center", "affine"):
        raise InputError(f"There is no alignment {align!r}; choose center or affine.")
    if seed is not None and split is None:
        raise InputError("--seed names a set of a split, so it needs --split FILE.")
    print("Reading the scans ...", file=sys.stderr)
    study = Study.create(
        folder,
        images,
        labels_dir=labels,
        split=split,
        seed=seed,
        all_labels=all_labels,
        spacing=spacing,
        groups=None if groups is None else read_groups(groups),
        align=cast(Literal["center", "affine"], align),
    )
    show(describe_study(study), summarise_study, as_json=as_json)


@guarded
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")],
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a study holds: scans, labels, runs and predictions."""
    from napari_gemini.study.study import Study

    show(describe_study(Study.open(folder)), summarise_study, as_json=as_json)


def describe_study(study: Study) -> dict[str, Any]:
    """Return what ``study status --json`` prints."""
    from napari_gemini.engine.run_folder import RunFolder
    from napari_gemini.study.status import study_status

    description = study_status(study)
    description["runs"] = {
        name: RunFolder(study.run_dir(name)).state() for name in description["runs"]
    }
    return description


def summarise_study(study: Mapping[str, Any]) -> Iterator[str]:
    """Say in a few lines what a study holds."""
    counts, grid = study["counts"], study["grid"]
    unit = "mm" if study["unit"] == "mm" else "pixels (their size is unknown)"
    shape = " x ".join(map(str, grid["shape"]))
    spacing = " x ".join(f"{s:g}" for s in dict.fromkeys(grid["spacing"]))
    yield f"Study {study['folder']}: {counts['cases']} scans in {study['dimension']}D"
    roles = (f"{counts[role]} {role}" for role in ("labelled", "unlabelled", "test"))
    yield f"  scans: {', '.join(roles)}"
    for case in study["cases"]:
        if not case["image_found"]:
            yield f"  missing: {case['image']} (case {case['id']})"
    bare = [c["id"] for c in study["cases"] if c["role"] == "labelled" and not c["labels"]]
    if bare:
        yield f"  still to be labelled: {', '.join(bare)}"
    yield f"  labels: {', '.join(f'{value} {name}' for value, name in study['labels'].items())}"
    yield f"  grid: {shape} voxels of {spacing} {unit}"
    for name, state in study["runs"].items():
        yield f"  run {name}: {state}"
    for name, count in study["predictions"].items():
        yield f"  predictions {name}: {count} scans"
    if study["review"]:
        verdicts = (f"{count} {verdict}" for verdict, count in study["review"].items())
        yield f"  reviewed: {', '.join(verdicts)}"
    if study["in_use_by"]:
        yield "  open in process {pid} on {host}".format(**study["in_use_by"])
