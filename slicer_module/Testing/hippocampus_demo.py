"""Propagate one labelled hippocampus to five others through the module's library, and draw it.

Needs napari-gemini with its ``engine`` extra, ``slicer-core``, and the public hippocampus scans
(Medical Segmentation Decathlon, Task04) as ``images/`` and ``labels/`` with ``split.json``::

    python slicer_module/Testing/hippocampus_demo.py DATA [--pictures slicer_module/Screenshots]

Prints the Dice of each target and structure as JSON. Pictures are rendered with slicer-core, not by
the Slicer application.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "GeminiPropagate")]

from GeminiPropagateLib import qa  # noqa: E402
from GeminiPropagateLib.jobs import PropagateOptions  # noqa: E402
from GeminiPropagateLib.labels import Label  # noqa: E402
from GeminiPropagateLib.mrml_io import read_node  # noqa: E402
from GeminiPropagateLib.results import ImportedTarget  # noqa: E402
from GeminiPropagateLib.scene_nodes import AtlasNodes  # noqa: E402
from GeminiPropagateLib.scene_run import ScenePropagation  # noqa: E402
from GeminiPropagateLib.segmentations import label_map_of, read_labels_into  # noqa: E402
from slice_views import SliceView, write_picture  # noqa: E402

LABELS = (
    Label(1, "Anterior hippocampus", (0.90, 0.35, 0.15)),
    Label(2, "Posterior hippocampus", (0.20, 0.55, 0.90)),
)
TARGETS = 5
SIZE = 300


def load(scene: Any, data: Path, case: str) -> Any:
    """Load a scan of the data set."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", case)
    read_node(node, data / "images" / f"{case}.nii.gz")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(1)
    return node


def segmentation_of(scene: Any, data: Path, case: str, volume: Any) -> Any:
    """Load the hand-made labels of a scan as a segmentation."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{case} by hand")
    read_labels_into(node, data / "labels" / f"{case}.nii.gz", LABELS, volume)
    node.GetDisplayNode().SetVisibility(False)
    return node


def dice(ours: np.ndarray, theirs: np.ndarray, value: int) -> float:
    """Return the overlap of one label in two label maps."""
    total = np.count_nonzero(ours == value) + np.count_nonzero(theirs == value)
    return 2.0 * np.count_nonzero((ours == value) & (theirs == value)) / total


def propagate(scene: Any, atlas: AtlasNodes, targets: list[Any], arguments: Any) -> list[Any]:
    """Run the engine and return what was imported."""
    run = ScenePropagation(scene, arguments.python)
    options = PropagateOptions(model=arguments.model, device=arguments.device)
    run.start([atlas], targets, options)
    imported: list[ImportedTarget] = []
    state = "running"
    while state in ("waiting", "running"):
        update = run.poll()
        imported += update.imported
        state = update.run.state
        for level, text in update.run.log:
            if level != "debug":
                print(text, file=sys.stderr)
        time.sleep(0.2)
    run.close()
    if state != "done":
        raise SystemExit(update.run.error or state)
    return imported


def draw(scene: Any, atlas: AtlasNodes, truth: Any, found: ImportedTarget, folder: Path) -> None:
    """Draw one target: labels, field and maps, three pictures side by side each."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = found.nodes
    # The results of the other targets are in the scene as well.
    qa.show_target(nodes, jump=False)
    view = SliceView(scene, "Sagittal", SIZE)

    def picture(volume: Any, segmentation: Any, middle_of: Any) -> np.ndarray:
        for node in (atlas.segmentation, truth, nodes.segmentation):
            node.GetDisplayNode().SetVisibility(node is segmentation)
        view.fit(volume, middle_of)
        return view.render()

    middle = qa.middle_of(nodes)
    atlas_middle = [0.0] * 6
    atlas.segmentation.GetRASBounds(atlas_middle)
    there = tuple((atlas_middle[2 * n] + atlas_middle[2 * n + 1]) / 2 for n in range(3))
    rows = [
        picture(atlas.volume, atlas.segmentation, there),
        picture(nodes.target, nodes.segmentation, middle),
        picture(nodes.target, truth, middle),
    ]
    write_picture(folder / "labels.png", np.concatenate(rows, axis=1))
    field = []
    for mode in (qa.GRID, qa.GLYPH, qa.CONTOUR):
        qa.show_transform(nodes.transform, nodes.target, mode, found.largest_displacement_mm)
        field.append(picture(nodes.target, nodes.segmentation, middle))
    qa.show_transform(nodes.transform, nodes.target, None)
    write_picture(folder / "field.png", np.concatenate(field, axis=1))
    maps = []
    for overlay in (qa.WARPED, qa.LOG_JACOBIAN, qa.GSS if nodes.gss is not None else qa.GVS):
        view.fit(nodes.target, middle)
        qa.show_overlay(nodes, overlay, 1.0 if overlay == qa.WARPED else 0.6)
        nodes.segmentation.GetDisplayNode().SetVisibility(overlay == qa.WARPED)
        maps.append(view.render())
    qa.show_overlay(nodes, qa.NONE)
    write_picture(folder / "maps.png", np.concatenate(maps, axis=1))


def main(scene: Any = None, run: Any = propagate) -> None:
    """Run the demo.

    Parameters
    ----------
    scene
        An MRML scene; None: a new one.
    run
        Like :func:`propagate`, such as one that goes through the module's Logic.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images, labels and split.json")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the engine")
    parser.add_argument("--model", help="model; the shipped one, or none where there is none")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    split = json.loads((arguments.data / "split.json").read_text(encoding="utf-8"))
    first = next(iter(split["labelled"].values()))[0]
    cases = [case for case in split["pool"] if case != first][:TARGETS]
    scene = slicer.vtkMRMLScene() if scene is None else scene
    logics = [slicer.vtkMRMLColorLogic(), slicer.vtkSlicerSegmentationsModuleLogic()]
    for logic in logics:
        logic.SetMRMLScene(scene)
    volume = load(scene, arguments.data, first)
    atlas = AtlasNodes(volume, segmentation_of(scene, arguments.data, first, volume))
    targets = {case: load(scene, arguments.data, case) for case in cases}
    truths = {case: segmentation_of(scene, arguments.data, case, targets[case]) for case in cases}

    imported = run(scene, atlas, list(targets.values()), arguments)
    scores = {}
    for found in imported:
        case = found.nodes.target.GetName()
        ours = label_map_of(found.nodes.segmentation, found.nodes.target)
        theirs = label_map_of(truths[case], found.nodes.target)
        scores[case] = {
            **{label.name: round(dice(ours, theirs, label.value), 3) for label in LABELS},
            "confidence": found.confidence,
            "fold_percent": found.fold_percent,
            "warnings": found.warnings,
        }
    means = {
        label.name: round(float(np.mean([row[label.name] for row in scores.values()])), 3)
        for label in LABELS
    }
    model = imported[0].report.get("model")
    print(json.dumps({"atlas": first, "model": model, "dice": scores, "mean": means}, indent=1))
    if arguments.pictures is not None:
        best = max(imported, key=lambda found: found.confidence or 0.0)
        draw(scene, atlas, truths[best.nodes.target.GetName()], best, arguments.pictures)


if __name__ == "__main__":
    main()
