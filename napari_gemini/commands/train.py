"""``napari-gemini train``: learn from the labelled scans of a study and from all the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded, number, run_and_show, show
from napari_gemini.errors import EngineError, InputError, ModelError

if TYPE_CHECKING:
    from napari_gemini.engine.jobs import TrainJob
    from napari_gemini.engine.run_folder import RunFolder
    from napari_gemini.settings import PresetName, TrainSettings

_PRESETS = ("quick", "standard", "paper")


@guarded
def train(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")],
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="quick|standard|paper",
            help="Where settings start; standard by default.",
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="gemini-semi|supervised|NAME",
            help="What is learned from what; objectives of pretrain work here too, with labels.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="MODEL", help="Model whose weights the training starts from."
        ),
    ] = None,
    freeze_backbone: Annotated[
        bool,
        typer.Option(
            "--freeze-backbone",
            help="Train deformer and head alone; with --objective supervised the head alone, which "
            "--set network.head_width=0 makes linear.",
        ),
    ] = False,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="Name of the run; the next free one."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run from its last checkpoint.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Segmentation updates in all.")
    ] = None,
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
        bool, typer.Option("--stop", help="Ask a run to write a checkpoint and end.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a network on a study; Ctrl-C stops at the next step and keeps a checkpoint."""
    from napari_gemini.engine.jobs import TrainJob, make_job
    from napari_gemini.engine.launch import start_training, stop_run
    from napari_gemini.settings import TrainSettings

    if stop and (detach or follow or resume):
        raise InputError("--stop ends a run, so it goes with none of --detach, --follow, --resume.")
    options = {
        "--preset": preset,
        "--objective": objective,
        "--steps": steps,
        "--seed": seed,
        "--base-width": base_width,
        "--set": assignments or None,
        "--init": init,
        "--freeze-backbone": freeze_backbone or None,
    }
    given = [name for name, value in options.items() if value is not None]
    if stop or (follow and not detach):
        refuse_settings([*given, *(["--resume"] if resume else [])], stop=stop)
        folder = _begun_run(study, run)
        if stop:
            state = stop_run(folder)
            _show_state(folder, state, as_json=as_json)
        else:
            show(follow_run(folder, f"--run {folder.name}"), summarise_training, as_json=as_json)
        return
    if resume and given:
        raise InputError(f"A resumed run keeps its settings; leave out {', '.join(given)}.")
    job = make_job(
        TrainJob,
        study=study,
        run=run,
        settings=TrainSettings()
        if resume
        else _settings(
            study, preset or "standard", objective, steps, seed, base_width, assignments, init
        ),
        init=init,
        freeze_backbone=freeze_backbone,
        device=device,
        resume=resume,
    )
    if not detach:
        result = run_and_show(job, summarise_training, as_json=as_json)
        end_training(result)
        return
    folder = start_training(job)
    if follow:
        show(follow_run(folder, f"--run {folder.name}"), summarise_training, as_json=as_json)
    else:
        _show_state(folder, folder.state(), as_json=as_json)


def summarise_training(result: Mapping[str, Any]) -> Iterator[str]:
    """Say how a training ended and where its results are."""
    best = result.get("best_score")
    yield how_it_ended(result) + ("" if best is None else f", best validation {number(best)}")
    if result.get("nonfinite"):
        yield f"Updates skipped because they were not finite: {result['nonfinite']}"
    yield f"Run: {result['folder']}"
    if result.get("stopped"):
        study = Path(result["folder"]).parent.parent
        yield f"Go on with: napari-gemini train {study} --run {result['run']} --resume"


def how_it_ended(result: Mapping[str, Any]) -> str:
    """Return how a training ended and at which step, as far as it said so."""
    how = "Stopped" if result.get("stopped") else "Finished"
    if result.get("step") is not None:
        return f"{how} at step {result['step']}"
    return f"{how} before its end" if result.get("stopped") else how


def refuse_settings(given: list[str], *, stop: bool) -> None:
    """Refuse options that a run which is followed or stopped would not take.

    Parameters
    ----------
    given
        Names of the options.
    stop
        Whether the run is to be stopped.

    Raises
    ------
    InputError
        If there are any.
    """
    if given:
        what = "--stop ends" if stop else "--follow shows"
        raise InputError(f"{what} a run that was started before: leave out {', '.join(given)}.")


def _settings(
    study: Path,
    name: str,
    objective: str | None,
    steps: int | None,
    seed: int | None,
    base_width: int | None,
    assignments: list[str] | None,
    init: str | None,
) -> TrainSettings:
    """Build the settings of a training from the options."""
    from napari_gemini.settings import PRETRAINING, preset, pretraining_preset

    made = preset(checked_preset(name), dimension_of(study))
    if objective in PRETRAINING:
        # The objective's own weights and batches, for as long as any other training.
        own = pretraining_preset(objective, checked_preset(name), made.network.dimension)
        made = own.model_copy(update={"use_labels": True, "steps": made.steps})
    made = take_layout(made, init)
    if objective is not None:
        assignments = [f"objective={objective}", *(assignments or [])]
    return changed_settings(made, steps, seed, base_width, assignments)


