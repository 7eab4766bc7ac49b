"""What a pair can be made of: cases of the study, open layers, files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.study.naming import case_id
from napari_gemini.study.study import Study
from napari_gemini.volumes.checks import check_labels_match
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import layer_info
from napari_gemini.widgets.pair.shown import MAKER

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_MILLIMETRES = {"mm", "millimeter", "millimetre"}
_TO_MM = {"micrometer": 1e-3, "nanometer": 1e-6, "centimeter": 10.0, "meter": 1e3}


@dataclass(frozen=True, eq=False)
class Source:
    """A scan or label map to choose.

    Parameters
    ----------
    name
        What the user reads.
    case
        Of the study, if it is one.
    path
        Of a file, if it is one.
    layer
        Of an open layer, if it is one; held weakly.
    """

    name: str
    case: str | None = None
    path: Path | None = None
    layer: ReferenceType[Any] | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it the same choice when the list is made anew."""
        return self.case, self.path, None if self.layer is None else id(self.layer())

    def dimension(self, study: Study | None) -> int | None:
        """Return 2 or 3, None while it is not known."""
        if self.case is not None and study is not None:
            return study.dimension
        layer = None if self.layer is None else self.layer()
        return None if layer is None else int(layer.ndim)


def scan_sources(study: Study | None, viewer: ViewerModel) -> list[Source]:
    """Return the scans to choose from: cases first, then open image layers."""
    from napari.layers import Image

    found = [Source(case.id, case=case.id) for case in study.cases] if study is not None else []
    cases = {source.case for source in found}
    for layer in viewer.layers:
        info = layer_info(layer)
        if not isinstance(layer, Image) or layer.rgb or not _chosen(layer):
            continue
        if info is None or info.case not in cases:
            found.append(Source(f"layer: {layer.name}", layer=ref(layer)))
    return found


def label_sources(study: Study | None, viewer: ViewerModel, scan: Source | None) -> list[Source]:
    """Return the labels to choose from for a scan: its own in the study, then open layers."""
    from napari.layers import Labels

    found = []
    if study is not None and scan is not None and scan.case is not None:
        known = {case.id for case in study.cases}
        if scan.case in known and study.has_labels(scan.case):
            found.append(Source(f"labels of {scan.case}", case=scan.case))
    for layer in viewer.layers:
        info = layer_info(layer)
        if isinstance(layer, Labels) and _chosen(layer) and (info is None or info.case is None):
            found.append(Source(f"layer: {layer.name}", layer=ref(layer)))
    return found


def _chosen(layer: Layer) -> bool:
    """Whether a layer is the user's; what this dock made is no input."""
    info = layer_info(layer)
    return info is None or info.provenance.get("made_by") != MAKER


def name_of(source: Source) -> str:
    """Return a name for folders."""
    if source.case is not None:
        return source.case
    name = str(source.path) if source.path is not None else source.name.removeprefix("layer: ")
    return case_id(name)


def scan_file(source: Source, study: Study | None, folder: Path, role: str) -> Path:
    """Return the file of a scan, written into `folder` where there is none.

    Raises
    ------
    GeminiError
        If the image is gone, or the layer cannot be written.
    """
    if source.case is not None and study is not None:
        return study.image_path(source.case)
    if source.path is not None:
        return source.path
    layer = _alive(source)
    info = layer_info(layer)
    if info is not None and info.path is not None and info.path.exists():
        return info.path
    volume = volume_of(layer)
    # Only pictures say that nothing is known about millimetres and directions.
    path = folder / f"{role}{'.tif' if not volume.spacing_known else '.nii.gz'}"
    write_volume(path, volume.data, volume)
    return path


def label_file(source: Source, scan: Source, study: Study | None, folder: Path, role: str) -> Path:
    """Return the file of a label map, written into `folder` where there is none.

    Raises
    ------
    GeminiError
        If the labels are gone, or are not on the grid of their scan.
    """
    if source.case is not None and study is not None:
        if not study.scheme.overlapping:
            return study.labels_path(source.case)
        labels = study.load_labels(source.case)
        if labels is None:
            raise InputError(f"The case {source.case} has no labels any more; choose others.")
        return _written(labels, folder, role)
    if source.path is not None:
        return source.path
    labels = volume_of(_alive(source))
    reference = _grid_of(scan, study)
    if reference is not None:
        check_labels_match(reference, labels)
    return _written(labels, folder, role)


def _grid_of(scan: Source, study: Study | None) -> Volume | None:
    """Return the grid of a scan where it is known without reading a file."""
    if scan.case is not None and study is not None:
        return study.outline(scan.case)
    layer = None if scan.layer is None else scan.layer()
    return None if layer is None else volume_of(layer)


def _written(labels: Volume, folder: Path, role: str) -> Path:
    path = folder / f"{role}_labels{'.png' if not labels.spacing_known else '.nii.gz'}"
    write_labels(path, labels.data, labels)
    return path


def _alive(source: Source) -> Layer:
    layer = None if source.layer is None else source.layer()
    if layer is None:
        raise InputError(f"{source.name} is no longer open; choose another.")
    return layer


def volume_of(layer: Layer) -> Volume:
    """Return an image or labels layer as a volume in file order.

    A layer of ours has its grid. Of any other, scale and translation are taken as canvas
    coordinates that run towards inferior, posterior and left, as all docks show scans.

    Raises
    ------
    InputError
        If it has another number of axes, is rotated or sheared, or is not in memory as an array.
    """
    data = np.asarray(layer.data)
    info = layer_info(layer)
    if info is not None and info.grid.shape == data.shape:
        grid = info.grid
        path = info.path if info.path is not None else None
        return Volume(grid.from_canvas(data), grid.affine, grid.spacing_known, path)
    if data.ndim not in (2, 3):
        raise InputError(
            f"The layer {layer.name} has {data.ndim} axes; choose one with two or three (one "
            "volume of a series)."
        )
    linear = np.asarray(layer.affine.linear_matrix)
    if not np.allclose(linear, np.diag(np.diag(linear))) or not np.allclose(
        np.asarray(layer.rotate), np.eye(data.ndim)
    ):
        raise InputError(
            f"The layer {layer.name} is rotated or sheared in napari; save it as a file and open "
            "that."
        )
    return _plain_volume(layer, data)


def _plain_volume(layer: Layer, data: NDArray[Any]) -> Volume:
    units = [str(unit) for unit in layer.units]
    # No file of a volume can leave its spacing open: a voxel counts as a millimetre then.
    known = data.ndim == 3 or all(unit in _MILLIMETRES or unit in _TO_MM for unit in units)
    factors = np.array([_TO_MM.get(unit, 1.0) for unit in units])
    scale = np.asarray(layer.scale) * factors
    place = np.asarray(layer.translate) * factors
    affine = np.eye(4)
    for axis in range(data.ndim):
        # Canvas axes are the world's, the other way round and in reverse order.
        world = data.ndim - 1 - axis
        sign = -1.0 if known else 1.0
        affine[world, world] = sign * scale[axis]
        affine[world, 3] = sign * place[axis]
    return Volume(np.transpose(data), affine, known)


def grid_of(layer: Layer) -> CanvasGrid | None:
    """Return the canvas grid of a layer of ours, None for others."""
    info = layer_info(layer)
    return None if info is None else info.grid
