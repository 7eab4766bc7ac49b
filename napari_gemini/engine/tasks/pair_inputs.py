"""Read and check what a pair is made of, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import check_image, check_labels_match
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume


@dataclass(frozen=True)
class PairInputs:
    """Two scans and what belongs to them.

    Attributes
    ----------
    moving, fixed
        The scans.
    labels
        Labels of the moving scan.
    fixed_labels
        Known labels of the fixed scan, to be scored against.
    ignore
        True where the fixed scan must not count, on its grid.
    ignore_path
        Where that came from.
    """

    moving: Volume
    fixed: Volume
    labels: Volume | None = None
    fixed_labels: Volume | None = None
    ignore: NDArray[np.bool_] | None = None
    ignore_path: Path | None = None

    @property
    def spacing_known(self) -> bool:
        """Whether lengths are millimetres; otherwise they are voxels."""
        return self.fixed.spacing_known and self.moving.spacing_known

    def paths(self) -> dict[str, Path]:
        """Return the files by their role."""
        volumes = {
            "moving": self.moving,
            "fixed": self.fixed,
            "labels": self.labels,
            "fixed_labels": self.fixed_labels,
        }
        found = {role: v.path for role, v in volumes.items() if v is not None and v.path}
        if self.ignore_path is not None:
            found["ignore"] = self.ignore_path
        return found


def read_scan(path: Path) -> Volume:
    """Read a scan and refuse one that nothing can be matched on."""
    volume = read_volume(path)
    check_image(volume)
    return volume


def read_labels_of(path: Path | None, scan: Volume) -> Volume | None:
    """Read the labels of a scan; they have to lie on its grid."""
    if path is None:
        return None
    labels = read_labels(path)
    check_labels_match(scan, labels)
    return labels


def read_pair_inputs(
    moving: Path,
    fixed: Path,
    labels: Path | None = None,
    fixed_labels: Path | None = None,
    ignore: Path | None = None,
) -> PairInputs:
    """Read the files of a pair.

    Raises
    ------
    InputError
        With one sentence for whatever is wrong with one of them.
    """
    moving_scan, fixed_scan = read_scan(moving), read_scan(fixed)
    check_dimensions(moving_scan, fixed_scan)
    return PairInputs(
        moving_scan,
        fixed_scan,
        read_labels_of(labels, moving_scan),
        read_labels_of(fixed_labels, fixed_scan),
        read_ignore(ignore, fixed_scan),
        ignore,
    )


def check_dimensions(moving: Volume, fixed: Volume) -> None:
    """Refuse a 2D and a 3D scan together."""
    if moving.ndim != fixed.ndim:
        raise InputError(
            f"{moving.name} is {moving.ndim}D and {fixed.name} is {fixed.ndim}D; give two scans of "
            "one dimension."
        )


def read_ignore(path: Path | None, fixed: Volume) -> NDArray[np.bool_] | None:
    """Read the mask of what must not count; it has to lie on the fixed scan's grid."""
    if path is None:
        return None
    mask: NDArray[Any] = read_mask(path, fixed)
    if mask.all():
        raise InputError(f"{path} covers the whole scan, so nothing is left to compare.")
    return mask


def read_mask(path: Path, scan: Volume) -> NDArray[np.bool_]:
    """Read a mask on the grid of a scan: anything but 0 is inside."""
    volume = read_labels(path)
    check_labels_match(scan, volume)
    inside: NDArray[np.bool_] = np.asarray(volume.data != 0)
    return inside
