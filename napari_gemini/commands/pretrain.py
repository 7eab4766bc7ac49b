"""``napari-gemini pretrain``: a backbone from scans alone, before anybody has labelled anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug, Device, Out
from napari_gemini.commands.running import guarded, run_and_show, show
from napari_gemini.commands.train import (
    changed_settings,
    checked_preset,
    dimension_of,
    end_training,
    follow_run,
    how_it_ended,
    refuse_settings,
    take_layout,
)
from napari_gemini.errors import InputError

if TYPE_CHECKING:
    from napari_gemini.engine.jobs import TrainJob
    from napari_gemini.engine.run_folder import RunFolder
    from napari_gemini.settings import TrainSettings


@guarded
def pretrain(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")],
    out: Out,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="gemini-mip|gvsl|cover|pix2rep|pix2rep-v2|optiml",
            help="How features are learned; gemini-mip unless given.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="quick|standard|paper",
            help="Where settings start; standard by default.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option("--init", metavar="MODEL", help="Model whose weights it starts from."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")
    ] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps in all.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of everything random.")
    ] = None,
    base_width: Annotated[
        int | None, typer.Option("--base-width", help="Channels of the finest stage.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any other setting, such as weights.gvs=0.5."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Train in the background and return at once.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show a run that trains in the background.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Ask the run in DIR to write a checkpoint and end.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a backbone on scans without labels; DIR is then a model for train --init.

    Scans of one group of the study (same view, sex or region) are paired with each other. Test
    cases are left out, and labels are not looked at.
    """
    from napari_gemini.engine.jobs import TrainJob, make_job
    from napari_gemini.engine.launch import start_training, stop_run
    from napari_gemini.engine.run_folder import RunFolder

    folder = RunFolder(out.expanduser())
    options = {
        "--steps": steps,
        "--seed": seed,
        "--base-width": base_width,
        "--set": assignments or None,
        "--init": init,
    }
    given = [name for name, value in options.items() if value is not None]
    if stop and (detach or follow or resume):
        raise InputError("--stop ends a run, so it goes with none of --detach, --follow, --resume.")
    if stop or (follow and not detach):
        others = {"--objective": objective, "--preset": preset, "--resume": resume or None}
        given = [name for name, value in others.items() if value is not None] + given
        refuse_settings(given, stop=stop)
        folder.read_config()
        if stop:
            result: dict[str, Any] = {"folder": str(folder.path), "state": stop_run(folder)}
            show(result, _state_lines, as_json=as_json)
        else:
            _show(_follow(folder), study, as_json=as_json)
        return
    if resume:
        _check_resumed(folder, objective, preset, given)
        job = make_job(TrainJob, study=study, out=out, device=device, resume=True)
    else:
        _refuse_filled(folder)
        settings = pretraining_settings(
            study, objective or "gemini-mip", preset or "standard", steps, seed, base_width,
            assignments, init,
        )  # fmt: skip
        job = make_job(TrainJob, study=study, out=out, settings=settings, init=init, device=device)
    if not detach:
        _run(job, study, as_json=as_json)
        return
    folder = start_training(job)
    if follow:
        _show(_follow(folder), study, as_json=as_json)
    else:
        show({"folder": str(folder.path), "state": folder.state()}, _state_lines, as_json=as_json)


def pretraining_settings(
    study: Path,
    objective: str,
    preset: str,
    steps: int | None = None,
    seed: int | None = None,
    base_width: int | None = None,
    assignments: list[str] | None = None,
    init: str | None = None,
) -> TrainSettings:
    """Build the settings of a pre-training from the options.

    Raises
    ------
    InputError
        If the objective needs labels or is unknown, or another option cannot be used.
    """
    from napari_gemini.settings import PRETRAINING, pretraining_preset

    if objective not in PRETRAINING:
        known = ", ".join(PRETRAINING)
        raise InputError(
            f"There is no pre-training objective {objective!r}; choose one of {known}."
        )
    made = pretraining_preset(objective, checked_preset(preset), dimension_of(study))
    made = take_layout(made, init)
    return changed_settings(made, steps, seed, base_width, assignments)


def summarise_pretraining(result: Mapping[str, Any], study: Path) -> Iterator[str]:
    """Say how a pre-training ended and what its model is good for."""
    yield how_it_ended(result)
    if result.get("nonfinite"):
        yield f"Updates skipped because they were not finite: {result['nonfinite']}"
    folder = result["folder"]
    yield f"Model: {folder}"
    if result.get("stopped"):
        yield f"Go on with: napari-gemini pretrain {study} --out {folder} --resume"
    else:
        yield f"Next: napari-gemini train LABELLED_STUDY --init {folder}"


def _check_resumed(
    folder: Any, objective: str | None, preset: str | None, others: list[str]
) -> None:
    """Refuse options that would change a run: it keeps its settings."""
    if others:
        raise InputError(f"A resumed run keeps its settings; leave out {', '.join(others)}.")
    stored = folder.read_job().settings
    for name, asked, kept in (
        ("--objective", objective, stored.objective),
        ("--preset", preset, stored.preset),
    ):
        if asked is not None and asked != kept:
            raise InputError(
                f"The run in {folder.path} was started with {name} {kept}; leave {name} out to "
                "go on with it, or choose another --out for a new run."
            )


def _refuse_filled(folder: Any) -> None:
    if folder.exists and folder.failed_at_once():
        return
    if folder.exists:
        raise InputError(
            f"{folder.path} holds a run already; continue it with --resume or choose another --out."
        )
    if folder.path.is_dir() and any(folder.path.iterdir()):
        raise InputError(f"{folder.path} is not empty; choose another --out.")


def _run(job: TrainJob, study: Path, *, as_json: bool) -> None:
    result = run_and_show(job, lambda r: summarise_pretraining(r, study), as_json=as_json)
    end_training(result)


def _follow(folder: RunFolder) -> dict[str, Any]:
    return follow_run(folder, f"--out {folder.path}")


def _show(result: dict[str, Any], study: Path, *, as_json: bool) -> None:
    show(result, lambda r: summarise_pretraining(r, study), as_json=as_json)


def _state_lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"The run in {result['folder']} is {result['state']}."
    if result["state"] == "running":
        yield "See it with --follow, end it with --stop."