def take_layout(settings: TrainSettings, init: str | None) -> TrainSettings:
    """Return settings whose network has the layout of the model that a training starts from.

    Else its weights would not fit, or fit and mean something else. ``--base-width`` and ``--set``
    still change it.

    Raises
    ------
    ModelError
        If there is no such model, or it is of the other dimension.
    """
    if init is None:
        return settings
    from napari_gemini.engine.tasks.serving import layout_of

    own, layout = settings.network, layout_of(init)
    if layout.dimension != own.dimension:
        raise ModelError(
            f"The model {init} is for {layout.dimension}D scans and these are {own.dimension}D; "
            f"start from a {own.dimension}D model, or leave out --init."
        )
    study = {"classes": own.classes, "overlapping": own.overlapping}
    network = layout.model_copy(update=study)
    if network != own:
        print(
            f"The network has the layout of {init}: {network.backbone}, base width "
            f"{network.base_width}, field stride {network.field_stride}, "
            f"{network.velocity_steps} velocity steps.",
            file=sys.stderr,
        )
    return settings.model_copy(update={"network": network})


def checked_preset(name: str) -> PresetName:
    """Return the name of a preset.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in _PRESETS:
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(_PRESETS)}.")
    return cast("PresetName", name)


def dimension_of(study: Path) -> Literal[2, 3]:
    """Return the dimension of a study, of which only ``study.json`` is read."""
    from napari_gemini.study.files import read_study_file

    return read_study_file(study).dimension


def changed_settings(
    settings: TrainSettings,
    steps: int | None,
    seed: int | None,
    base_width: int | None,
    assignments: list[str] | None,
) -> TrainSettings:
    """Return settings with what the options change.

    Raises
    ------
    InputError
        If a setting is unknown or a value does not suit it or the study.
    """
    from napari_gemini.commands.settings import change_settings, parse_assignments

    dimension = settings.network.dimension
    named = {
        "steps": steps,
        "seed": seed,
        "network.base_width": base_width,
    }
    changes = {key: value for key, value in named.items() if value is not None}
    changes |= parse_assignments(assignments or [])
    if changes.get("network.dimension", dimension) != dimension:
        raise InputError(f"The study is {dimension}D, so its network is {dimension}D too.")
    return change_settings(settings, changes)


def _begun_run(study: Path, run: str | None) -> RunFolder:
    """Return the folder of a run that exists: the named one, or the latest."""
    from napari_gemini.engine.jobs import TrainJob, make_job
    from napari_gemini.engine.run_session import name_run, run_folder_of

    job: TrainJob = name_run(make_job(TrainJob, study=study, run=run, resume=True))
    folder = run_folder_of(job)
    folder.read_config()
    return folder


def follow_run(folder: RunFolder, place: str) -> dict[str, Any]:
    """Show a run's events until it ends; Ctrl-C ends the showing, not the run.

    Parameters
    ----------
    folder
        Of the run.
    place
        The option that names the run, for instance ``--run gemini-semi-1``.

    Returns
    -------
    dict
        What the run said at its end.

    Raises
    ------
    EngineError
        If its process was killed, else the error that it ended with.
    """
    from napari_gemini.engine.console import ConsoleReporter
    from napari_gemini.engine.events import (
        CancelledEvent,
        ErrorEvent,
        LogEvent,
        ProgressEvent,
        ResultEvent,
    )
    from napari_gemini.engine.failures import error_from_event

    last = None
    with ConsoleReporter() as reporter:
        reporter.log(f"Following {folder.path}; Ctrl-C ends the following, not the training.")
        for event in folder.follow():
            last = event
            if isinstance(event, ProgressEvent):
                values = {key: value for key, value in event.values.items() if value is not None}
                reporter.progress(event.done, event.total, event.message, **values)
            elif isinstance(event, LogEvent):
                reporter.log(event.message, event.level)
    if isinstance(last, ErrorEvent):
        raise error_from_event(last)
    if isinstance(last, ResultEvent):
        return last.values
    state = folder.state()
    if state == "interrupted":
        raise EngineError(
            f"The run {folder.name} ended without a word (it was killed); go on with "
            f"{place} --resume."
        )
    reached = last.values if isinstance(last, CancelledEvent) else {}
    run = {"run": folder.name, "folder": str(folder.path), "stopped": True, "state": state}
    return {**reached, **run}


def _show_state(folder: RunFolder, state: str, *, as_json: bool) -> None:
    result = {"run": folder.name, "folder": str(folder.path), "state": state}
    study = folder.path.parent.parent

    def lines(_: object) -> list[str]:
        if state != "running":
            return [f"The run {folder.name} is {state}: {folder.path}"]
        return [
            f"The run {folder.name} trains in the background: {folder.path}",
            f"See it: napari-gemini train {study} --run {folder.name} --follow",
            f"End it: napari-gemini train {study} --run {folder.name} --stop",
        ]

    show(result, lines, as_json=as_json)


def end_training(result: Mapping[str, Any]) -> None:
    """Exit as after Ctrl-C when the training was stopped before its last step."""
    if result.get("stopped"):
        raise typer.Exit(130)
