"""Landmark pairs in and out of files: csv, and point lists of 3D Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_gemini.errors import InputError
from napari_gemini.study.landmarks import LandmarkPair, read_landmarks, write_landmarks
from napari_gemini.study.markups import (
    SUFFIX,
    flattened,
    pair_point_lists,
    read_point_lists,
    write_landmark_markups,
)


def import_landmarks(paths: Sequence[Path], ndim: int) -> list[LandmarkPair]:
    """Read landmark pairs from one csv, or from Slicer's point lists of the two scans.

    Parameters
    ----------
    paths
        A csv; or one ``.mrk.json`` with two lists; or two with one each, the fixed scan's first
        (a name that ends in ``fixed`` or ``moving`` tells).
    ndim
        Of the scans.

    Raises
    ------
    GeminiError
        If the files are not that, or of another dimension.
    """
    if all(path.name.lower().endswith((SUFFIX, ".json")) for path in paths):
        pairs = _from_slicer(_fixed_first(paths))
        return flattened(pairs, ndim)
    if len(paths) != 1:
        raise InputError("Choose one csv file, or the two .mrk.json files of a pair.")
    if not paths[0].is_file():
        raise InputError(f"{paths[0]} is not there; choose another file.")
    pairs = read_landmarks(paths[0])
    if any(len(pair.a) != ndim for pair in pairs):
        raise InputError(
            f"{paths[0]} holds landmarks of {len(pairs[0].a)} coordinates and these scans have "
            f"{ndim}; choose the file of this pair."
        )
    return pairs


def _fixed_first(paths: Sequence[Path]) -> list[Path]:
    def rank(path: Path) -> int:
        stem = path.name.lower().removesuffix(".json").removesuffix(".mrk")
        return 0 if stem.endswith("fixed") else 2 if stem.endswith("moving") else 1

    return sorted(paths, key=rank)


def _from_slicer(paths: Sequence[Path]) -> list[LandmarkPair]:
    lists = [points for path in paths for points in read_point_lists(path)]
    if len(lists) != 2:
        raise InputError(
            f"The chosen files hold {len(lists)} point list{'s' * (len(lists) != 1)}; choose two, "
            "the fixed scan's and the moving scan's."
        )
    return pair_point_lists(*lists)


def export_landmarks(
    path: Path, pairs: Sequence[LandmarkPair], names: tuple[str, str], in_mm: bool
) -> list[Path]:
    """Write landmark pairs and return the files.

    Parameters
    ----------
    path
        Ends in ``.csv``; or in ``.mrk.json``, which gives one file for each scan beside it.
    pairs
        First positions are those in the fixed scan.
    names
        Of the fixed and the moving scan.
    in_mm
        Whether positions are millimetres, which Slicer needs.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    if not path.name.lower().endswith(SUFFIX):
        if path.suffix.lower() != ".csv":
            path = path.with_name(path.name + ".csv")
        write_landmarks(path, list(pairs))
        return [path]
    if not in_mm:
        raise InputError(
            "These positions are pixels and Slicer's files hold millimetres; export a csv file."
        )
    stem = path.name[: -len(SUFFIX)]
    return list(write_landmark_markups(path.parent, stem, pairs, names))
