"""Few-shot training from a scene with the real engine, from the study to the prediction."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.geometry import WorldGrid
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import read_array
from GeminiPropagateLib.results_table import STATUS, cell, results_table
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.scene_study import SceneStudy, common_labels
from GeminiPropagateLib.segmentations import label_map_of, labels_of_segmentation
from GeminiPropagateLib.training import FewShotTraining, FewShotUpdate
from GeminiPropagateLib.training_run import TrainOptions

from tests.slicer_module.mrml.helpers import GRIDS, add_segmentation, add_volume, blocks

TINY = TrainOptions(
    "quick",
    steps=100_000,
    device="cpu",
    assignments=("network.base_width=4", "checkpoint_every=2", "validate_every=1000"),
)
LABELS = [Label(5, "outer", (1.0, 0.0, 0.0)), Label(300, "inner"), Label(2, "lower")]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    # A test that failed must not leave a training behind.
    for run in tmp_path.glob("study/runs/*"):
        (run / "stop").touch()


def follow(
    training: FewShotTraining, until: Callable[[FewShotUpdate], object], timeout: float = 280.0
) -> list[tuple[Any, Any]]:
    """Poll until something is so; return what was imported on the way."""
    imported: list[tuple[Any, Any]] = []
    end = time.monotonic() + timeout
    while True:
        update = training.poll()
        imported += update.imported
        assert update.phase != "failed", update.error
        if until(update):
            return imported
        assert time.monotonic() < end, update.message
        time.sleep(0.05)


def tiny_scans(scene: Any) -> tuple[list[AtlasNodes], list[Any]]:
    """Return two scans with labels and two without, as small as a network takes."""
    shape, grids = (16, 15, 14), list(GRIDS)
    rng = np.random.default_rng(0)
    volumes = []
    for name in grids[:4]:
        array = (blocks(shape) + rng.normal(0, 20, shape)).astype(np.float32)
        volumes.append(add_volume(scene, array, GRIDS[name], f"scan {name}"))
    pairs = [
        AtlasNodes(volume, add_segmentation(scene, volume, blocks(shape), LABELS))
        for volume in volumes[:2]
    ]
    return pairs, volumes[2:]


@pytest.mark.slow
def test_from_segmented_volumes_to_labels_of_the_others(scene: Any, folder: Path) -> None:
    pairs, others = tiny_scans(scene)
    training = FewShotTraining(scene, sys.executable, folder, ENVIRONMENT)
    training.start(pairs, others, TINY)
    assert training.poll().phase == "preparing"
    with pytest.raises(PropagateError, match="no trained model yet"):
        training.predict()
    follow(training, lambda update: update.training is not None and update.training.step >= 3)
    training.stop()
    follow(training, lambda update: update.phase == "trained")
    stopped = training.poll().training
    assert stopped is not None
    assert stopped.state == "stopped"
    training.close()

    # As after a restart of Slicer: only the folder is known.
    again = FewShotTraining(scene, sys.executable, folder, ENVIRONMENT)
    again.resume("cpu")
    step = stopped.step
    follow(again, lambda update: update.training is not None and update.training.step > step)
    again.stop()
    follow(again, lambda update: update.phase == "trained")

    again.predict(device="cpu")
    imported = follow(again, lambda update: update.phase == "done")
    again.close()
    assert {id(target) for target, _ in imported} == {id(other) for other in others}
    wanted = labels_of_segmentation(pairs[0].segmentation)
    for target, segmentation in imported:
        found = labels_of_segmentation(segmentation)
        assert [(x.value, x.name) for x in found] == [(x.value, x.name) for x in wanted]
        assert (
            label_map_of(segmentation, target).shape[::-1] == target.GetImageData().GetDimensions()
        )
    table = results_table(scene)
    assert [cell(table, row, STATUS) for row in range(2)] == ["predicted", "predicted"]
    with pytest.raises(PropagateError, match="holds a study already"):
        again.start(pairs, others, TINY)


def test_a_study_that_cannot_be_made_is_a_sentence(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(scene, np.zeros((8, 8, 8), np.uint8), GRIDS["flipped"], "only one")
    pair = AtlasNodes(volume, add_segmentation(scene, volume, blocks((8, 8, 8)), [Label(5, "a")]))
    training = FewShotTraining(scene, sys.executable, tmp_path / "study", ENVIRONMENT)
    training.start([pair], [], TINY)
    end = time.monotonic() + 240
    while (update := training.poll()).phase == "preparing":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert update.phase == "failed"
    assert "at least two scans" in update.error
    training.close()


def test_labels_are_matched_by_name_and_keep_the_first_values(scene: Any, tmp_path: Path) -> None:
    volumes = [add_volume(scene, np.zeros((10, 11, 12), np.uint8), GRIDS[n], n) for n in GRIDS]
    first = [Label(7, "liver", (1, 0, 0)), Label(9, "spleen")]
    second = [Label(7, "spleen"), Label(9, "kidney")]
    maps = blocks((10, 11, 12), (7, 9))
    segmentations = [
        add_segmentation(scene, volumes[0], maps, first),
        add_segmentation(scene, volumes[1], maps, second),
    ]
    common = common_labels(segmentations)
    assert [(label.value, label.name) for label in common] == [
        (7, "liver"),
        (9, "spleen"),
        (10, "kidney"),
    ]
    study = SceneStudy(tmp_path)
    pairs = [AtlasNodes(v, s) for v, s in zip(volumes[:2], segmentations, strict=True)]
    study.write(pairs, volumes[2:3])
    again = SceneStudy(tmp_path)
    again.read()
    assert again.labels == study.labels
    assert [case.labelled for case in again.cases] == [True, True, False]
    assert again.node_of(again.cases[2], scene) is volumes[2]
    assert len(list((tmp_path / "labels").iterdir())) == 2
    written = read_array(tmp_path / "labels" / "anisotropic.nrrd", WorldGrid(volumes[1]))
    assert set(np.unique(written)) == {0, 9, 10}


def test_two_segments_of_one_name_are_refused(scene: Any) -> None:
    volume = add_volume(scene, np.zeros((8, 8, 8), np.uint8), GRIDS["flipped"])
    node = add_segmentation(
        scene, volume, blocks((8, 8, 8), (1, 2)), [Label(1, "rib"), Label(2, "rib")]
    )
    with pytest.raises(PropagateError, match="two segments called rib"):
        common_labels([node])
