"""``napari-gemini demo``: the main job on a phantom cohort, from labels for five to a report."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded, run_with_bar, show


@guarded
def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder; an earlier demo there is replaced."),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Do not open napari at the end.")
    ] = False,
    flat: Annotated[bool, typer.Option("--2d", help="Images instead of volumes.")] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps; fewer for a quick look.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the cohort and trainings.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train on five labelled phantom scans, label the rest, and measure it against the truth.

    Takes up to ten minutes on two cores and ends in a report, with a display also in napari.
    """
    from napari_gemini.engine.tasks.demo import DemoPlan, run_demo

    folder = (out or Path("demo-output" + ("-2d" if flat else ""))).absolute()
    plan = DemoPlan(folder, 2 if flat else 3, device, steps=steps, seed=seed)
    result = run_with_bar(lambda reporter: run_demo(plan, reporter))
    show(result, summarise_demo, as_json=as_json)
    if not as_json:
        print(open_viewer(folder, headless=headless))


def summarise_demo(result: Mapping[str, Any]) -> Iterator[str]:
    """Say what the demo showed, also where it did not."""
    from napari_gemini.engine.tasks.demo import interval_text

    dice, tre, shows = result["dice"], result["tre"], result["shows"]
    yield ""
    yield (
        f"Dice of {result['predicted']} scans that had no labels: {dice['gemini-semi']:.3f} "
        f"(GEMINI-Semi, five labels), {dice['five-label-unet']:.3f} (U-Net, the same five labels "
        f"and {result['steps']} steps); 95 % interval of the difference {interval_text(dice)}"
        + ("" if shows["better_dice"] else "  NOT BETTER")
    )
    yield (
        f"Landmark error of a pair: {tre['before']:.2f} {tre['unit']} before, "
        f"{tre['after']:.2f} {tre['unit']} after" + ("" if shows["tre_halved"] else "  NOT HALVED")
    )
    shipped = result.get("shipped")
    if shipped:
        yield (
            f"The same with the shipped model {shipped['model']}, which never saw this organ: "
            f"{shipped['after']:.2f} {tre['unit']} after"
        )
    yield (
        f"Folds of that pair: {result['fold_percent']:g} %, by the digital criterion "
        f"{result['fold_percent_digital']:g} %"
    )
    yield f"Time: {result['seconds'] / 60:.1f} minutes ({result['cpu_seconds'] / 60:.1f} of CPU)"
    yield f"Report: {result['report']}"


def open_viewer(folder: Path, *, headless: bool) -> str:
    """Open napari with the demo's results, where there is a display, and return what to say.

    napari gets a process of its own, since this one has loaded torch. The call returns when its
    window is closed.
    """
    if headless:
        return "Not opening napari, because of --headless."
    if not has_display():
        return "Not opening napari, since there is no display here."
    if importlib.util.find_spec("napari") is None:
        return "Not opening napari, since it is not installed: pip install 'napari-gemini[all]'."
    print("Opening napari; close its window to end.", flush=True)
    command = [sys.executable, "-m", "napari_gemini.widgets.files.demo_window", str(folder)]
    code = subprocess.run(command, check=False).returncode
    if code:
        return f"napari ended with exit code {code}; napari-gemini doctor tells what is missing."
    return f"Open it again with: {' '.join(command)}"


def has_display() -> bool:
    """Whether a window could be opened."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
