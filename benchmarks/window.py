"""How responsive the window is: GUI timer gaps under a training, grid, probe and scatter updates.

    xvfb-run -a python benchmarks/window.py

A real window on a phantom study; the child and the training are real processes. Software OpenGL
(llvmpipe, under Xvfb) is what most of the drawing time is spent in.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.launch import start_training, stop_run
from napari_gemini.settings import preset
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.files.samples import phantom_study
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.plots.scatter import ScatterPlot
from napari_gemini.widgets.probing.dock import ProbeDock
from napari_gemini.widgets.training.dock import TrainDock

TIMER_MS = 10


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


def milliseconds(action: Callable[[int], None], repeats: int) -> np.ndarray:
    """Return how long each of some calls takes, events included."""
    taken = []
    for index in range(repeats):
        start = time.perf_counter()
        action(index)
        QApplication.processEvents()
        taken.append((time.perf_counter() - start) * 1000)
    return np.array(taken)


def tell(what: str, values: np.ndarray, budget: float, unit: str = "ms") -> None:
    """Print median, 99th percentile and budget."""
    p99 = np.percentile(values, 99)
    verdict = "within" if p99 <= budget else "OVER"
    print(
        f"{what:<48} median {np.median(values):7.1f}  p99 {p99:7.1f}  max {values.max():7.1f} "
        f"{unit}  ({verdict} {budget:g})",
        flush=True,
    )


def main() -> None:
    """Measure all of it in one window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of watching the timer")
    parser.add_argument("--points", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
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


def measure_scatter(count: int) -> None:
    """Frames of the scatter while it is moved."""
    plot = ScatterPlot("Points")
    plot.resize(500, 500)
    plot.show()
    generator = np.random.default_rng(0)
    plot.set_points(generator.normal(size=(count, 2)), generator.random((count, 3)))
    plot.canvas.render()
    tell(
        f"scatter of {count} points, a frame",
        milliseconds(lambda _: plot.canvas.render() is None, 20),
        100,
    )
    mask = generator.random(count) < 0.3
    tell(
        f"scatter of {count} points, a selection",
        milliseconds(lambda k: plot.select(mask if k % 2 else ~mask), 20),
        100,
    )
    plot.close_canvas()


if __name__ == "__main__":
    main()
