"""A study from what is open in the viewer: layers with files, and layers without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.study.naming import case_id
from napari_gemini.volumes.pictures import PIXEL_AFFINE
from napari_gemini.volumes.reading import is_supported
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import layer_info

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels


@dataclass(frozen=True, eq=False)
class LayerCase:
    """An image layer that becomes a case, and the labels layer that belongs to it.

    Parameters
    ----------
    name
        Of the image layer.
    path
        Its file; None where it has to be written first.
    volume
        The image, where it has to be written or labels belong to it.
    labels
        Labels of the scan, file order.
    """

    name: str
    path: Path | None
    volume: Volume | None
    labels: np.ndarray[Any, Any] | None


def layer_cases(viewer: ViewerModel) -> list[LayerCase]:
    """Return the cases that the open layers would be.

    A labels layer belongs to the next image layer below it that has its shape.

    Raises
    ------
    InputError
        If no image is open, or one cannot be a scan.
    """
    from napari.layers import Image, Labels

    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    if not images:
        raise InputError("No image is open: open the scans of the study first.")
    owned: dict[int, Labels] = {}
    below: list[Image] = []
    for layer in viewer.layers:
        if isinstance(layer, Image):
            below.append(layer)
        elif isinstance(layer, Labels) and np.asarray(layer.data).any():
            owner = next((i for i in reversed(below) if i.data.shape == layer.data.shape), None)
            if owner is None:
                raise InputError(
                    f"The labels layer {layer.name} has the shape {layer.data.shape}, and no image "
                    "layer below it has: put it above its image, or remove it."
                )
            owned[id(owner)] = layer
    return [_case_of(image, owned.get(id(image))) for image in images]


def _case_of(image: Image, labels: Labels | None) -> LayerCase:
    if image.rgb or image.multiscale:
        raise InputError(
            f"The layer {image.name} is a colour or multiscale image: a study holds grey values "
            "on one grid."
        )
    info = layer_info(image)
    path = info.path if info is not None else _source(image)
    if info is not None:
        grid = info.grid
    elif path is None:
        grid = _grid_of_plain(image)
    elif labels is not None:
        raise InputError(
            f"How {image.name} was turned when it was opened is not known, so its labels cannot "
            "be placed: open the file with napari-gemini, or leave the labels out."
        )
    else:
        return LayerCase(image.name, path, None, None)
    volume = Volume(grid.from_canvas(np.asarray(image.data)), grid.affine, grid.spacing_known, path)
    drawn = None if labels is None else grid.from_canvas(np.asarray(labels.data))
    return LayerCase(image.name, path, volume, drawn)


def _source(image: Image) -> Path | None:
    named = image.source.path
    path = Path(named) if named else None
    return path if path is not None and path.exists() and is_supported(path) else None


def _grid_of_plain(image: Image) -> CanvasGrid:
    """Return the grid of an array without a file: it lies as it is shown."""
    data = np.asarray(image.data)
    if data.ndim == 2:
        return CanvasGrid.of_affine(PIXEL_AFFINE, data.T.shape, False)
    if data.ndim != 3:
        raise InputError(
            f"The layer {image.name} has {data.ndim} axes: a scan has two or three; open one "
            "volume of it."
        )
    # Canvas axes run towards inferior, posterior and left; the file gets them in the order x, y, z.
    affine = np.eye(4)
    affine[range(3), range(3)] = -np.asarray(image.scale, dtype=np.float64)[::-1]
    return CanvasGrid.of_affine(affine, data.shape[::-1])


def write_sources(
    cases: list[LayerCase], images_dir: Path, labels_dir: Path
) -> tuple[list[Path], bool]:
    """Write what has no file yet and return the images, and whether there are labels.

    Parameters
    ----------
    cases
        From :func:`layer_cases`.
    images_dir
        For images that have no file.
    labels_dir
        For the labels, named like the images.

    Raises
    ------
    GeminiError
        If something cannot be written.
    """
    paths = []
    for case in cases:
        path = case.path
        if path is None:
            assert case.volume is not None
            flat = not case.volume.spacing_known
            suffix = ".tif" if flat else ".nii.gz"
            images_dir.mkdir(parents=True, exist_ok=True)
            path = images_dir / f"{case_id(Path(case.name + suffix))}{suffix}"
            write_volume(path, case.volume.data, case.volume)
        paths.append(path)
        if case.labels is not None and case.volume is not None:
            labels_dir.mkdir(parents=True, exist_ok=True)
            picture = path.suffix.lower() == ".png"
            name = f"{case_id(path)}{'.png' if picture else '.nii.gz'}"
            write_labels(labels_dir / name, case.labels, case.volume)
    return paths, any(case.labels is not None for case in cases)
