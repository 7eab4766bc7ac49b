"""One pair of scans and the map between them, as every dock sees it.

Fields and scans are at hand; the maps beside them (Jacobian, similarity, folds ...) are read when
they are first asked for. Points are RAS mm throughout, so that nothing here depends on how a scan
is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gemini.engine.loading_pairs import INVERSE
from napari_gemini.errors import GeminiError, InputError
from napari_gemini.evaluation.pair_files import find_by_stem, input_path, read_json
from napari_gemini.volumes.applying import map_points
from napari_gemini.volumes.displacement import DisplacementField
from napari_gemini.volumes.geometry import FloatArray, transform_points
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.sampling import inside_mask
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.grid import CanvasGrid

#: Maps that hold whole numbers: they are read as labels and never interpolated.
LABEL_STEMS = ("labels", "folds", "mask", "fixed_labels", "moving_labels")

_ITERATIONS = 30
#: Of the finest voxel: what an inverted point may miss by.
_TOLERANCE = 0.05
_WRONG = 0.5
#: Points along each axis from which the initial placement is guessed where no report says it.
_PROBES = 12


@dataclass(eq=False)
class PairData:
    """A moving scan, a fixed scan and the correspondence between them.

    Parameters
    ----------
    fixed, moving
        The scans, undeformed.
    there
        Field from fixed to moving points.
    back
        Field from moving to fixed points; None in results that were written without: the other
        direction is found by inverting `there` then.
    report
        ``report.json``.
    folder
        Where the result lies on disk.
    fixed_case, moving_case
        Ids in the open study, None for other files.
    temporary
        Whether the folder goes away with the window.
    """

    fixed: Volume
    moving: Volume
    there: DisplacementField
    back: DisplacementField | None = None
    report: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    fixed_case: str | None = None
    moving_case: str | None = None
    temporary: bool = False
    _volumes: dict[str, Volume | None] = field(default_factory=dict, repr=False)

    # -- points --------------------------------------------------------------------------------

    def map_fixed_to_moving(self, points: ArrayLike) -> FloatArray:
        """Map points (..., d) of the fixed scan to their partners in the moving scan, RAS mm."""
        return map_points(self.there, points)

    def map_moving_to_fixed(self, points: ArrayLike) -> FloatArray:
        """Map points (..., d) of the moving scan to their partners in the fixed scan, RAS mm.

        Where the result holds no field of that direction the other one is inverted; points that
        have no unique partner (in a fold) are NaN then.
        """
        if self.back is not None:
            return map_points(self.back, points)
        return self._invert(np.asarray(points, dtype=np.float64))

    def displacement(self, points: ArrayLike) -> FloatArray:
        """Return how far fixed points (..., d) are displaced beyond the initial placement.

        Returns
        -------
        ndarray
            (..., d) in RAS mm of the fixed scan's world: where the partner would lie had the moving
            scan only been placed, minus the point itself.
        """
        points = np.asarray(points, dtype=np.float64)
        partner = self.map_fixed_to_moving(points)
        return transform_points(np.linalg.inv(self.initial), partner) - points

    def _invert(self, points: FloatArray) -> FloatArray:
        """Solve ``there(x) = y`` by fixed-point iteration, from the initial placement on."""
        inverse = np.linalg.inv(self.initial)
        linear = inverse[: self.ndim, : self.ndim]
        found = transform_points(inverse, points)
        step = min(self.moving.spacing)
        miss = self.map_fixed_to_moving(found) - points
        for _ in range(_ITERATIONS):
            if np.abs(miss).max(initial=0.0) < _TOLERANCE * step:
                break
            found = found - miss @ linear.T
            miss = self.map_fixed_to_moving(found) - points
        found[(np.linalg.norm(miss, axis=-1) > _WRONG * step) | ~self._on_field(found)] = np.nan
        return found

    def _on_field(self, points: FloatArray) -> NDArray[np.bool_]:
        """Whether fixed points (..., d) lie where the field says anything."""
        lattice = transform_points(np.linalg.inv(self.there.affine), points)
        return inside_mask(np.moveaxis(lattice, -1, 0), self.there.shape)

    @cached_property
    def initial(self) -> FloatArray:
        """(4, 4) fixed world to moving world (RAS mm): how the scans were laid on each other.

        What the report says, else the mean shift of the field.
        """
        given = self.report.get("settings", {}).get("initial_placement")
        matrix = np.array(given if given is not None else np.eye(4), dtype=np.float64)
        if given is not None and matrix.shape == (4, 4):
            return matrix
        axes = [np.linspace(0, n - 1, min(n, _PROBES)) for n in self.fixed.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.ndim)
        world = self.fixed.voxel_to_world(index)
        shift = np.eye(4)
        shift[: self.ndim, 3] = (self.map_fixed_to_moving(world) - world).mean(axis=0)
        return shift

    # -- what it is ----------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return self.fixed.ndim

    @property
    def unit(self) -> str:
        """``mm``, or ``px`` where a spacing is unknown."""
        return "mm" if self.fixed.spacing_known and self.moving.spacing_known else "px"

    @cached_property
    def fixed_grid(self) -> CanvasGrid:
        """Where the fixed scan's voxels are on the canvas."""
        return CanvasGrid.of(self.fixed)

    @cached_property
    def moving_grid(self) -> CanvasGrid:
        """Where the moving scan's voxels are on the canvas."""
        return CanvasGrid.of(self.moving)

    @property
    def fixed_name(self) -> str:
        """What the fixed scan is called."""
        return self.fixed_case or _stem(self.fixed, "fixed")

    @property
    def moving_name(self) -> str:
        """What the moving scan is called."""
        return self.moving_case or _stem(self.moving, "moving")

    def swapped(self) -> PairData:
        """Return the same pair with the roles exchanged; nothing is computed.

        Raises
        ------
        InputError
            If the result holds one direction only.
        """
        if self.back is None:
            raise InputError(
                "This result holds one direction only; compute the pair again to have both."
            )
        folder = _other_folder(self.folder)
        report = _report_of(folder)
        if "initial_placement" not in report.get("settings", {}):
            settings = {"initial_placement": np.linalg.inv(self.initial).tolist()}
            report = {**report, "settings": {**report.get("settings", {}), **settings}}
        other = replace(
            self,
            fixed=self.moving,
            moving=self.fixed,
            there=self.back,
            back=self.there,
            report=report,
            folder=folder,
            fixed_case=self.moving_case,
            moving_case=self.fixed_case,
            _volumes={},
        )
        for name, twin in (("fixed_labels", "moving_labels"), ("moving_labels", "fixed_labels")):
            if name in self._volumes:
                other._volumes[twin] = self._volumes[name]
        return other

    # -- maps ----------------------------------------------------------------------------------

    def path_of(self, stem: str) -> Path | None:
        """Return the file of a map, or of the known labels of either scan; None without."""
        if stem == "fixed_labels":
            return input_path(self.report, "fixed_labels")
        if stem == "moving_labels":
            return input_path(self.report, "labels")
        if self.folder is None or not self.folder.is_dir():
            return None
        return find_by_stem(self.folder, stem)

    def has(self, stem: str) -> bool:
        """Whether :meth:`volume` would find a map, without reading it."""
        if stem in self._volumes:
            return self._volumes[stem] is not None
        path = self.path_of(stem)
        return path is not None and path.exists()

    def known(self, stem: str) -> Volume | None:
        """Return a map that was read already; never touches the disk."""
        return self._volumes.get(stem)

    def keep(self, stem: str, volume: Volume | None) -> None:
        """Note a map that was read or made elsewhere."""
        self._volumes[stem] = volume

    def volume(self, stem: str) -> Volume | None:
        """Return a map on the fixed grid, reading it when it is first asked for.

        Parameters
        ----------
        stem
            ``warped``, ``labels``, ``log_jacobian``, ``folds``, ``gss``, ``gvs``, ``mask``,
            ``inverse_consistency``; or ``fixed_labels`` and ``moving_labels``, the known labels of
            either scan on its own grid.

        Returns
        -------
        Volume or None
            None where the result has no such map.

        Raises
        ------
        InputError
            If the file is damaged or on another grid.
        """
        if stem not in self._volumes:
            path = self.path_of(stem)
            self._volumes[stem] = None if path is None else self._read(stem, path)
        return self._volumes[stem]

    def _read(self, stem: str, path: Path) -> Volume:
        if stem in LABEL_STEMS:
            found = read_labels(path)
        else:
            found = read_volume(path, allow_nonfinite=True)
        scan = self.moving if stem == "moving_labels" else self.fixed
        if found.shape != scan.shape:
            raise InputError(
                f"{path} has the size {found.shape} and its scan {scan.shape}; compute the pair "
                "again."
            )
        return found


def _other_folder(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    if folder.name == INVERSE and (folder.parent / "report.json").is_file():
        return folder.parent
    return folder / INVERSE


def _report_of(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        return read_json(folder / "report.json")
    except GeminiError:
        return {}


def _stem(volume: Volume, role: str) -> str:
    if volume.path is None:
        return f"{role} scan"
    return volume.path.name.split(".")[0] or role
