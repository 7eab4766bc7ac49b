"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

_DEVICE = re.compile(r"auto|cpu|cuda|cuda:\d+|mps")


def _checked_device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise typer.BadParameter(
            f"{value!r} is no device; give auto, cpu, cuda, cuda:N (such as cuda:0) or mps."
        )
    return value


Device = Annotated[
    str,
    typer.Option(
        "--device",
        callback=_checked_device,
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="Where to compute.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as JSON on stdout; progress then goes to stderr."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL|none",
        help="A shipped model's name, a run folder, a folder with weights.safetensors and "
        "model.json, or none. Without it the shipped model serves, else none.",
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        "--refine",
        min=0,
        metavar="N",
        help="Steps of instance refinement; 100 unless given, 0 takes the network's own field.",
    ),
]
Similarity = Annotated[
    str,
    typer.Option(
        "--similarity",
        metavar="auto|correlation|self-similarity",
        help="How the refinement compares the scans: by local correlation, which suits one "
        "contrast, or by self-similarity (MIND), which suits two. Left out, the scans decide.",
    ),
]
Spacing = Annotated[
    float | None,
    typer.Option(
        "--spacing",
        metavar="MM",
        help="Voxel size to compute at; larger is faster and takes less memory.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a dask scheduler that spreads the work over many machines.",
    ),
]
