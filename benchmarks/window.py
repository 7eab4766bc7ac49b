"""How responsive the window is: timer gaps under a training, grid, probe, scatter, saving.

    xvfb-run -a python benchmarks/window.py

A real window on a phantom study; the child and the training are real processes. Software OpenGL
(llvmpipe, under Xvfb) is what most of the drawing time is spent in. Wall time is what a user waits
for; processor time is what this process took of it, all its threads together.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import nibabel as nib
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.launch import start_training, stop_run
from napari_gemini.settings import preset
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.files.samples import phantom_study
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.plots.scatter import ScatterPlot
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.study.labelling import labelling_of
from napari_gemini.widgets.training.dock import TrainDock

TIMER_MS = 10
#: A large scan, 79 million voxels.
LARGE = (512, 512, 300)


def wait(condition: Callable[[], Any], seconds: float = 300) -> None:
    """Let the window live until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window waited too long")
        QApplication.processEvents()
        time.sleep(0.002)


def timer_gaps(seconds: float) -> np.ndarray:
    """Return the gaps between the ticks of a GUI timer, in milliseconds."""
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(TIMER_MS)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.001)
    timer.stop()
    return np.diff(ticks) * 1000


def milliseconds(action: Callable[[int], Any], repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how long each of some calls takes, events included: wall and processor time."""
    taken = []
    for index in range(repeats):
        start = time.perf_counter(), time.process_time()
        action(index)
        QApplication.processEvents()
        taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, busy = np.array(taken).T * 1000
    return wall, busy


def tell(what: str, values: np.ndarray | tuple[np.ndarray, np.ndarray], budget: float) -> None:
    """Print median, 99th percentile and budget; of processor time the median."""
    wall, busy = values if isinstance(values, tuple) else (values, None)
    p99 = np.percentile(wall, 99)
    verdict = "within" if p99 <= budget else "OVER"
    processor = "" if busy is None else f", processor {np.median(busy):.1f}"
    print(
        f"{what:<48} median {np.median(wall):7.1f}  p99 {p99:7.1f}  max {wall.max():7.1f} ms  "
        f"({verdict} {budget:g}{processor})",
        flush=True,
    )


def main() -> None:
    """Measure all of it in one window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of watching the timer")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--strokes", action="store_true", help="measure saving alone")
    parser.add_argument("--scatter", action="store_true", help="measure the scatter alone")
    options = parser.parse_args()
    print(f"load at the start {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.strokes:
            measure_strokes(Path(folder))
            return
        if options.scatter:
            application = QApplication.instance() or QApplication([])
            measure_scatter(options.points)
            application.quit()
            return
        study = phantom_study(3, Path(folder))
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1280, 800)
        session = get_session(viewer)
        train = TrainDock(viewer)
        viewer.window.add_dock_widget(train, name="Train")
        session.open_study(study.folder)
        session.show_case(study.cases[0].id)
        tell("timer gap, idle", timer_gaps(options.seconds / 2), 50)

        settings = preset("quick", 3)
        settings.threads = 1
        run = start_training(TrainJob(study=study.folder, run="bench", settings=settings))
        wait(lambda: train.run.progress is not None and train.run.progress.step > 2)
        tell("timer gap, training and live curves", timer_gaps(options.seconds), 50)
        stop_run(run)

        measure_pair(viewer, study)
        measure_scatter(options.points)
        viewer.close()
        measure_strokes(Path(folder))
    print(f"load at the end {os.getloadavg()[0]:.1f}")


