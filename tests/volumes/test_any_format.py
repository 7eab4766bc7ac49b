"""What holds for every format: names, types of labels, what is written as what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import (
    is_supported,
    read_labels,
    read_volume,
    smallest_label_type,
)
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume
from tests.volumes.helpers import (
    refused,
)


def test_unsupported_names(tmp_path: Path) -> None:
    assert is_supported("A.NII.GZ")
    assert not is_supported(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "does not exist")
    (tmp_path / "a.jpg").write_bytes(b"x")
    refused(tmp_path / "a.jpg", "not a kind of image this program reads")
    refused(tmp_path / "a.jpg", "not a kind of image", read_labels)
    like = Volume(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="suffix this program does not write"):
        write_volume(tmp_path / "b.jpg", like.data, like)
    (tmp_path / "d.nii").mkdir()
    refused(tmp_path / "d.nii", "without a DICOM series")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_labels_have_to_be_whole_numbers_from_zero(tmp_path: Path, name: str) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    path = tmp_path / name
    write_volume(path, np.full(like.shape, 3.0), like)
    assert read_labels(path).data.dtype == np.uint8
    write_volume(path, np.full(like.shape, 3.25), like)
    refused(path, "not whole numbers", read_labels)
    write_volume(path, np.full(like.shape, -1, np.int16), like)
    refused(path, "negative labels", read_labels)
    write_volume(path, np.full(like.shape, 1e12), like)
    refused(path, "renumber", read_labels)
    with pytest.raises(InputError, match="whole numbers"):
        write_labels(path, np.full(like.shape, 0.5), like)
    with pytest.raises(InputError, match="0 or more"):
        write_labels(path, np.full(like.shape, -2), like)
    with pytest.raises(InputError, match="too large"):
        write_labels(path, np.full(like.shape, 2**40), like)
    with pytest.raises(ValueError, match="not on the grid"):
        write_labels(path, np.zeros((4, 4, 4)), like)


def test_labels_take_the_smallest_type(tmp_path: Path) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    for largest, kind in ((0, "uint8"), (255, "uint8"), (256, "uint16"), (70_000, "uint32")):
        assert smallest_label_type(largest) == kind
        labels = np.zeros(like.shape)
        labels[1, 2, 3] = largest
        write_labels(tmp_path / "a.nii.gz", labels, like)
        back = read_labels(tmp_path / "a.nii.gz")
        assert back.data.dtype == kind
        np.testing.assert_array_equal(back.data, labels)


def test_masks_and_wide_numbers_are_written_as_something_readable(tmp_path: Path) -> None:
    like = Volume(np.zeros((4, 5, 6)), np.eye(4))
    rng = np.random.default_rng(0)
    for data, kind in (
        (rng.random(like.shape) > 0.5, "uint8"),
        (rng.random(like.shape), "float32"),
        (rng.integers(-5, 5, like.shape), "int32"),
        (rng.integers(2**31, 2**32, like.shape), "uint32"),
        (rng.integers(2**40, 2**41, like.shape), "int64"),
    ):
        write_volume(tmp_path / "a.nii", data, like)
        back = read_volume(tmp_path / "a.nii")
        assert back.data.dtype == kind
        np.testing.assert_allclose(back.data, data, rtol=1e-7)
