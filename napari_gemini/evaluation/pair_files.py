"""Read what ``correspond`` or ``propagate`` wrote for one pair."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.evaluation.slices import Slicer
from napari_gemini.volumes.fields import DisplacementField, read_field
from napari_gemini.volumes.reading import read_labels, read_volume, suffix_of
from napari_gemini.volumes.volume import Volume

MAPS = ("warped", "log_jacobian", "folds", "gss", "gvs", "mask", "inverse_consistency")
FIELD_NAMES = ("field.h5", "field.nrrd", "field.nii.gz")


@dataclass
class PairFiles:
    """The files of one pair; what is missing or unreadable is None and noted.

    Attributes
    ----------
    folder
        Where they lie.
    report
        Content of ``report.json``.
    fixed, moving
        The input scans, as ``report.json`` names them.
    maps
        Volumes on the fixed grid by stem: ``warped``, ``log_jacobian``, ``folds``, ``gss``,
        ``gvs``, ``mask``, ``inverse_consistency``.
    labels
        Warped labels on the fixed grid.
    fixed_labels
        Known labels of the fixed scan.
    displacement
        Map from fixed to moving points.
    notes
        One sentence for each thing that could not be read.
    """

    folder: Path
    report: dict[str, Any]
    fixed: Volume | None = None
    moving: Volume | None = None
    maps: dict[str, Volume] = field(default_factory=dict)
    labels: Volume | None = None
    fixed_labels: Volume | None = None
    displacement: DisplacementField | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def grid(self) -> Volume:
        """A volume on the fixed grid."""
        found = self.fixed or self.maps.get("warped") or next(iter(self.maps.values()), self.labels)
        if found is None:
            raise InputError(
                f"{self.folder} holds neither warped.nii.gz nor any map; give a folder that "
                "correspond or propagate wrote."
            )
        return found

    @cached_property
    def slicer(self) -> Slicer:
        """Cuts slices on the fixed grid."""
        return Slicer(self.grid)

    def array(self, stem: str) -> NDArray[Any] | None:
        """Return the voxels of a map, or None."""
        volume = self.maps.get(stem)
        return None if volume is None else volume.data

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Where the moving scan's field of view covers the fixed one's."""
        found = self.array("mask")
        return np.ones(self.grid.shape, bool) if found is None else np.asarray(found != 0)


def read_pair(folder: str | Path) -> PairFiles:
    """Read a folder that ``correspond`` wrote, as far as it can be read.

    Parameters
    ----------
    folder
        With ``report.json`` and any of the maps.

    Returns
    -------
    PairFiles
        Maps that are missing, damaged or on another grid are left out and noted.

    Raises
    ------
    InputError
        If there is no readable ``report.json`` or nothing to show.
    """
    root = Path(folder)
    files = PairFiles(root, read_json(root / "report.json"))
    files.fixed = _read_input(files, "fixed", "target")
    files.moving = _read_input(files, "moving", "atlas")
    for stem in MAPS:
        volume = _read_noted(files, find_by_stem(root, stem), as_labels=False)
        if volume is not None:
            files.maps[stem] = volume
    files.labels = _read_noted(files, find_by_stem(root, "labels"), as_labels=True)
    files.fixed_labels = _read_input(files, "fixed_labels", as_labels=True)
    _drop_other_grids(files)
    files.displacement = _read_field(files)
    return files


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file is missing, damaged or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the folder that holds it.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is no report (a JSON object was expected); write it anew.")
    return data


def find_by_stem(folder: Path, stem: str) -> Path | None:
    """Return the image file called `stem` with any known suffix, NIfTI before others."""
    found = [
        path
        for path in folder.iterdir()
        if (suffix := suffix_of(path)) and path.name[: -len(suffix)] == stem
    ]
    return min(found, key=lambda path: (".nii" not in path.name, path.name), default=None)


def input_path(report: Mapping[str, Any], *roles: str) -> Path | None:
    """Return the path that ``report["inputs"]`` has for the first known of `roles`."""
    inputs = report.get("inputs")
    if not isinstance(inputs, Mapping):
        return None
    for role in roles:
        entry = inputs.get(role)
        if isinstance(entry, Mapping):
            entry = entry.get("path")
        if isinstance(entry, str) and entry:
            return Path(entry)
    return None


def _read_input(files: PairFiles, *roles: str, as_labels: bool = False) -> Volume | None:
    return _read_noted(files, input_path(files.report, *roles), as_labels=as_labels)


def _read_noted(files: PairFiles, path: Path | None, *, as_labels: bool) -> Volume | None:
    if path is None:
        return None
    try:
        if as_labels:
            return read_labels(path)
        return read_volume(path, allow_nonfinite=path.parent == files.folder)
    except GeminiError as error:
        files.notes.append(str(error))
        return None


def _drop_other_grids(files: PairFiles) -> None:
    shape = files.grid.shape
    for stem in [stem for stem, volume in files.maps.items() if volume.shape != shape]:
        del files.maps[stem]
        files.notes.append(f"{stem} is not on the grid of the fixed scan and is left out.")
    for name in ("labels", "fixed_labels"):
        volume = getattr(files, name)
        if volume is not None and volume.shape != shape:
            setattr(files, name, None)
            files.notes.append(f"{name} is not on the grid of the fixed scan and is left out.")


def _read_field(files: PairFiles) -> DisplacementField | None:
    path = next((p for name in FIELD_NAMES if (p := files.folder / name).is_file()), None)
    if path is None:
        return None
    try:
        return read_field(path)
    except GeminiError as error:
        files.notes.append(str(error))
        return None
