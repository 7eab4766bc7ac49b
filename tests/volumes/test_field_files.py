"""Displacement fields in files: every kind says the same, and bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_gemini.errors import EngineError, InputError
from napari_gemini.volumes.fields import (
    DisplacementField,
    field_bytes,
    read_field,
    total_field,
    write_field,
)
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
)
from napari_gemini.volumes.volume import Volume
from tests.volumes.helpers import (
    marker,
)


@pytest.mark.parametrize("name", ["f.h5", "f.nrrd", "f.mha", "f.nii.gz"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_field_file_says_the_same(tmp_path: Path, name: str, ndim: int) -> None:
    affine = np.eye(4)
    affine[:2, :2] = [[0.8, -1.2], [0.6, 1.6]]
    affine[:ndim, 3] = [5, -6, 7][:ndim]
    vectors = np.random.default_rng(0).normal(size=(ndim, *(5, 6, 7)[:ndim]))
    field = DisplacementField(vectors, affine)
    write_field(tmp_path / name, field)
    back = read_field(tmp_path / name)
    np.testing.assert_array_equal(back.vectors, vectors)
    np.testing.assert_allclose(back.affine, affine, atol=1e-5)
    if name == "f.h5":
        transform = sitk.ReadTransform(str(tmp_path / name))
    else:
        image = sitk.ReadImage(str(tmp_path / name), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(image)
    point = affine[:ndim, :ndim] @ np.full(ndim, 2.0) + affine[:ndim, 3]
    lps = point * np.array([-1, -1, 1])[:ndim]
    moved = np.array(transform.TransformPoint(lps.tolist())) - lps
    np.testing.assert_allclose(moved, vectors[(slice(None), *(2,) * ndim)], atol=1e-4)


def test_field_size_is_known_before_writing(tmp_path: Path) -> None:
    for shape in ((30, 31, 32), (200, 210)):
        field = DisplacementField(np.zeros((len(shape), *shape)), np.eye(4))
        assert field_bytes(field.shape) == (24 if len(shape) == 3 else 16) * np.prod(shape)
        write_field(tmp_path / "field.h5", field)
        size = (tmp_path / "field.h5").stat().st_size
        assert 0 <= size - field_bytes(field.shape) < 30_000


def test_bad_field_files(tmp_path: Path) -> None:
    field = DisplacementField(np.zeros((3, 4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="does not exist"):
        read_field(tmp_path / "no.h5")
    with pytest.raises(InputError, match="no suffix for a displacement field"):
        write_field(tmp_path / "field.txt", field)
    path = tmp_path / "field.h5"
    path.write_bytes(b"no field")
    with pytest.raises(InputError, match="truncated or damaged"):
        read_field(path)
    write_field(path, field)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_field(path)
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    with pytest.raises(InputError, match="not a displacement field"):
        read_field(path)
    both = sitk.CompositeTransform([sitk.AffineTransform(3), sitk.TranslationTransform(3)])
    sitk.WriteTransform(both, str(path))
    with pytest.raises(InputError, match="2 transforms in a row"):
        read_field(path)
    part = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64))
    sitk.WriteTransform(sitk.CompositeTransform([part]), str(path))
    assert read_field(path).shape == (4, 4, 4)
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkFloat32), str(tmp_path / "f.nrrd"))
    with pytest.raises(InputError, match="1 values per voxel"):
        read_field(tmp_path / "f.nrrd")


def test_impossible_fields_are_programming_mistakes() -> None:
    with pytest.raises(ValueError, match="lattice of d axes"):
        DisplacementField(np.zeros((2, 4, 4, 4)), np.eye(4))
    with pytest.raises(ValueError, match="4x4"):
        DisplacementField(np.zeros((2, 4, 4)), np.eye(3))
    scan = Volume(marker((4, 4, 4), (1, 1, 1)), np.eye(4))
    here = Placement(np.eye(4))
    with pytest.raises(ValueError, match="does not fit the grid"):
        total_field(np.zeros((3, 4, 4, 4)), StudyGrid((16, 16, 16)), here, here, scan, scan)


def test_a_write_that_itk_does_not_notice_to_fail_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = DisplacementField(np.ones((3, 4, 4, 4)), np.eye(4))
    other = DisplacementField(np.zeros((3, 4, 4, 4)), np.eye(4))
    monkeypatch.setattr("napari_gemini.volumes.field_files._read", lambda path: other)
    with pytest.raises(EngineError, match="not what was read back"):
        write_field(tmp_path / "field.h5", field)
    assert list(tmp_path.iterdir()) == []
