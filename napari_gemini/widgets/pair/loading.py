"""From a folder of results to a pair: files that ITK parses are read in the engine's child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.engine.arrays import ArrayExchange
from napari_gemini.engine.jobs import LoadPairJob
from napari_gemini.study.study import Study
from napari_gemini.volumes.displacement import DisplacementField
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.common.engine import JobHandle, OnError, QtEngine
from napari_gemini.widgets.pair.pair_data import PairData

OnPair = Callable[[PairData], None]


def load_pair(
    engine: QtEngine,
    folder: Path,
    on_pair: OnPair,
    on_error: OnError,
    *,
    study: Study | None = None,
    temporary: bool = False,
) -> JobHandle:
    """Read a folder of results without holding the window up.

    Parameters
    ----------
    engine
        Reads it in its child; torch is not needed there.
    folder
        That ``correspond`` or ``propagate`` wrote.
    on_pair, on_error
        Called on the GUI thread with the pair, or with a sentence.
    study
        Where its cases are recognised by their images.
    temporary
        Whether the folder goes away with the window.

    Raises
    ------
    EngineError
        If the child cannot be started.
    """

    def finished(values: dict[str, Any]) -> None:
        pair = pair_of(values, engine.arrays)
        pair.fixed_case = case_of(study, pair.fixed.path)
        pair.moving_case = case_of(study, pair.moving.path)
        pair.temporary = temporary
        on_pair(pair)

    return engine.run(
        LoadPairJob(folder=folder),
        description=f"Opening the pair {folder.name}",
        on_result=finished,
        on_error=on_error,
    )


def pair_of(values: dict[str, Any], arrays: ArrayExchange) -> PairData:
    """Make a pair of what the job ``load-pair`` returned; its arrays are mapped, not copied."""
    return PairData(
        fixed=_volume(values["fixed"], arrays),
        moving=_volume(values["moving"], arrays),
        there=_field(values["there"], arrays),
        back=None if values["back"] is None else _field(values["back"], arrays),
        report=values["report"],
        folder=Path(values["folder"]),
    )


def case_of(study: Study | None, image: Path | None) -> str | None:
    """Return the id of the case whose image a file is, None for others."""
    if study is None or image is None:
        return None
    wanted = image.resolve()
    for case in study.cases:
        places = [Path(case.image)]
        if case.relative is not None:
            places.append(study.folder / case.relative)
        if any(place.resolve() == wanted for place in places):
            return case.id
    return None


def _volume(entry: dict[str, Any], arrays: ArrayExchange) -> Volume:
    data = _array(entry["array"], arrays)
    affine = np.array(entry["affine"])
    return Volume(data, affine, bool(entry["spacing_known"]), Path(entry["path"]))


def _field(entry: dict[str, Any], arrays: ArrayExchange) -> DisplacementField:
    return DisplacementField(_array(entry["array"], arrays), np.array(entry["affine"]))


def _array(ref: dict[str, Any], arrays: ArrayExchange) -> np.ndarray:
    array = arrays.open(ref)
    # The mapping keeps the voxels; the file would only take room.
    arrays.discard(ref)
    return array
