"""Nodes to files for the engine, and the engine's files to nodes.

Nothing in the user's scene changes while files are written: clones live in a scene of their own,
parent transforms (linear, nested or not linear) are hardened on the clones, so every file is in
world coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from GeminiPropagateLib.labels import Label


def labels_of_segmentation(segmentation_node: Any) -> list[Label]:
    """Return value, name, colour and terminology of every segment, in order.

    Values are those of the segments (or of the node's export colour table, where it has one); a
    value that two segments share is kept by the first, the others get the next free ones.
    """
    raise NotImplementedError


def write_volume(volume_node: Any, path: Path) -> None:
    """Write a scalar volume in world coordinates.

    Raises
    ------
    PropagateError
        If the volume is empty, has several components, or the file cannot be written.
    """
    raise NotImplementedError


def write_labels(segmentation_node: Any, reference_volume_node: Any, path: Path) -> list[Label]:
    """Write a segmentation as a label map on a volume's grid, both in world coordinates.

    Returns
    -------
    list of Label
        As :func:`labels_of_segmentation`.

    Raises
    ------
    PropagateError
        If the segmentation is empty, lies outside the volume, or the file cannot be written.
    """
    raise NotImplementedError


def read_volume_into(node: Any, path: Path, grid_of: Any = None) -> None:
    """Read an image file into an existing scalar or label map volume node, in place.

    Parameters
    ----------
    grid_of
        Volume node whose grid the result has to have; its geometry is taken over exactly. A
        parent transform of it counts.

    Raises
    ------
    PropagateError
        If the file is missing, damaged or on another grid.
    """
    raise NotImplementedError


def read_labels_into(
    segmentation_node: Any, path: Path, labels: Sequence[Label], grid_of: Any
) -> None:
    """Replace the content of a segmentation by a label map file; values, names, colours kept.

    Values that `labels` does not have get a generic name.
    """
    raise NotImplementedError


def read_transform_into(transform_node: Any, path: Path) -> None:
    """Read ``field.h5`` into a transform node, as FromParent (target point to atlas point)."""
    raise NotImplementedError
