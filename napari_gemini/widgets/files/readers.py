"""Reading scans, studies and results that are dropped on the window.

Each reader looks at names only and says no at once; files that ITK parses are read in the engine's
child, so that a broken one takes no labels along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gemini.errors import GeminiError
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import image_layer

if TYPE_CHECKING:
    import napari

LayerData = tuple[Any, ...]
Reader = Callable[[str | Sequence[str]], list[LayerData]]

#: What napari takes for "read, and there is nothing to add".
NOTHING: list[LayerData] = [(None,)]

_NIFTI = (".nii", ".nii.gz")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")


def get_scan_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of NIfTI, NRRD and MetaImage files, None for anything else."""
    paths = _paths(path)
    if not paths or not all(_has(item, _NIFTI + _ITK) for item in paths):
        return None
    return read_scans


def get_study_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of study folders (or their ``study.json``), None for anything else."""
    paths = _paths(path)
    return read_study if len(paths) == 1 and _study_of(paths[0]) is not None else None


def get_result_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of correspondence results (or their ``field.h5``), None for others."""
    paths = _paths(path)
    return read_result if len(paths) == 1 and _result_of(paths[0]) is not None else None


def read_scans(path: str | Sequence[str]) -> list[LayerData]:
    """Read scans as layers on their own grids; a bad one is told of in a sentence."""
    layers: list[LayerData] = []
    for item in _paths(path):
        viewer = _viewer()
        if _has(item, _ITK) and viewer is not None:
            _read_in_child(viewer, item)
            continue
        try:
            layers.append(_layer_data(read_volume(item)))
        except GeminiError as error:
            _tell(str(error))
    return layers or NOTHING


def read_study(path: str | Sequence[str]) -> list[LayerData]:
    """Open a study in the Study dock of the current viewer."""
    folder = _study_of(_paths(path)[0])
    viewer = _viewer()
    if viewer is None or folder is None:
        return NOTHING
    from napari_gemini.widgets.common.session import get_session

    try:
        get_session(viewer).open_study(folder)
        _show_dock(viewer, "Study")
    except GeminiError as error:
        _tell(str(error))
    return NOTHING


def read_result(path: str | Sequence[str]) -> list[LayerData]:
    """Open a correspondence result in the Correspondence dock of the current viewer."""
    folder = _result_of(_paths(path)[0])
    viewer = _viewer()
    if viewer is None or folder is None:
        return NOTHING
    _show_dock(viewer, "Correspondence").open_result(folder)
    return NOTHING


def _read_in_child(viewer: napari.Viewer, path: Path) -> None:
    from napari_gemini.engine.jobs import LoadVolumeJob
    from napari_gemini.widgets.common.session import get_session

    session = get_session(viewer)

    def arrived(values: dict[str, Any]) -> None:
        # A copy, so that the child's file can go and the layer may be changed.
        data = session.engine.arrays.open(values["array"]).copy()
        session.engine.arrays.discard(values["array"])
        volume = Volume(data, values["affine"], values["spacing_known"], path)
        session.viewer.add_layer(image_layer(volume, _name(path)))

    try:
        session.engine.run(
            LoadVolumeJob(path=path),
            description=f"Reading {path.name}",
            on_result=arrived,
            on_error=_tell,
        )
    except GeminiError as error:
        _tell(str(error))


def _layer_data(volume: Volume) -> LayerData:
    assert volume.path is not None
    data, options, kind = image_layer(volume, _name(volume.path)).as_layer_data_tuple()
    keep = ("name", "metadata", "scale", "translate", "units", "axis_labels", "contrast_limits")
    return data, {key: options[key] for key in keep}, kind


def _show_dock(viewer: napari.Viewer, name: str) -> Any:
    """Open a dock, or find the open one, and return it."""
    return viewer.window.add_plugin_dock_widget("napari-gemini", name)[1]


def _viewer() -> napari.Viewer | None:
    import napari

    return napari.current_viewer()


def _tell(sentence: str) -> None:
    from napari.utils.notifications import show_error

    show_error(sentence)


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str) else [Path(item) for item in path]


def _has(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _study_of(path: Path) -> Path | None:
    if path.name == "study.json" and path.is_file():
        return path.parent
    return path if (path / "study.json").is_file() else None


def _result_of(path: Path) -> Path | None:
    folder = path.parent if path.name == "field.h5" else path
    needed = ("report.json", "field.h5")
    return folder if all((folder / name).is_file() for name in needed) else None


def _name(path: Path) -> str:
    for suffix in _NIFTI + _ITK:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name
