"""Slicer's point lists: what we write is read by Slicer itself, and the other way round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.study.landmarks import LandmarkPair
from napari_gemini.study.markups import (
    PointList,
    flattened,
    pair_point_lists,
    read_point_lists,
    write_landmark_markups,
    write_point_list,
)

POINTS = [(1.5, -20.25, 3.0), (-4.0, 5.0, 66.125)]
LIST = PointList("fixed", ["hippocampus", "µ-point"], POINTS)


def in_slicer(path: Path) -> tuple[list[str], np.ndarray]:
    """Read a point list with Slicer's own storage node; positions in RAS."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    node = slicer.vtkMRMLMarkupsFiducialNode()
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    count = node.GetNumberOfControlPoints()
    labels = [node.GetNthControlPointLabel(n) for n in range(count)]
    return labels, np.array([node.GetNthControlPointPosition(n) for n in range(count)])


def test_slicer_reads_our_points_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "points.mrk.json"
    write_point_list(path, LIST)
    labels, points = in_slicer(path)
    assert labels == LIST.labels
    assert np.allclose(points, POINTS)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_we_read_what_slicer_writes(tmp_path: Path, system: str) -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName("set in Slicer")
    for label, point in zip(LIST.labels, POINTS, strict=True):
        node.AddControlPoint(*point, label)
    node.AddControlPoint(0.0, 0.0, 0.0, "nowhere")
    node.UnsetNthControlPointPosition(2)
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetCoordinateSystem(storage.GetCoordinateSystemFromString(system))
    path = tmp_path / "slicer.mrk.json"
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1
    assert json.loads(path.read_text())["markups"][0]["coordinateSystem"] == system
    (found,) = read_point_lists(path)
    assert found.labels == LIST.labels
    assert np.allclose(found.points, POINTS)


def test_what_the_format_demands_is_there(tmp_path: Path) -> None:
    path = tmp_path / "points.mrk.json"
    write_point_list(path, LIST)
    content = json.loads(path.read_text())
    assert content["@schema"].endswith("markups-schema-v1.0.3.json#")
    (markup,) = content["markups"]
    assert markup["type"] == "Fiducial"
    assert (markup["coordinateSystem"], markup["coordinateUnits"]) == ("LPS", "mm")
    first = markup["controlPoints"][0]
    # LPS: x and y the other way round.
    assert first["position"] == [-1.5, 20.25, 3.0]
    assert first["positionStatus"] == "defined"
    assert len(first["orientation"]) == 9


def test_units_and_missing_entries(tmp_path: Path) -> None:
    path = tmp_path / "p.mrk.json"
    markup = {"type": "Fiducial", "controlPoints": [{"position": [1000, 2000, 3000]}]}
    markup["coordinateUnits"] = ["um", "UCUM", "micrometer"]
    path.write_text(json.dumps({"@schema": "", "markups": [{"type": "Line"}, markup]}))
    (found,) = read_point_lists(path)
    assert found.points == [(-1.0, -2.0, 3.0)]
    assert found.labels == ["point-1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "no markups file"),
        ('{"markups": [{"type": "Plane"}]}', "no point list"),
        ('{"markups": [{"type": "Fiducial", "coordinateSystem": "XYZ"}]}', "LPS or RAS"),
        ('{"markups": [{"type": "Fiducial", "coordinateUnits": "inch"}]}', "in mm"),
        (
            '{"markups": [{"type": "Fiducial", "controlPoints": [{"position": [1, 2]}]}]}',
            "three numbers",
        ),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "bad.mrk.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_point_lists(path)


def test_points_are_paired_by_label_else_by_order() -> None:
    other = PointList("moving", ["µ-point", "hippocampus"], [(0, 0, 1), (0, 0, 2)])
    pairs = pair_point_lists(LIST, other)
    assert [(p.name, p.b) for p in pairs] == [("hippocampus", (0, 0, 2)), ("µ-point", (0, 0, 1))]
    numbered = PointList("moving", ["m-1", "m-2"], [(0, 0, 1), (0, 0, 2)])
    assert [p.b for p in pair_point_lists(LIST, numbered)] == [(0, 0, 1), (0, 0, 2)]
    three = PointList("moving", ["m-1", "m-2", "m-3"], [(0, 0, 1)] * 3)
    with pytest.raises(InputError, match="do not pair up"):
        pair_point_lists(LIST, three)
    # Half of the labels agree: order would be a guess.
    half = PointList("moving", ["hippocampus", "other"], [(0, 0, 1), (0, 0, 2)])
    with pytest.raises(InputError, match="do not pair up"):
        pair_point_lists(LIST, half)


def test_pairs_come_back_from_two_files(tmp_path: Path) -> None:
    pairs = [LandmarkPair("a", (1, 2), (3, 4)), LandmarkPair("b", (5, 6), (7, 8))]
    paths = write_landmark_markups(tmp_path, "case", pairs, ("f", "m"))
    assert [path.name for path in paths] == ["case_fixed.mrk.json", "case_moving.mrk.json"]
    lists = [read_point_lists(path)[0] for path in paths]
    assert flattened(pair_point_lists(*lists), 2) == pairs
