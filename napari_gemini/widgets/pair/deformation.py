"""Grid lines and arrows that show a deformation in one slice, as line segments for napari.

Two grids say two things. The **moving scan's grid** is drawn on the fixed scan where the tissue
under it ends up, so it deforms as the warped image does. The **fixed scan's grid** is drawn on the
moving scan, each vertex where the field sends it: there the fixed image takes its values from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.geometry import FloatArray, transform_points
from napari_gemini.volumes.sampling import inside_mask
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.pair.pair_data import PairData

#: Straight pieces of a line between two crossings.
PIECES = 3
#: Lines across the longer side of a slice where the user says nothing.
DEFAULT_LINES = 24


@dataclass(frozen=True)
class Plane:
    """A slice of a canvas grid.

    Parameters
    ----------
    displayed
        The two canvas axes that are seen, vertical first.
    index
        Canvas data index of the slice along the remaining axis; unused in 2D.
    """

    displayed: tuple[int, int]
    index: float = 0.0

    def through(self, ndim: int) -> int | None:
        """Return the axis that runs through the slice, None in 2D."""
        rest = [axis for axis in range(ndim) if axis not in self.displayed]
        return rest[0] if rest else None


def default_spacing(grid: CanvasGrid) -> float:
    """Return a spacing of lines, in the unit of the grid, that suits a scan: 1, 2, 5, 10 ..."""
    longest = max(n * s for n, s in zip(grid.shape, grid.spacing, strict=True))
    wanted = longest / DEFAULT_LINES
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(next(power * step for step in (1, 2, 5, 10) if power * step >= wanted - 1e-9))


def line_vertices(grid: CanvasGrid, plane: Plane, spacing: float) -> list[FloatArray]:
    """Return the undeformed lines of a slice.

    Parameters
    ----------
    grid
        The scan.
    plane
        The slice.
    spacing
        Distance of the lines in the unit of the grid.

    Returns
    -------
    list of ndarray
        One (lines, vertices, d) of canvas data indices for each direction; every
        :data:`PIECES`-th vertex is a crossing.
    """
    ticks = [_ticks(grid.shape[axis], spacing / grid.spacing[axis]) for axis in plane.displayed]
    fine = [_finer(t) for t in ticks]
    through = plane.through(grid.ndim)
    found = []
    for along in (0, 1):
        across = 1 - along
        lines = np.empty((len(ticks[across]), len(fine[along]), grid.ndim))
        if through is not None:
            lines[..., through] = plane.index
        lines[..., plane.displayed[across]] = ticks[across][:, None]
        lines[..., plane.displayed[along]] = fine[along][None, :]
        found.append(lines)
    return found


def moving_grid_on_fixed(
    pair: PairData, lines: Sequence[FloatArray], t: float = 1.0
) -> list[FloatArray]:
    """Carry the moving scan's grid onto the fixed scan.

    Parameters
    ----------
    pair
        The map.
    lines
        Of :func:`line_vertices` on the fixed grid; each vertex stands for the point of the moving
        scan that the initial placement lays there.
    t
        0 leaves the vertices where they are, 1 puts them where the map from moving to fixed does.

    Returns
    -------
    list of ndarray
        (lines, vertices, d) canvas data indices of the fixed grid; NaN where the moving scan has no
        tissue.
    """
    grid, moving = pair.fixed_grid, pair.moving
    found = []
    for vertices in lines:
        tissue = transform_points(pair.initial, grid.data_to_world(vertices))
        landed = grid.world_to_data(pair.map_moving_to_fixed(tissue))
        seen = inside_mask(np.moveaxis(moving.world_to_voxel(tissue), -1, 0), moving.shape)
        landed[~seen] = np.nan
        found.append(vertices + t * (landed - vertices))
    return found


def fixed_grid_on_moving(
    pair: PairData, lines: Sequence[FloatArray], t: float = 1.0
) -> list[FloatArray]:
    """Send the fixed scan's grid to the moving scan.

    Parameters
    ----------
    pair
        The map.
    lines
        Of :func:`line_vertices` on the fixed grid.
    t
        0 puts the vertices where the initial placement does, 1 where the field does.

    Returns
    -------
    list of ndarray
        (lines, vertices, d) canvas data indices of the moving grid.
    """
    found = []
    for vertices in lines:
        world = pair.fixed_grid.data_to_world(vertices)
        placed = transform_points(pair.initial, world)
        sent = placed + t * (pair.map_fixed_to_moving(world) - placed)
        found.append(pair.moving_grid.world_to_data(sent))
    return found


def segments(
    lines: Sequence[FloatArray], flatten: tuple[int, float] | None = None
) -> NDArray[np.float32]:
    """Turn lines into what a Vectors layer takes.

    Parameters
    ----------
    lines
        (lines, vertices, d) arrays; pieces with a NaN vertex are left out.
    flatten
        (axis, index): seen from the front, all vertices lie in this slice.

    Returns
    -------
    ndarray
        (N, 2, d) starts and directions.
    """
    pieces = []
    for vertices in lines:
        starts, ends = vertices[:, :-1], vertices[:, 1:]
        pieces.append(np.stack([starts, ends - starts], axis=-2).reshape(-1, 2, vertices.shape[-1]))
    found = np.concatenate(pieces) if pieces else np.empty((0, 2, 2))
    found = found[np.isfinite(found).all(axis=(1, 2))]
    if flatten is not None:
        axis, index = flatten
        found[:, 0, axis] = index
        found[:, 1, axis] = 0
    return found.astype(np.float32)


def clip(vectors: NDArray[Any], shape: Sequence[int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Cut segments at the outermost voxel centres of a scan.

    napari's sliders cover whatever layers cover: a line beyond the scan would shift their steps
    away from the scan's slices.

    Parameters
    ----------
    vectors
        (N, 2, d) starts and directions.
    shape
        Voxels along each axis.

    Returns
    -------
    vectors, kept
        What is left, and (N,) which of the segments it belongs to.
    """
    starts, directions = vectors[:, 0].astype(float), vectors[:, 1].astype(float)
    high = np.array(shape, dtype=float) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        at_low, at_high = -starts / directions, (high - starts) / directions
    still = directions == 0
    inside = (starts >= 0) & (starts <= high)
    # A segment that does not move along an axis is within its bounds all the way or never.
    enter = np.where(still, np.where(inside, 0.0, 2.0), np.minimum(at_low, at_high)).max(axis=1)
    leave = np.where(still, 1.0, np.maximum(at_low, at_high)).min(axis=1)
    enter, leave = np.maximum(enter, 0.0), np.minimum(leave, 1.0)
    kept = (leave > enter) | ((leave == enter) & inside.all(axis=1))
    enter, leave = enter[kept, None], leave[kept, None]
    first = starts[kept] + enter * directions[kept]
    span = (leave - enter) * directions[kept]
    return np.stack([first, span], axis=1).astype(vectors.dtype), kept


