"""Show a demo's pair in napari: ``python -m napari_gemini.commands.viewer FOLDER``.

A process of its own, so that Qt and torch never meet in one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.evaluation.pair_files import read_json
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume

#: A layer as napari takes it: data, keyword arguments, kind.
Layer = tuple[NDArray[Any], dict[str, Any], str]


def demo_layers(folder: Path) -> list[Layer]:
    """Return the layers that show a demo's pair and predictions, bottom first."""
    result = read_json(folder / "demo.json")
    fixed_id, moving_id = result["pair"]["fixed"], result["pair"]["moving"]
    pair, cohort = folder / "pair", folder / "cohort"
    predictions = folder / "study" / "predictions" / "gemini-semi"
    fixed = read_volume(_find(cohort / "images", fixed_id))
    layers = [
        _image(fixed, f"{fixed_id} (fixed)"),
        _image(
            read_volume(pair / "warped.nii.gz"),
            f"{moving_id} warped onto it",
            colormap="green",
            blending="additive",
            visible=False,
        ),
        _image(
            read_volume(pair / "log_jacobian.nii.gz"),
            "log Jacobian",
            colormap="PiYG",
            visible=False,
            contrast_limits=(-1.0, 1.0),
        ),
        _labels(read_labels(pair / "folds.nii.gz"), "folds", visible=False),
        _labels(read_labels(_find(cohort / "labels", fixed_id)), "true labels", visible=False),
        _labels(
            read_labels(pair / "labels.nii.gz"), f"labels carried from {moving_id}", visible=False
        ),
        _labels(read_labels(_find(predictions, fixed_id)), "predicted labels"),
    ]
    return layers


def on_canvas(volume: Volume) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Turn a scan so that the last two axes are a picture as people expect it.

    Rows go down: from anterior to posterior in a volume, as stored in a picture.

    Returns
    -------
    data, scale
        Slowest axis first, and the spacing along its axes.
    """
    data = volume.data
    if volume.ndim == 3 and volume.axcodes[1] == "A":
        data = data[:, ::-1]
    return np.transpose(data), volume.spacing[::-1]


def show(folder: Path) -> None:
    """Open napari with a demo's results and return when its window is closed."""
    import napari

    viewer = napari.Viewer(title="napari-gemini demo")
    for data, options, kind in demo_layers(folder):
        getattr(viewer, f"add_{kind}")(data, **options)
    if viewer.dims.ndim == 3:
        viewer.dims.set_current_step(0, viewer.layers[0].data.shape[0] // 2)
    viewer.scale_bar.visible = True
    napari.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the demo in the folder that the only argument names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1:
        print("Give the folder of a demo.", file=sys.stderr)
        return 2
    show(Path(words[0]))
    return 0


def _image(volume: Volume, name: str, **options: Any) -> Layer:
    data, scale = on_canvas(volume)
    return data, {"name": name, "scale": scale, **options}, "image"


def _labels(volume: Volume, name: str, **options: Any) -> Layer:
    data, scale = on_canvas(volume)
    return data, {"name": name, "scale": scale, "opacity": 0.5, **options}, "labels"


def _find(folder: Path, case: str) -> Path:
    return next(folder.glob(f"{case}.*"))


if __name__ == "__main__":
    raise SystemExit(main())
