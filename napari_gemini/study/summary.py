"""What a label map holds, in the few numbers that a table of cases shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.study.scheme import BACKGROUND, unique_values
from napari_gemini.volumes.geometry import FloatArray, canonical_axes


@dataclass(frozen=True)
class LabelSummary:
    """Contents of one label map.

    Attributes
    ----------
    values
        Label values present, ascending, background left out.
    slices
        Axial slices with a label; in 2D 1 or 0.
    of
        Axial slices there are; 1 in 2D.
    """

    values: tuple[int, ...]
    slices: int
    of: int


def summarise(labels: NDArray[Any], affine: FloatArray) -> LabelSummary:
    """Summarise a label map.

    Parameters
    ----------
    labels : (*shape) int
        In file order.
    affine
        (4, 4) voxel index to RAS mm; says which axis is the axial one.
    """
    values = tuple(int(v) for v in unique_values(labels) if v != BACKGROUND)
    if labels.ndim == 2:
        return LabelSummary(values, int(bool(values)), 1)
    axial = canonical_axes(affine, 3)[0][2]
    others = tuple(axis for axis in range(3) if axis != axial)
    touched = int(np.count_nonzero(labels.any(axis=others)))
    return LabelSummary(values, touched, labels.shape[axial])
