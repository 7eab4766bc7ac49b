"""``napari-gemini models``: which there are, and how more get here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug
from napari_gemini.commands.running import guarded, run_with_bar, show
from napari_gemini.resources import find_model

Into = Annotated[
    Path | None,
    typer.Option(
        "--into", metavar="DIR", help="Folder of models to put it into; your own without it."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]


@guarded
def list_all(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the models that go by their name: shipped, fetched and imported ones."""
    from napari_gemini.engine.models.shelf import list_models
    from napari_gemini.resources import own_models_folder

    models = [entry.summary() for entry in list_models()]
    result = {"models": models, "own_folder": str(own_models_folder())}
    show(result, summarise_list, as_json=as_json)


@guarded
def show_one(name: Name, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show a model's card: what it was trained on, how it was measured, when not to use it."""
    from napari_gemini.engine.models.readme import model_readme
    from napari_gemini.engine.models.shelf import find_entry

    entry = find_entry(name)
    card = {**entry.card.model_dump(mode="json"), "folder": str(entry.folder)}
    size = (entry.folder / "weights.safetensors").stat().st_size
    text = model_readme(entry.card.model_copy(update={"name": name}), size)
    show(card, lambda _: [text.rstrip(), "", f"It is in {entry.folder}"], as_json=as_json)


@guarded
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_URL", help="A model of the registry, or its URL.")
    ],
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="FILE",
            help="Registry with url, sha256 and licence of each model: a file or a web address.",
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--mirror",
            metavar="DIR|URL",
            help="Take the files from here, one folder a model; NAPARI_GEMINI_MIRROR does the "
            "same.",
        ),
    ] = None,
    into: Into = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fetch a model; a download that broke off goes on where it was."""
    from napari_gemini.engine.models.fetch import fetch_model

    result = run_with_bar(
        lambda reporter: fetch_model(name, registry, reporter, mirror=mirror, folder=into)
    )
    show(result, summarise_new, as_json=as_json)


@guarded
def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="File of the authors' GEMINI or GVSL code; never executed."
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model here.")
    ] = None,
    spacing: Annotated[
        float, typer.Option("--spacing", metavar="MM", help="Voxel size it was trained at.")
    ] = 1.0,
    intensity: Annotated[
        str,
        typer.Option(
            "--intensity",
            metavar="percentile|ct|uint8",
            help="How its scans were brought to 0 to 1.",
        ),
    ] = "percentile",
    overlapping: Annotated[
        bool,
        typer.Option(
            "--overlapping", help="Each output is a label of its own, none is the background."
        ),
    ] = False,
    into: Into = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Import a checkpoint of the authors' GEMINI or GVSL code, without running code in it."""
    from napari_gemini.engine.tasks.import_model import import_model

    result = run_with_bar(
        lambda reporter: import_model(
            checkpoint,
            name,
            reporter,
            spacing=spacing,
            intensity=intensity,
            overlapping=overlapping,
            parent=into,
        )
    )
    show(result, summarise_new, as_json=as_json)


@guarded
def publish(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or any model.")],
    name: Name,
    about: Annotated[
        Path | None,
        typer.Option(
            "--about",
            metavar="FILE",
            help="JSON with title, trained_on, data_licence, licence, credit, scores, limits.",
        ),
    ] = None,
    general: Annotated[
        bool,
        typer.Option("--general", help="It serves scans of any spacing and contrast."),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Take the place of a model of that name in --into, or of your own."
        ),
    ] = False,
    into: Into = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a model of a run's best checkpoint, in half precision where that loses nothing."""
    from napari_gemini.engine.tasks.publish_model import publish_model, read_about

    known = None if about is None else read_about(about)
    result = run_with_bar(
        lambda reporter: publish_model(
            run, name, reporter, about=known, general=general, parent=into, replace=replace
        )
    )
    show(result, summarise_new, as_json=as_json)


def summarise_list(result: Mapping[str, Any]) -> Iterator[str]:
    """Show a line for each model."""
    if not result["models"]:
        yield "No model is shipped with this version, and none was fetched or imported."
    for model in result["models"]:
        trained = f"{model['objective']}, {model['step']:,} steps" if model["step"] else ""
        details = [
            f"{model['dimension']}D",
            trained,
            f"{model['megabytes']:.1f} MB",
            model["source"],
        ]
        yield f"{model['name']:20} {', '.join(part for part in details if part)}"
        if model["title"]:
            yield f"{'':20} {model['title']}"
    yield f"Your own models are in {result['own_folder']}"


def summarise_new(result: Mapping[str, Any]) -> Iterator[str]:
    """Say where a new model is and how to use it."""
    yield f"The model {result['name']} is in {result['folder']} ({result['bytes'] / 1e6:.1f} MB)"
    if result.get("licence"):
        yield f"Its licence: {result['licence']}"
    # Another model may have the name, and in other folders no model goes by its name.
    named = find_model(result["name"]) == Path(result["folder"])
    model = result["name"] if named else result["folder"]
    yield f"Use it with --model {model}, or train from it with --init {model}"
