"""All commands put together."""

from __future__ import annotations

from collections.abc import Callable

import typer

from napari_gemini import __version__
from napari_gemini.commands.correspond import correspond
from napari_gemini.commands.demo import demo
from napari_gemini.commands.doctor import doctor
from napari_gemini.commands.embed import embed
from napari_gemini.commands.evaluate import evaluate
from napari_gemini.commands.models import fetch, import_, list_all, publish, show_one
from napari_gemini.commands.phantom import phantom
from napari_gemini.commands.predict import predict
from napari_gemini.commands.pretrain import pretrain
from napari_gemini.commands.propagate import propagate
from napari_gemini.commands.study import new, status
from napari_gemini.commands.train import train

app = typer.Typer(
    name="napari-gemini",
    help="Label five scans, get labels for all the rest, and see whether to trust them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
study_app = typer.Typer(
    help="Make a study and see how it is.", no_args_is_help=True, rich_markup_mode=None
)
models_app = typer.Typer(
    help="See which models there are, fetch, import and publish them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _add(
    group: typer.Typer, command: Callable[..., None], example: str, name: str | None = None
) -> None:
    """Add a command with an example under its help."""
    # \b keeps the lines of the paragraph as they are.
    group.command(name, epilog=f"\b\nExample:\n  napari-gemini {example}")(command)


_add(app, demo, "demo --out my-demo")
app.add_typer(study_app, name="study")
_add(study_app, new, "study new hips/ scans/*.nii.gz --labels labels/")
_add(study_app, status, "study status hips/")
_add(app, train, "train hips/ --preset quick --run first")
_add(app, pretrain, "pretrain anatomies/ --objective gemini-mip --out anatomies-model/")
_add(app, predict, "predict hips/runs/first --study hips/ --out labels/")
_add(app, correspond, "correspond a.nii.gz b.nii.gz --out a_to_b/ --labels a_labels.nii.gz")
_add(app, propagate, "propagate --atlas a.nii.gz --labels a_labels.nii.gz b.nii.gz --out carried/")
_add(app, embed, "embed a.nii.gz --out features/ --model hips/runs/first")
_add(app, evaluate, "evaluate labels/ reference/ --out scores.json")
app.add_typer(models_app, name="models")
_add(models_app, list_all, "models list", "list")
_add(models_app, show_one, "models show general-3d", "show")
_add(models_app, fetch, "models fetch general-3d --registry https://example.org/registry.json")
_add(models_app, import_, "models import GEMINI_SS_MIP_3d.pth --name heart-ct", "import")
_add(models_app, publish, "models publish hips/runs/first hips --about about.json")
_add(app, phantom, "phantom anatomies/ --random --groups 40 --per-group 4")
_add(app, doctor, "doctor")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"napari-gemini {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Show the version."
    ),
) -> None:
    pass