def arrows(
    pair: PairData, plane: Plane, spacing: float, flatten: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the displacement at regular points of a slice of the fixed scan.

    Parameters
    ----------
    pair
        The map.
    plane
        The slice.
    spacing
        Distance of the points in the unit of the grid.
    flatten
        Leave out the part that points out of the slice (lengths count it nevertheless).

    Returns
    -------
    vectors
        (N, 2, d) canvas data indices: start and direction of
        :meth:`~napari_gemini.widgets.pair.pair_data.PairData.displacement`.
    lengths
        (N,) in mm (pixels where the spacing is unknown).
    """
    grid = pair.fixed_grid
    starts = line_vertices(grid, plane, spacing)[0][:, ::PIECES].reshape(-1, grid.ndim)
    shifts = pair.displacement(grid.data_to_world(starts))
    directions = grid.vectors_to_data(shifts)
    through = plane.through(grid.ndim)
    if flatten and through is not None:
        directions[:, through] = 0
    vectors = np.stack([starts, directions], axis=1).astype(np.float32)
    return vectors, np.linalg.norm(shifts, axis=1).astype(np.float32)


def _ticks(voxels: int, step: float) -> FloatArray:
    """Return evenly spaced indices, the same margin at both ends."""
    length = voxels - 1
    count = int(np.floor(length / step + 1e-9))
    return np.asarray((length - count * step) / 2 + step * np.arange(count + 1))


def _finer(ticks: FloatArray) -> FloatArray:
    count = (len(ticks) - 1) * PIECES + 1
    return np.asarray(np.linspace(ticks[0], ticks[-1], count))
