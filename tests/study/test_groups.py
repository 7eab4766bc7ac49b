"""Groups of scans that may be paired, from a file into the study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gemini.cli import main
from napari_gemini.errors import InputError
from napari_gemini.study.groups import read_groups
from napari_gemini.study.study import Study
from napari_gemini.volumes.pictures import write_png


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        picture = rng.integers(0, 255, (32, 32), dtype=np.uint8)
        write_png(folder / f"{name}.png", picture)
    return folder


def test_a_study_takes_its_groups_from_a_file(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("case,age,group\na,30,front\nb,31, front\nc,32,\n", encoding="utf-8-sig")
    code = main(["study", "new", str(tmp_path / "study"), str(images), "--groups", str(file)])
    assert code == 0
    groups = {case.id: case.group for case in Study.open(tmp_path / "study").cases}
    assert groups == {"a": "front", "b": "front", "c": None}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case;group\na;front\n", "no column 'case'"),
        ("case\na\n", "no column 'group'"),
        ("case,group\na,front\na,side\n", "names a twice"),
        (b"case,group\n\xff\xfe,x\n", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_is_one_sentence(
    tmp_path: Path, text: str | bytes | None, sentence: str
) -> None:
    file = tmp_path / "groups.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=sentence):
        read_groups(file)


def test_a_group_of_no_scan_is_one_sentence_and_leaves_nothing(
    images: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="for the case z"):
        Study.create(tmp_path / "study", [images], groups={"z": "front"})
    assert not (tmp_path / "study").exists()
