"""Draw the pictures of the documentation from a demo's output: real results, nothing retouched.

Usage: ``python scripts/make_pictures.py [DEMO_FOLDER]``; without a folder the 2D demo is run first
(``make docs-pictures``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_gemini.evaluation import pictures
from napari_gemini.evaluation.pair_files import PairFiles, find_by_stem, read_pair
from napari_gemini.evaluation.slices import View, sample
from napari_gemini.volumes.fields import map_points
from napari_gemini.volumes.reading import read_labels, read_volume

ROOT = Path(__file__).resolve().parents[1]
INK = "#e8edf2"
GRID_LINES = 22


class Overview:
    """The README's picture: five labels, the correspondence, the result, and what to distrust."""

    def __init__(self, demo: Path) -> None:
        self.result = json.loads((demo / "demo.json").read_text(encoding="utf-8"))
        self.pair: PairFiles = read_pair(demo / "pair")
        self.slicer = self.pair.slicer
        self.view: View = self.slicer.views[0]
        predictions = demo / "study" / "predictions" / "gemini-semi"
        self.predicted = read_labels(_file(predictions, self.result["pair"]["fixed"])).data
        labels = demo / "study" / "labels"
        self.labels = read_labels(_file(labels, self.result["pair"]["moving"]))
        self.moving = read_volume(_file(demo / "cohort" / "images", self.result["pair"]["moving"]))
        self.position = self.slicer.middle(self.predicted != 0)

    def write(self, path: Path) -> None:
        """Draw the four panels and write them as a PNG."""
        others = self.result["predicted"]
        dice = self.result["dice"]["gemini-semi"]
        panels: list[tuple[str, Callable[[Axes], Any]]] = [
            ("You label five scans", self.labelled),
            ("Every voxel finds its counterpart", self.correspondence),
            (f"Labels for the other {others} (Dice {dice:.2f})", self.result_labels),
            ("Where not to trust the match", self.distrust),
        ]
        figure = Figure(figsize=(13, 3.62), dpi=100, facecolor=pictures.BACKGROUND)
        for index, (title, draw) in enumerate(panels):
            axes = figure.add_axes((0.006 + index * 0.25, 0.02, 0.238, 0.87))
            draw(axes)
            axes.set_axis_off()
            axes.set_aspect("equal")
            # The scan fills its panel; what a grid has beyond it is not worth the space.
            extent = self.slicer.extent(self.view)
            axes.set_xlim(extent[0], extent[1])
            axes.set_ylim(extent[2], extent[3])
            figure.text(0.125 + index * 0.25, 0.93, title, color=INK, fontsize=13, ha="center")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor=pictures.BACKGROUND, metadata={"Software": None})

    def labelled(self, axes: Axes) -> None:
        """Draw the labelled scan with its labels."""
        slicer = type(self.slicer)(self.moving)
        position = slicer.middle(self.labels.data != 0)
        image = slicer.cut(self.moving.data.astype(np.float32), slicer.views[0], position)
        pictures.gray(axes, slicer, slicer.views[0], image, pictures.window_of(image))
        cut = slicer.cut(self.labels.data, slicer.views[0], position)
        pictures.contours(axes, slicer, slicer.views[0], cut, {})

    def correspondence(self, axes: Axes) -> None:
        """Draw the labelled scan and, on it, where the voxel grid of the other scan comes from."""
        if self.pair.displacement is None:
            raise SystemExit(f"There is no field in {self.pair.folder}.")
        world = self.slicer.world_points(self.view, self.position)
        mapped = map_points(self.pair.displacement, world)
        shift = (mapped - world).reshape(-1, world.shape[-1]).mean(axis=0)
        image = sample(self.moving, world + shift)
        pictures.gray(axes, self.slicer, self.view, image, pictures.window_of(image))
        step = max(1, max(self.slicer.shape) // GRID_LINES)
        pictures.mesh(axes, self.slicer.picture_points(self.view, mapped - shift), step)

    def result_labels(self, axes: Axes) -> None:
        """Draw the predicted labels of the other scan."""
        self._fixed(axes)
        cut = self.slicer.cut(self.predicted, self.view, self.position)
        pictures.contours(axes, self.slicer, self.view, cut, {})

    def distrust(self, axes: Axes) -> None:
        """Draw the similarity of the features; dark is doubtful."""
        similarity = self.pair.array("gss")
        if similarity is None:
            raise SystemExit(f"There is no similarity map in {self.pair.folder}.")
        seen = np.where(self.pair.mask, similarity, np.nan)
        cut = self.slicer.cut(seen, self.view, self.position)
        low = float(np.nanpercentile(seen, 1))
        pictures.colored(axes, self.slicer, self.view, cut, "inferno", (low, 1.0))

    def _fixed(self, axes: Axes) -> None:
        fixed = self.pair.fixed
        if fixed is None:
            raise SystemExit(f"The fixed scan of {self.pair.folder} is not there any more.")
        image = self.slicer.cut(fixed.data.astype(np.float32), self.view, self.position)
        pictures.gray(axes, self.slicer, self.view, image, pictures.window_of(image))


def _file(folder: Path, case: str) -> Path:
    found = find_by_stem(folder, case)
    if found is None:
        raise SystemExit(f"There is no {case} in {folder}.")
    return found


def run_demo(folder: Path) -> None:
    """Run the 2D demo into a folder unless it has been."""
    from napari_gemini.cli import main

    if not (folder / "demo.json").is_file():
        code = main(["demo", "--2d", "--headless", "--out", str(folder)])
        if code:
            raise SystemExit(code)


if __name__ == "__main__":
    demo_folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "demo-output-2d"
    run_demo(demo_folder)
    Overview(demo_folder).write(ROOT / "docs" / "images" / "overview.png")
