"""Painting and looking at what is on disk."""

from __future__ import annotations

import numpy as np

from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels


def on_disk(study: Study, case: str) -> np.ndarray:
    """Return the saved labels of a case."""
    return read_labels(study.labels_path(case)).data


def paint(labelling, voxel, value=1):
    """Paint one voxel of the file through the labels layer."""
    view = labelling.view
    view.labels.brush_size = 1
    view.labels.n_edit_dimensions = len(voxel)
    view.labels.paint(view.grid.voxel_to_data(voxel), value)


def listen(session) -> list[tuple[str, str]]:
    """Collect every sentence that is said."""
    said: list[tuple[str, str]] = []
    session.message.connect(lambda level, sentence: said.append((level, sentence)))
    return said
