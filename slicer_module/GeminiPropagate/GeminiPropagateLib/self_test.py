# ruff: noqa: PT009, PT027 - real Slicer has no pytest.
"""The module's self-test: the same steps in real Slicer and in the project's own tests.

The steps that compute need a Python with napari-gemini, named by the environment variable
``GEMINI_ATLAS_PYTHON``; without it they say that they were left out.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import slicer

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.interpreters import Interpreter, external_python
from GeminiPropagateLib.jobs import PropagateOptions
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.results_table import results_table, target_of_row
from GeminiPropagateLib.scene_nodes import AtlasNodes, nodes_of_target
from GeminiPropagateLib.segmentations import fill_segmentation, label_map_of
from GeminiPropagateLib.session import CANCELLED, FINAL_STATES

PYTHON = "GEMINI_ATLAS_PYTHON"
_SHAPE = (36, 40, 44)
_SPACING = (2.0, 1.5, 1.8)
_NAMES = {3: "core", 7: "shell"}


def panel_opens_without_an_engine(case: Any) -> None:
    """See that the panel is there and says what is missing."""
    ui = slicer.util.getModuleWidget("GeminiPropagate").ui
    case.assertFalse(ui.applyButton.enabled)
    case.assertIn("atlas", ui.applyButton.toolTip)


def a_missing_python_is_one_sentence(case: Any) -> None:
    """See that an interpreter that is not there is an error that says what to do."""
    with case.assertRaisesRegex(PropagateError, "under Compute"):
        external_python("/no/such/python", slicer.util.startupEnvironment())


def labels_reach_the_target(case: Any) -> None:
    """See that names, values and geometry arrive, and that labels meet the target's anatomy."""
    interpreter = _interpreter(case)
    if interpreter is None:
        return
    volume, segmentation = _atlas()
    target, truth = _phantom("Target", (2.5, -2.0, 3.0), oblique=True)
    logic = slicer.util.getModuleWidget("GeminiPropagate").logic
    options = PropagateOptions(model="none", device="cpu", refine=30)
    (imported,) = logic.propagate(
        interpreter, [AtlasNodes(volume, segmentation)], [target], options
    )
    case.assertEqual([text for text in imported.warnings if "Slicer" in text], [])
    nodes = nodes_of_target(target)
    result = nodes.segmentation.GetSegmentation()
    found = {}
    for number in range(result.GetNumberOfSegments()):
        segment = result.GetNthSegment(number)
        found[segment.GetLabelValue()] = segment.GetName()
    case.assertEqual(found, _NAMES)
    carried = label_map_of(nodes.segmentation, target)
    for value in _NAMES:
        overlap = np.sum((carried == value) & (truth == value))
        dice = 2 * overlap / (np.sum(carried == value) + np.sum(truth == value))
        case.assertGreater(dice, 0.75)
    case.assertIs(target_of_row(results_table(slicer.mrmlScene), 0), target)


def a_closed_scene_ends_the_run(case: Any) -> None:
    """See that closing the scene under a run cancels it."""
    interpreter = _interpreter(case)
    if interpreter is None:
        return
    volume, segmentation = _atlas()
    target, _ = _phantom("Target", (1.0, 1.0, 1.0))
    logic = slicer.util.getModuleWidget("GeminiPropagate").logic
    options = PropagateOptions(model="none", device="cpu", refine=100_000)
    logic.startPropagation(interpreter, [AtlasNodes(volume, segmentation)], [target], options)
    propagation = logic.propagation
    slicer.mrmlScene.Clear()
    until = time.monotonic() + 240
    while (state := propagation.poll().run.state) not in FINAL_STATES:
        case.assertLess(time.monotonic(), until)
        time.sleep(0.1)
    case.assertEqual(state, CANCELLED)
    logic.endPropagation()


#: What the module's test runs, each on an empty scene.
TESTS = (
    panel_opens_without_an_engine,
    a_missing_python_is_one_sentence,
    labels_reach_the_target,
    a_closed_scene_ends_the_run,
)


def _interpreter(case: Any) -> Interpreter | None:
    path = os.environ.get(PYTHON, "")
    if not path:
        case.delayDisplay(f"Left out: {PYTHON} names no Python with napari-gemini")
        return None
    return external_python(path, slicer.util.startupEnvironment())


def _atlas() -> tuple[Any, Any]:
    volume, labels = _phantom("Atlas", (0.0, 0.0, 0.0))
    scene = slicer.mrmlScene
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Atlas segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    names = [Label(value, name) for value, name in _NAMES.items()]
    fill_segmentation(segmentation, labels, names, volume)
    return volume, segmentation


def _phantom(
    name: str, shift: tuple[float, float, float], oblique: bool = False
) -> tuple[Any, np.ndarray[Any, Any]]:
    """Make a volume of two nested ellipsoids, moved by a shift in mm, and its labels."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in _SHAPE), indexing="ij")
    x, y, z = (
        (index - (count - 1) / 2) * step - move
        for index, count, step, move in zip((i, j, k), _SHAPE[::-1], _SPACING, shift, strict=True)
    )
    radius = np.sqrt((x / 24) ** 2 + (y / 18) ** 2 + (z / 20) ** 2)
    labels = np.where(radius < 0.55, 3, np.where(radius < 1.0, 7, 0))
    texture = 4 * np.cos(x / 5) * np.cos(y / 6) * np.cos(z / 7)
    image = np.select([labels == 3, labels == 7], [180.0, 110.0], 20.0) + texture
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, image.astype(np.float32))
    angle = np.deg2rad(12.0 if oblique else 0.0)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * _SPACING
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(_SHAPE[::-1]) - 1) / 2)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node, labels
