"""Draw the pictures of docs/napari.md: real windows, real work, on the phantom study.

    xvfb-run -a -s "-screen 0 1280x800x24" python scripts/make_tour.py

Takes some minutes: a short training runs in the background of the window that is pictured. With
``--folder`` the study stays: another call follows the training that it has, or, where that has
ended, draws what comes after it alone.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.qt import QtViewer
from PIL import Image
from qtpy.QtCore import QBuffer, QIODevice
from qtpy.QtWidgets import QApplication, QWidget

from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.settings import preset
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.canvas.layers import find_layers
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.features.dock import FeaturesDock
from napari_gemini.widgets.files.samples import phantom_study
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.study.dock import StudyDock
from napari_gemini.widgets.study.labelling import labelling_of
from napari_gemini.widgets.training.dock import TrainDock

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE = (1280, 800)
#: In the order of the animation.
PICTURES = ("label", "train", "predict", "pair", "grid", "probe", "features")
STEPS = 400


def live(seconds: float) -> None:
    """Let the window draw and answer for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait(condition: Callable[[], Any], seconds: float = 600) -> None:
    """Let the window live until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the tour waited too long")
        live(0.05)


class Tour:
    """One window, and the pictures taken of it.

    Parameters
    ----------
    theme
        napari's.
    out
        Folder for the pictures.
    """

    def __init__(self, theme: str, out: Path) -> None:
        self.out, self.theme = out, theme
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.session = get_session(self.viewer)
        self.window: QWidget = self.viewer.window._qt_window
        self._dock: Any = None
        self.content: Any = None
        self.resize()

    def resize(self) -> None:
        """Bring the window to the size that the pictures have."""
        self.window.resize(*SIZE)
        live(0.5)

    def open(self, dock: QWidget, name: str) -> Any:
        """Show one dock, the others away."""
        if self._dock is not None:
            self._dock.setVisible(False)
        self._dock = self.viewer.window.add_dock_widget(dock, name=name, area="right")
        self.content = dock
        live(1)
        self.resize()
        return dock

    def give_room(self) -> None:
        """Put napari's own docks away, so that two scans fit beside each other."""
        viewer = self.window.findChild(QtViewer)
        assert viewer is not None
        for dock in (viewer.dockLayerList, viewer.dockLayerControls):
            dock.setVisible(False)
        self.resize()

    def shown(self) -> Image.Image:
        """Return what the window looks like now."""
        live(0.4)
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.ReadWrite)
        self.window.grab().save(buffer, "PNG")
        from io import BytesIO

        return Image.open(BytesIO(bytes(buffer.data()))).convert("RGB")

    def path(self, name: str) -> Path:
        """Return the file of a picture."""
        suffix = "" if self.theme == "dark" else f"-{self.theme}"
        return self.out / f"napari-{name}{suffix}.png"

    def picture(self, name: str) -> None:
        """Save a picture."""
        self.shown().save(self.path(name), optimize=True)
        print(self.path(name), flush=True)

    def animate(self) -> None:
        """Save the animation of all pictures."""
        frames = [Image.open(self.path(name)) for name in PICTURES]
        small = [frame.resize((SIZE[0] * 3 // 4, SIZE[1] * 3 // 4)) for frame in frames]
        shown = [frame.quantize(256, method=Image.Quantize.FASTOCTREE) for frame in small]
        shown[0].save(
            self.out / "napari-tour.gif",
            save_all=True,
            append_images=shown[1:],
            duration=2200,
            loop=0,
            optimize=True,
        )


def label(tour: Tour, study: Any) -> None:
    """Label half a case, as a hand would."""
    tour.open(StudyDock(tour.viewer), "Study")
    tour.session.open_study(study.folder)
    case = study.cases[5].id
    done = read_labels(study.folder.parent / "labels" / f"{case}.nii.gz").data
    tour.session.show_case(case)
    live(1)
    view = labelling_of(tour.session).view
    # What a person has drawn so far: two structures in the middle slices.
    values = view.values()
    middle = values.shape[2] // 2
    part = np.isin(done, (1, 2))
    part[..., : middle - 3] = False
    part[..., middle + 4 :] = False
    points = np.argwhere(part)
    data = view.grid.voxel_to_data(points).round().astype(int)
    view.labels.data_setitem(tuple(data.T), done[part])
    view.labels.mode = "paint"
    labelling_of(tour.session).save_all()
    live(1)
    tour.picture("label")


def train(tour: Tour, steps: int, start: bool) -> str:
    """Train for a short while, with a picture while it runs; returns the run's name."""
    dock = tour.open(TrainDock(tour.viewer), "Train")
    if start:
        start_training(dock, steps)
    wait(lambda: dock.run.progress is not None and dock.run.progress.step > steps // 3)
    # A case without labels, with what the newest checkpoint makes of it.
    dock.run.preview.watch(tour.session.study.cases[6].id)
    wait(lambda: dock.run.progress.step > steps // 2 and dock.run.preview.preview.step)
    live(1)
    dock.bring_up(dock.run)
    tour.picture("train")
    wait(lambda: dock.run.progress.state != "running", 3000)
    dock.run.preview.watch(None)
    return str(dock.run.folder.name)


def start_training(dock: TrainDock, steps: int) -> None:
    """Start a training that takes some minutes."""
    wait(dock.start_button.isEnabled)
    settings = preset("quick", 3)
    settings.steps = steps
    settings.checkpoint_every = settings.validate_every = max(1, steps // 12)
    settings.learning_rate, settings.threads = 3e-3, 1
    dock.setup.form.value = settings
    dock.start()


def predict(tour: Tour) -> None:
    """Predict the other cases and look at the most doubtful one."""
    dock = tour.content
    if not isinstance(dock, TrainDock):
        dock = tour.open(TrainDock(tour.viewer), "Train")
    wait(dock.predictions.predict_button.isEnabled)
    dock.predictions.predict()
    wait(lambda: bool(dock.predictions.review.items) and not dock.predictions.busy)
    dock.predictions.review.next_worst()
    live(3)
    dock.bring_up(dock.predictions)
    tour.picture("predict")


def correspond(tour: Tour, run: str) -> CorrespondenceDock:
    """Match a pair; one picture side by side, one with the grid."""
    # A labelled case as the fixed scan: its labels colour the features later.
    tour.session.show_case(tour.session.study.cases[1].id)
    live(1)
    dock = tour.open(CorrespondenceDock(tour.viewer), "Correspondence")
    match = dock.match_panel
    wait(lambda: match.model.findText(run) >= 0)
    match.model.setCurrentIndex(match.model.findText(run))
    dock.start()
    wait(lambda: tour.session.pair is not None)
    tour.give_room()
    for layer in find_layers(tour.viewer, "labels"):
        layer.contour, layer.mode = 1, "pan_zoom"
    for layer in find_layers(tour.viewer, "prediction"):
        tour.viewer.layers.remove(layer)
    dock.messages.clear()
    live(3)
    tour.picture("pair")
    dock.look_panel.view.setCurrentIndex(1)
    dock.tabs.setCurrentWidget(dock.evidence_panel)
    dock.evidence_panel.grid.click()
    live(2)
    tour.picture("grid")
    dock.evidence_panel.grid.click()
    dock.look_panel.view.setCurrentIndex(0)
    return dock


def probe(tour: Tour) -> None:
    """Probe one voxel and show what resembles it."""
    dock = tour.open(ProbeDock(tour.viewer), "Probe")
    pair = tour.session.pair
    wait(lambda: dock.pair is pair)
    voxel = np.array(pair.fixed.shape) * [0.38, 0.5, 0.5]
    dock.probe_at("fixed", pair.fixed.voxel_to_world(voxel.round()))
    wait(lambda: dock.latency is not None)
    live(2)
    tour.picture("probe")


def explore(tour: Tour) -> None:
    """Lay a scan's features out and select some of them."""
    for name, content in tour.viewer.window.dock_widgets.items():
        if "Moving" in name:
            content.parentWidget().setVisible(False)
    dock = tour.open(FeaturesDock(tour.viewer), "Features")
    wait(lambda: dock.setup.scan.source is not None)
    dock.start()
    wait(lambda: dock.runner.busy)
    wait(lambda: not dock.runner.busy)
    plot = dock.map.plots[0]
    places = plot.on_canvas()
    plot.selected.emit(places[:, 0] > np.percentile(places[:, 0], 75))
    live(2)
    tour.picture("features")


def main() -> None:
    """Take the tour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--folder", type=Path, help="keep the study here; use the run it has")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        study = phantom_study(3, folder)
        tour = Tour(options.theme, options.out)
        runs = sorted(study.runs_dir.iterdir()) if study.runs_dir.is_dir() else []
        running = [run for run in runs if RunFolder(run).state() == "running"]
        if runs and not running:
            run = runs[-1].name
            tour.session.open_study(study.folder)
        else:
            label(tour, study)
            run = train(tour, options.steps, start=not running)
        predict(tour)
        correspond(tour, run)
        probe(tour)
        explore(tour)
        if options.theme == "dark":
            tour.animate()
        print([layer.name for layer in find_layers(tour.viewer)], flush=True)
        tour.viewer.close()


if __name__ == "__main__":
    main()
