"""Corresponding points that a person set in two scans, to check a registration against."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError, StudyError
from napari_gemini.volumes.atomic import write_text_atomic

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LandmarkPair:
    """One point in two scans.

    Attributes
    ----------
    name
        Name of the point.
    a, b : (d,) float
        Position in the world of the first and the second scan (RAS mm).
    """

    name: str
    a: tuple[float, ...]
    b: tuple[float, ...]


def _columns(ndim: int) -> list[str]:
    return ["name", *(f"a_{x}" for x in "xyz"[:ndim]), *(f"b_{x}" for x in "xyz"[:ndim])]


def write_landmarks(path: str | Path, pairs: list[LandmarkPair]) -> None:
    """Write landmark pairs as ``name,a_x,a_y,a_z,b_x,b_y,b_z``, atomically.

    Raises
    ------
    InputError
        If the points have different dimensions, or a coordinate is no finite number.
    """
    sizes = {len(p.a) for p in pairs} | {len(p.b) for p in pairs}
    if len(sizes) > 1 or not sizes <= {2, 3}:
        raise InputError("Landmarks need two or three coordinates, the same number for all points.")
    ndim = sizes.pop() if sizes else 3
    if not all(math.isfinite(x) for p in pairs for x in (*p.a, *p.b)):
        raise InputError("A landmark has a coordinate that is no finite number: set it anew.")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_columns(ndim))
    for pair in pairs:
        writer.writerow([pair.name, *(repr(float(x)) for x in (*pair.a, *pair.b))])
    write_text_atomic(Path(path), stream.getvalue())


def read_landmarks(path: str | Path) -> list[LandmarkPair]:
    """Read landmark pairs; a missing file has none.

    Raises
    ------
    StudyError
        If the file cannot be understood.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read ({error}): mend or remove it.") from error
    rows = list(csv.reader(io.StringIO(text, newline="")))
    for ndim in (3, 2):
        if rows and rows[0] == _columns(ndim):
            return [_pair(row, ndim, path) for row in rows[1:] if row]
    raise StudyError(f"{path} does not begin with {','.join(_columns(3))}: mend the file.")


def _pair(row: list[str], ndim: int, path: Path) -> LandmarkPair:
    try:
        name, *numbers = row
        values = [float(x) for x in numbers]
        if len(values) != 2 * ndim or not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise StudyError(f"{path} has a row that is no landmark ({','.join(row)}): mend it.") from (
            None
        )
    return LandmarkPair(name, tuple(values[:ndim]), tuple(values[ndim:]))


def as_arrays(pairs: list[LandmarkPair]) -> tuple[Floats, Floats]:
    """Return the positions in both scans: two arrays (N, d)."""
    return np.array([p.a for p in pairs], float), np.array([p.b for p in pairs], float)


def swapped(pairs: list[LandmarkPair]) -> list[LandmarkPair]:
    """Return the pairs with the two scans exchanged."""
    return [LandmarkPair(p.name, p.b, p.a) for p in pairs]
