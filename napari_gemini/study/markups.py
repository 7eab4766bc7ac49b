"""Point lists of 3D Slicer (``.mrk.json``), whose positions are LPS or RAS millimetres.

Written after Slicer's published schema 1.0.3; ours are always LPS, Slicer's own default. A file
holds one or more lists; landmark pairs are two lists, one for each scan, in a file each, which is
how Slicer's landmark registration takes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_gemini.errors import InputError
from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.volumes.atomic import write_json_atomic

SUFFIX = ".mrk.json"
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    "Resources/Schema/markups-schema-v1.0.3.json#"
)
#: Signs of x and y from a coordinate system to RAS.
_TO_RAS = {"LPS": -1.0, "RAS": 1.0}
_TO_MM = {"mm": 1.0, "um": 1e-3}


@dataclass(frozen=True)
class PointList:
    """Named points of one scan.

    Attributes
    ----------
    name
        Of the list.
    labels
        Of the points.
    points
        Three RAS millimetres each.
    """

    name: str
    labels: list[str]
    points: list[tuple[float, float, float]]


def write_point_list(path: str | Path, points: PointList) -> None:
    """Write a point list that Slicer opens, atomically, in LPS.

    Raises
    ------
    InputError
        If a coordinate is no finite number.
    """
    if not all(math.isfinite(x) for point in points.points for x in point):
        raise InputError("A landmark has a coordinate that is no finite number: set it anew.")
    control = [
        {
            "id": str(number),
            "label": label,
            "description": "",
            "associatedNodeID": "",
            "position": [-x + 0.0, -y + 0.0, z + 0.0],
            "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (label, (x, y, z)) in enumerate(
            zip(points.labels, points.points, strict=True), start=1
        )
    ]
    markup = {
        "type": "Fiducial",
        "name": points.name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(control),
        "controlPoints": control,
    }
    write_json_atomic(Path(path), {"@schema": _SCHEMA, "markups": [markup]})


def read_point_lists(path: str | Path) -> list[PointList]:
    """Read the point lists of a file; points without a position are left out.

    Raises
    ------
    InputError
        If the file is no markups file, or says its positions in a way that is not known.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); export it from Slicer again.") from None
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list):
        raise InputError(f"{path} is no markups file of Slicer; export a point list as .mrk.json.")
    lists = [
        _point_list(markup, path)
        for markup in markups
        if isinstance(markup, dict) and markup.get("type") == "Fiducial"
    ]
    if not lists:
        raise InputError(f"{path} holds no point list; export one from Slicer as .mrk.json.")
    return lists


def _point_list(markup: dict[str, Any], path: Path) -> PointList:
    system = markup.get("coordinateSystem", "LPS")
    if system not in _TO_RAS:
        raise InputError(
            f"{path} has positions in {system!r}; export the point list in LPS or RAS."
        )
    factor = _factor(markup.get("coordinateUnits", "mm"), path)
    sign = _TO_RAS[system]
    labels, points = [], []
    for number, control in enumerate(markup.get("controlPoints") or [], start=1):
        if control.get("positionStatus", "defined") != "defined":
            continue
        x, y, z = _position(control.get("position"), path)
        labels.append(str(control.get("label") or f"{markup.get('name') or 'point'}-{number}"))
        points.append((sign * factor * x, sign * factor * y, factor * z))
    return PointList(str(markup.get("name") or path.name.removesuffix(SUFFIX)), labels, points)


def _factor(units: Any, path: Path) -> float:
    # Either UCUM's word or a coded entry of three that begins with it.
    word = units[0] if isinstance(units, list) and units else units
    if word not in _TO_MM:
        raise InputError(f"{path} has positions in {word!r}; export the point list in mm.")
    return _TO_MM[word]


def _position(values: Any, path: Path) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"{path} has a point without three numbers ({values}): mend it.") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise InputError(f"{path} has a point without three numbers ({values}): mend it.")
    return x, y, z


def pair_point_lists(a: PointList, b: PointList) -> list[LandmarkPair]:
    """Pair the points of two scans: by their labels, else by their order.

    Parameters
    ----------
    a, b
        Of the first and the second scan. Labels pair points where both lists have the same ones,
        each once; otherwise lists of one length are paired in order.

    Raises
    ------
    InputError
        If it is not clear which points belong together.
    """
    common = set(a.labels) & set(b.labels)
    unique = all(len(set(side.labels)) == len(side.labels) for side in (a, b))
    if unique and common and (len(common) == min(len(a.labels), len(b.labels))):
        where = dict(zip(b.labels, b.points, strict=True))
        return [
            LandmarkPair(label, point, where[label])
            for label, point in zip(a.labels, a.points, strict=True)
            if label in common
        ]
    if len(a.points) == len(b.points) and not common:
        names = a.labels if unique else [str(n + 1) for n in range(len(a.points))]
        return [LandmarkPair(*both) for both in zip(names, a.points, b.points, strict=True)]
    raise InputError(
        f"The {len(a.points)} points of {a.name} and the {len(b.points)} of {b.name} do not pair "
        "up; give points that belong together the same label."
    )


def write_landmark_markups(
    folder: str | Path, stem: str, pairs: Sequence[LandmarkPair], names: tuple[str, str]
) -> tuple[Path, Path]:
    """Write landmark pairs as two point lists.

    Parameters
    ----------
    folder, stem
        The files are ``<stem>_fixed.mrk.json`` and ``<stem>_moving.mrk.json``.
    pairs
        First positions are those in the fixed scan. Points of 2D scans get z = 0.
    names
        Of the two scans, which name the lists.

    Returns
    -------
    tuple of Path
        The two files.
    """
    labels = [pair.name for pair in pairs]
    paths = []
    for role, name, points in (
        ("fixed", names[0], [pair.a for pair in pairs]),
        ("moving", names[1], [pair.b for pair in pairs]),
    ):
        path = Path(folder) / f"{stem}_{role}{SUFFIX}"
        solid = [(*point, 0.0)[:3] for point in points]
        write_point_list(path, PointList(name, labels, [(p[0], p[1], p[2]) for p in solid]))
        paths.append(path)
    return paths[0], paths[1]


def flattened(pairs: Sequence[LandmarkPair], ndim: int) -> list[LandmarkPair]:
    """Return pairs with the coordinates that scans of a dimension have; 2D leaves z out."""
    return [LandmarkPair(pair.name, pair.a[:ndim], pair.b[:ndim]) for pair in pairs]
