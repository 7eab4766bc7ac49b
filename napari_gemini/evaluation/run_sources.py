"""Where a run report takes its pictures, names and scores from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.evaluation.folders import find_cases
from napari_gemini.evaluation.pair_files import read_json
from napari_gemini.study.files import STUDY_FILE
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels, suffix_of


@dataclass
class RunSources:
    """What is known about a run besides its own folder.

    Attributes
    ----------
    config
        Content of ``config.json``; empty where there is none.
    images
        Image of each case.
    predictions, references
        Label map, or folder of masks, of each case.
    names, colors
        Name and colour of each label, by the key that reports have for it.
    """

    config: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    predictions: dict[str, Path] = field(default_factory=dict)
    references: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    colors: dict[str, str] = field(default_factory=dict)


def find_sources(
    run_folder: Path,
    predictions: str | Path | None = None,
    references: str | Path | None = None,
    images: Mapping[str, str | Path] | None = None,
) -> RunSources:
    """Collect what a run report needs.

    Parameters
    ----------
    run_folder
        ``<study>/runs/<run>`` as a rule; the study around it gives images, names and colours.
    predictions
        Folder of predictions; ``<study>/predictions/<run>`` when not given.
    references
        Folder of true label maps.
    images
        Image of each case, where the study does not know it.

    Returns
    -------
    RunSources
        With whatever there is.

    Raises
    ------
    InputError
        If the run folder is missing, or a folder that was named holds no label maps.
    """
    if not run_folder.is_dir():
        raise InputError(f"{run_folder} is not a folder; give the folder of a training run.")
    sources = RunSources()
    if (run_folder / "config.json").is_file():
        sources.config = read_json(run_folder / "config.json")
    study_folder = run_folder.absolute().parent.parent
    if (study_folder / STUDY_FILE).is_file():
        _take_study(sources, Study(study_folder), run_folder.name)
    sources.images.update({case: Path(path) for case, path in (images or {}).items()})
    if predictions is not None:
        sources.predictions = find_cases(predictions)
    if references is not None:
        sources.references = find_cases(references)
    return sources


def read_layers(path: Path) -> list[tuple[str, NDArray[Any]]]:
    """Return the labels of a case as (key, mask) pairs, one per label, or per mask file.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if suffix_of(file))
        return [(f.name[: -len(suffix_of(f))], read_labels(f).data != 0) for f in files]
    labels = read_labels(path).data
    return [(str(value), labels == value) for value in np.unique(labels).tolist() if value]


def _take_study(sources: RunSources, study: Study, run: str) -> None:
    scheme = study.scheme
    keys = scheme.file_names() if scheme.overlapping else {v: str(v) for v in scheme.names}
    sources.names = {keys[value]: name for value, name in scheme.names.items()}
    sources.colors = {keys[v]: color for v, color in scheme.colors.items() if v in keys}
    sources.images = {case.id: Path(case.image) for case in study.cases}
    try:
        sources.predictions = find_cases(study.predictions_dir(run))
    except GeminiError:
        # Nothing was predicted yet.
        sources.predictions = {}