def measure_pair(viewer: napari.Viewer, study: Any) -> None:
    """Grid and probe on a pair of phantoms."""
    session = get_session(viewer)
    dock = CorrespondenceDock(viewer)
    viewer.window.add_dock_widget(dock, name="Correspondence")
    wait(lambda: dock.match_panel.request is not None)
    dock.match_panel.refine.setValue(20)
    dock.start()
    wait(lambda: session.pair is not None)
    view = dock.view
    assert view is not None
    view.deformation.set_grid(True)
    depth = viewer.dims.nsteps[0]
    tell("deformation grid, drawn anew", milliseconds(lambda _: view.deformation.refresh(), 40), 50)
    tell(
        "slider step with the grid",
        milliseconds(lambda k: viewer.dims.set_current_step(0, 8 + k % (depth - 16)), 40),
        50,
    )
    probe = ProbeDock(viewer)
    viewer.window.add_dock_widget(probe, name="Probe")
    pair = session.pair
    assert pair is not None
    wait(lambda: probe.pair is pair)
    generator = np.random.default_rng(0)
    taken = []
    for _ in range(12):
        probe.latency = None
        voxel = generator.integers(6, np.array(pair.fixed.shape) - 6)
        probe.probe_at("fixed", pair.fixed.voxel_to_world(voxel))
        wait(lambda: probe.latency is not None)
        taken.append(probe.latency * 1000)
    # The first one computes the features.
    print(f"{'first probe, features computed':<48} {taken[0]:.0f} ms")
    tell("probe, features cached", np.array(taken[1:]), 200)


def measure_strokes(folder: Path) -> None:
    """Strokes on a large map until they are on disk, and leaving its case."""
    images = folder / "large"
    images.mkdir()
    data = np.zeros(LARGE, np.int16, order="F")
    data[100:400, 100:400, 50:250] = 100
    scan = nib.Nifti1Image(data, np.diag([-0.8, -0.8, 1, 1]))
    for name in ("scan", "other"):
        nib.save(scan, images / f"{name}.nii")
    scheme = LabelScheme(names={1: "one", 2: "two"})
    study = Study.create(folder / "large-study", [images], scheme=scheme)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    session = get_session(viewer)
    session.open_study(study.folder)
    session.show_case("scan")
    labelling = labelling_of(session)
    wait(lambda: labelling.view is not None)
    view, autosave = labelling.view, labelling.autosave
    assert view is not None
    view.labels.brush_size = 40
    generator = np.random.default_rng(0)
    taken = []
    for number in range(12):
        start = time.monotonic()
        voxel = generator.integers(60, np.array(LARGE) - 60)
        view.labels.paint(view.grid.voxel_to_data(voxel), 1 + number % 2)
        wait(lambda: not autosave.unsaved)
        taken.append((time.monotonic() - start) * 1000)
    tell(f"stroke on {' x '.join(map(str, LARGE))} until on disk", np.array(taken), 3000)
    gaps = timer_gaps(5)
    tell("timer gap while its file is packed", gaps, 50)
    view.labels.paint(view.grid.voxel_to_data(np.array(LARGE) // 2), 1)
    start = time.monotonic()
    labelling.save_all()
    print(f"{'leaving the case, file written':<48} {(time.monotonic() - start) * 1000:.0f} ms")
    viewer.close()


def measure_scatter(count: int) -> None:
    """Frames of the scatter on the screen: moved, selected, and while the layout takes shape."""
    plot = ScatterPlot("Points")
    plot.resize(500, 500)
    plot.show()
    wait(plot.isVisible, 10)
    generator = np.random.default_rng(0)
    places = generator.normal(size=(count, 2))
    plot.set_points(places, np.column_stack([generator.random((count, 3)), np.ones(count)]))
    mask = generator.random(count) < 0.3
    native = plot.canvas.native
    changes: dict[str, Callable[[int], Any]] = {
        "moved": lambda k: plot.view.camera.pan((0.01, 0)),
        "selected": lambda k: plot.select(mask if k % 2 else ~mask),
        "laid out anew": lambda k: plot.set_points(places * (1 + 0.01 * k)),
    }
    for name, change in changes.items():
        drawn = milliseconds(lambda k, change=change: (change(k), native.repaint()), 30)
        tell(f"scatter of {count} points, {name}", drawn, 100)
    plot.close_canvas()


if __name__ == "__main__":
    main()
