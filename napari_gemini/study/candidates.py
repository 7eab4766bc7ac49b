"""What a study would be made of, before it is made: names, labels and volumes to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

from napari_gemini.study.label_sources import LabelSource
from napari_gemini.study.naming import absolute, by_case, find_images
from napari_gemini.volumes.reading import NIFTI_SUFFIXES, suffix_of


@dataclass(frozen=True)
class Candidate:
    """An image that would become a case.

    Attributes
    ----------
    case
        The id that it would get.
    image
        The file, or a folder with a DICOM series.
    volumes
        How many volumes the file holds; one has to be chosen where there are several.
    labelled
        Whether labels of that name were found.
    """

    case: str
    image: Path
    volumes: int = 1
    labelled: bool = False


def list_candidates(
    sources: Sequence[str | Path], labels_dir: str | Path | None = None
) -> list[Candidate]:
    """List what a study of some images would hold; no voxel is read.

    Parameters
    ----------
    sources
        Files, patterns or folders.
    labels_dir
        Folder of label maps named like the images.

    Raises
    ------
    InputError
        If a source names nothing, or two files would be one case.
    """
    labels = None if labels_dir is None else LabelSource(absolute(labels_dir))
    return [
        Candidate(case, path, count_volumes(path), labels is not None and case in labels)
        for case, path in by_case(find_images(sources), "images").items()
    ]


def count_volumes(path: Path) -> int:
    """Return how many volumes a file holds, by its header; 1 where that cannot be told.

    Only NIfTI files are looked at: others with several volumes are refused when they are read.
    """
    if suffix_of(path) not in NIFTI_SUFFIXES:
        return 1
    try:
        shape = tuple(nib.load(path).header.get_data_shape())  # type: ignore[attr-defined]
    except Exception:  # whatever is wrong with the file is said when it is read
        return 1
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return int(shape[3]) if len(shape) == 4 else 1
