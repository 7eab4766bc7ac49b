"""Carry voxels, points and vectors from one scan of a pair to the other.

Images are pulled (each voxel of the target asks where it comes from), points are pushed. So an
image of the moving scan needs the map from fixed to moving, and its points need the other one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.sampling import sample_linear, sample_nearest, slab_positions, slabs
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.pair.pair_data import PairData

#: What is carried lies on this scan.
Side = Literal["moving", "fixed"]

_CHUNK = 1 << 18


def other_side(side: Side) -> Side:
    """Return where something from `side` is carried to."""
    return "fixed" if side == "moving" else "moving"


def scan_of(pair: PairData, side: Side) -> Volume:
    """Return the scan of a side."""
    return pair.moving if side == "moving" else pair.fixed


def carry_points(pair: PairData, points: ArrayLike, side: Side) -> FloatArray:
    """Push points (..., d) in RAS mm from the scan of a side to the other one."""
    if side == "moving":
        return pair.map_moving_to_fixed(points)
    return pair.map_fixed_to_moving(points)


def pull_points(pair: PairData, points: ArrayLike, side: Side) -> FloatArray:
    """Ask for points (..., d) of the target where they come from on the scan of a side."""
    return carry_points(pair, points, other_side(side))


def carry_volume(pair: PairData, volume: Volume, side: Side, *, labels: bool) -> NDArray[Any]:
    """Resample something that lies on the scan of a side onto the other scan's voxels.

    Parameters
    ----------
    pair
        The map.
    volume
        An image or label map in the world of that scan (its grid may be another).
    side
        Whose world it is.
    labels
        Take the voxel that a position lies in instead of interpolating linearly.

    Returns
    -------
    ndarray
        File order of the other scan; labels in their type, images as float32; 0 outside. By the
        same rules as the files that ``correspond`` writes.

    Raises
    ------
    InputError
        If the volume has another dimension than the pair.
    """
    if volume.ndim != pair.ndim:
        raise InputError(
            f"{volume.name} is {volume.ndim}D and the pair is {pair.ndim}D; choose a layer of the "
            "same dimension."
        )
    target = scan_of(pair, other_side(side))
    result = np.zeros(target.shape, volume.data.dtype if labels else np.float32)
    for slab in slabs(target.shape, _CHUNK):
        world = np.moveaxis(slab_positions(target.affine, target.shape, slab), 0, -1)
        source = volume.world_to_voxel(pull_points(pair, world, side))
        # What cannot be inverted comes from nowhere.
        positions = np.moveaxis(np.nan_to_num(source, nan=-10.0), -1, 0)
        if labels:
            result[slab] = sample_nearest(volume.data, positions)
        else:
            result[slab] = sample_linear(volume.data, positions)
    return result


def carry_vectors(
    pair: PairData, starts: ArrayLike, directions: ArrayLike, side: Side
) -> tuple[FloatArray, FloatArray]:
    """Push vectors by both of their ends, RAS mm.

    Returns
    -------
    starts, directions
        (N, d) each, in the other scan's world.
    """
    starts = np.asarray(starts, dtype=np.float64)
    landed = carry_points(pair, starts, side)
    tips = carry_points(pair, starts + np.asarray(directions, dtype=np.float64), side)
    return landed, tips - landed
