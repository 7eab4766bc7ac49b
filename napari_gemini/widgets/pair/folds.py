"""Where a map folds: connected regions, largest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_gemini.volumes.volume import Volume

#: Values of the map: by the digital criterion only, by central differences too.
DIGITAL, CENTRAL = 1, 2


@dataclass(frozen=True)
class Fold:
    """One connected region in which a map folds.

    Parameters
    ----------
    voxels
        Its size.
    volume
        In mm³ (mm² in 2D); in voxels where the spacing is unknown.
    central
        How many of its voxels fold by central differences too.
    voxel
        File index of its voxel that lies deepest within it.
    """

    voxels: int
    volume: float
    central: int
    voxel: tuple[int, ...]


def find_folds(folds: Volume) -> list[Fold]:
    """List the connected regions (neighbours by corners count) of a map of folds.

    Parameters
    ----------
    folds
        0 none, 1 by the digital criterion only, 2 by central differences.

    Returns
    -------
    list of Fold
        Largest first.
    """
    data = np.asarray(folds.data)
    labels, count = ndimage.label(data > 0, structure=np.ones((3,) * data.ndim))
    size = float(np.prod(folds.spacing)) if folds.spacing_known else 1.0
    found = []
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        if box is None:
            continue
        inside = labels[box] == number
        # One voxel of margin, so that the border of the box counts as outside.
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))
        at = np.unravel_index(int(np.argmax(depth)), depth.shape)
        voxel = tuple(int(i) - 1 + part.start for i, part in zip(at, box, strict=True))
        voxels = int(inside.sum())
        central = int((inside & (data[box] == CENTRAL)).sum())
        found.append(Fold(voxels, voxels * size, central, voxel))
    return sorted(found, key=lambda fold: (-fold.voxels, fold.voxel))
