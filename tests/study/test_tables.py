"""review.csv and landmarks/*.csv."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import InputError, StudyError
from napari_gemini.study.landmarks import (
    LandmarkPair,
    as_arrays,
    read_landmarks,
    swapped,
    write_landmarks,
)
from napari_gemini.study.review import (
    VERDICTS,
    current_user,
    latest,
    new_row,
    read_review,
    write_review,
)


def test_review_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    assert read_review(path) == []
    rows = [
        new_row("a", "rejected", 'left part, "torn"\nsecond line', who="Zoë"),
        new_row("b", "unsure"),
        new_row("a", "accepted", "=1+1", who="x"),
    ]
    write_review(path, rows)
    assert read_review(path) == rows
    assert (
        path.read_text(encoding="utf-8").splitlines()[0] == "case,verdict,comment,who,when,source"
    )
    assert latest(rows)["a"].verdict == "accepted"
    assert rows[1].who == current_user()
    assert datetime.fromisoformat(rows[0].when).tzinfo is not None
    assert "accepted" in VERDICTS


def test_review_from_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(
        "\ufeffwhen,case,verdict,comment,who,extra\r\n2026,a,accepted,,Ann,1\r\n".encode()
    )
    assert read_review(path)[0].who == "Ann"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"case,verdict\na,accepted\n", "lacks one of the columns"),
        (b"case,verdict,comment,who,when\na,great,,,\n", "near line 2"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_broken_reviews_are_named(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(text)
    with pytest.raises(StudyError, match=says):
        read_review(path)
    assert path.read_bytes() == text


def test_nobody_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert current_user() == ""


@pytest.mark.parametrize("ndim", [2, 3])
def test_landmarks_read_back_exactly(tmp_path: Path, ndim: int) -> None:
    path = tmp_path / "a__b.csv"
    assert read_landmarks(path) == []
    rng = np.random.default_rng(0)
    pairs = [
        LandmarkPair(f"point, {k}", tuple(rng.normal(size=ndim)), tuple(rng.normal(size=ndim)))
        for k in range(4)
    ]
    write_landmarks(path, pairs)
    assert read_landmarks(path) == pairs
    a, b = as_arrays(pairs)
    assert a.shape == b.shape == (4, ndim)
    assert np.array_equal(as_arrays(swapped(pairs))[0], b)
    write_landmarks(path, [])
    assert read_landmarks(path) == []


def test_senseless_landmarks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a__b.csv"
    for pair, says in (
        (LandmarkPair("p", (1.0, 2.0), (1.0, 2.0, 3.0)), "same number"),
        (LandmarkPair("p", (1.0,), (1.0,)), "two or three"),
        (LandmarkPair("p", (float("nan"), 1.0), (1.0, 2.0)), "finite"),
    ):
        with pytest.raises(InputError, match=says):
            write_landmarks(path, [pair])
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"x,y\n1,2\n", "does not begin with"),
        (b"name,a_x,a_y,b_x,b_y\np,1,2,3\n", "no landmark"),
        (b"name,a_x,a_y,b_x,b_y\np,1,2,3,nan\n", "no landmark"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_broken_landmark_files_are_named(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "a__b.csv"
    path.write_bytes(text)
    with pytest.raises(StudyError, match=says):
        read_landmarks(path)
