from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.cli import main
from napari_gemini.errors import InputError
from napari_gemini.phantom.random_anatomy import labels_of, random_anatomy
from napari_gemini.phantom.random_cohort import RandomGroup, random_groups
from napari_gemini.phantom.random_files import write_random_study
from napari_gemini.phantom.random_looks import Artefacts, acquire, random_artefacts
from napari_gemini.phantom.random_shapes import random_waves
from napari_gemini.phantom.truth import read_truth
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels, read_volume

CLEAN = Artefacts(
    gamma=1.0,
    bias=0.0,
    bias_length=0.3,
    blur=0.0,
    slice_axis=0,
    slice_factor=1,
    ghost_axis=0,
    ghost_shift=0.5,
    ghost=0.0,
    noise=0.0,
    speckle=0.0,
    window=(0.0, 1.0),
)


@pytest.fixture(scope="module")
def pictures() -> list[RandomGroup]:
    return list(random_groups(12, 3, 2, 96, seed=5))


@pytest.fixture(scope="module")
def volumes() -> list[RandomGroup]:
    return list(random_groups(2, 2, 3, 48, seed=5))


def test_the_same_seed_gives_the_same_and_more_begins_with_fewer() -> None:
    few = list(random_groups(2, 2, 2, 48, seed=1))
    more = list(random_groups(3, 3, 2, 48, seed=1))
    for a, b in zip(few, more, strict=False):
        for x, y in zip(a.cases, b.cases, strict=False):
            assert x.id == y.id
            assert np.array_equal(x.image.data, y.image.data)
            assert np.array_equal(x.labels.data, y.labels.data)
    other = next(random_groups(1, 2, 2, 48, seed=2))
    assert other.cases[0].image.data.tobytes() != few[0].cases[0].image.data.tobytes()


def test_anatomies_differ_between_groups(pictures: list[RandomGroup]) -> None:
    assert len({group.anatomy.kind for group in pictures}) == 3
    assert len({len(group.anatomy.structures) for group in pictures}) > 4
    names = [case.id for group in pictures for case in group.cases]
    assert len(set(names)) == 36


def test_each_scan_shows_something(pictures: list[RandomGroup], volumes: list[RandomGroup]) -> None:
    for group in [*pictures, *volumes]:
        for case in group.cases:
            assert case.image.shape == case.labels.shape
            assert len(np.unique(case.labels.data)) >= 3
            assert float(case.image.data.std()) > 0.02 * float(case.image.data.max())
    assert pictures[0].cases[0].image.data.dtype == np.uint8
    assert volumes[0].cases[0].image.data.dtype == np.int16


def test_scans_of_a_group_correspond_and_scans_of_two_do_not(
    pictures: list[RandomGroup], volumes: list[RandomGroup]
) -> None:
    for group in [*pictures[:4], *volumes]:
        fixed, moving = group.cases[0], group.cases[1]
        voxels = np.argwhere(fixed.labels.data > 0)[::7]
        points = group.truth.true_map(
            fixed.id, moving.id, fixed.labels.voxel_to_world(voxels.astype(float))
        )
        where = np.rint(moving.labels.world_to_voxel(points)).astype(int)
        inside = np.all((where >= 0) & (where < moving.labels.shape), axis=1)
        found = moving.labels.data[tuple(where[inside].T)]
        agree = (found == fixed.labels.data[tuple(voxels[inside].T)]).mean()
        ndim = fixed.labels.ndim
        stay = np.all(voxels < moving.labels.shape, axis=1)
        before = moving.labels.data[tuple(voxels[stay].T)]
        assert agree > (0.85 if ndim == 3 else 0.9)
        assert agree > (before == fixed.labels.data[tuple(voxels[stay].T)]).mean() + 0.03


def test_maps_never_fold(volumes: list[RandomGroup]) -> None:
    for group in volumes:
        labels = group.cases[0].labels
        axes = [np.arange(0, n, 2) for n in labels.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        world = labels.voxel_to_world(index.reshape(-1, 3).astype(float))
        mapped = group.truth.true_map(group.cases[0].id, group.cases[1].id, world)
        gradient = np.gradient(mapped.reshape(*index.shape), 2.0, axis=(0, 1, 2))
        assert np.linalg.det(np.stack(gradient, -1)).min() > 0.05


def test_a_structure_stays_within_its_parent() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (4000, 3)).astype(np.float32)
    nested = 0
    for _ in range(12):
        anatomy = random_anatomy(rng, 3)
        values = anatomy.evaluate(u)
        for k, structure in enumerate(anatomy.structures):
            assert 0 < structure.tissue < anatomy.tissues
            if structure.within is not None:
                nested += 1
                assert structure.within < k
                assert not np.any((values[k] < 0) & (values[structure.within] >= 0))
        assert labels_of(values).max() <= len(anatomy.structures)
    assert nested > 20


def test_neighbouring_structures_have_other_tissues() -> None:
    rng = np.random.default_rng(1)
    for _ in range(12):
        structures = random_anatomy(rng, 2).structures
        for structure in structures:
            if structure.within is not None:
                assert structure.tissue != structures[structure.within].tissue


def test_waves_have_the_promised_spread() -> None:
    rng = np.random.default_rng(2)
    u = rng.uniform(-20, 20, (20_000, 3)).astype(np.float32)
    values = random_waves(rng, 3, 3.0, 6.0)(u)
    assert abs(float(values.mean())) < 0.05
    assert float(values.std()) == pytest.approx(1.0, abs=0.05)


def test_contrasts_differ_between_groups(pictures: list[RandomGroup]) -> None:
    """Whether the surroundings or the body are brighter cannot be told beforehand."""
    signs = []
    for group in pictures:
        if group.anatomy.kind == "interior":
            continue
        case = group.cases[0]
        inside = case.image.data[case.labels.data > 0].mean()
        signs.append(bool(inside > case.image.data[case.labels.data == 0].mean()))
    values = [float(np.median(group.cases[0].image.data)) for group in pictures]
    assert len(signs) > 3
    assert np.ptp(values) > 60


def square(shape: tuple[int, ...] = (40, 30)) -> np.ndarray:
    picture = np.full(shape, 0.2, np.float32)
    picture[10:20, 8:20] = 0.8
    return picture


def test_a_clean_scanner_changes_only_the_scale() -> None:
    scan = acquire(np.random.default_rng(0), square(), CLEAN)
    assert np.array_equal(np.unique(scan), [0.0, 1.0])
    assert np.array_equal(scan > 0.5, square() > 0.5)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"noise": 0.1}, True),
        ({"speckle": 0.3}, True),
        ({"blur": 1.0}, False),
    ],
)
def test_noise_and_blur_change_neighbours(change: dict, more: bool) -> None:
    plain = acquire(np.random.default_rng(0), square(), CLEAN)
    other = acquire(np.random.default_rng(0), square(), replace(CLEAN, **change))
    steps = [float((np.diff(scan, axis=0) ** 2).mean() / scan.var()) for scan in (plain, other)]
    assert (steps[1] > steps[0]) == more


def test_thick_slices_lose_detail_along_one_axis() -> None:
    # Lines along each axis: those across the slices vanish, the others stay.
    stripes = np.indices((40, 30)) % 2
    thick = replace(CLEAN, slice_axis=0, slice_factor=4)
    across = acquire(np.random.default_rng(0), stripes[0].astype(np.float32), thick)
    along = acquire(np.random.default_rng(0), stripes[1].astype(np.float32), thick)
    assert np.unique(along[8:-8]).tolist() == [0.0, 1.0]
    assert np.ptp(across[8:-8]) < 1e-3


def test_a_ghost_repeats_the_object() -> None:
    ghost = replace(CLEAN, ghost=0.1, ghost_axis=0, ghost_shift=0.5)
    scan = acquire(np.random.default_rng(0), square(), ghost)
    assert scan[35, 12] > scan[35, 25] + 0.05


def test_the_bias_field_is_smooth_and_strong() -> None:
    flat = np.full((48, 48), 0.5, np.float32)
    scan = acquire(np.random.default_rng(0), flat, replace(CLEAN, bias=0.3, bias_length=0.3))
    assert np.ptp(scan) == pytest.approx(1.0)
    assert np.abs(np.diff(scan, axis=0)).max() < 0.15


def test_artefacts_are_drawn_from_their_ranges() -> None:
    rng = np.random.default_rng(3)
    drawn = [random_artefacts(rng, 3) for _ in range(300)]
    assert {a.slice_factor for a in drawn} == {1, 2, 3, 4}
    assert {a.slice_axis for a in drawn} == {0, 1, 2}
    for name in ("bias", "blur", "ghost", "speckle"):
        share = np.mean([getattr(a, name) > 0 for a in drawn])
        assert 0.05 < share < 0.95
    assert min(a.noise for a in drawn) > 0
    assert all(0 <= a.window[0] < a.window[1] <= 1 for a in drawn)


def test_a_written_study_knows_its_groups(tmp_path: Path, volumes: list[RandomGroup]) -> None:
    folder = write_random_study(tmp_path / "study", volumes, len(volumes))
    study = Study.open(folder)
    assert study.dimension == 3
    assert [case.group for case in study.cases] == ["g001", "g001", "g002", "g002"]
    assert {case.role for case in study.cases} == {"unlabelled"}
    assert study.grid.shape == (48, 48, 48)
    case = volumes[1].cases[1]
    assert np.array_equal(study.load_image(case.id).data, case.image.data)
    truth = read_truth(folder / "truth" / "g002")
    points = np.random.default_rng(0).uniform(-20, 20, (20, 3))
    assert np.allclose(
        truth.true_map("g002-01", "g002-02", points),
        volumes[1].truth.true_map("g002-01", "g002-02", points),
    )
    structures = read_labels(folder / "truth" / "g002" / "labels" / "g002-02.nii.gz")
    assert np.array_equal(structures.data, case.labels.data)
    with pytest.raises(InputError, match="not an empty folder"):
        write_random_study(folder, volumes, 2)


def test_the_command_makes_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["phantom", str(tmp_path / "made"), "--random", "--2d", "--groups", "2"]
    assert main([*words, "--per-group", "2", "--size", "48", "--seed", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["cases"], result["groups"], result["dimension"]) == (4, 2, 2)
    study = Study.open(tmp_path / "made")
    assert sorted({case.group for case in study.cases}) == ["g001", "g002"]
    image = read_volume(tmp_path / "made" / "images" / "g002-01.png")
    assert 32 <= max(image.shape) <= 48


def test_the_command_makes_one_organ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "organ"), "--count", "8", "--2d"]) == 0
    assert "study new" in capsys.readouterr().out
    assert len(list((tmp_path / "organ" / "labels").iterdir())) == 8


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--random", "--size", "8"], "at least 32 voxels"),
        (["--size", "64"], "--size needs --random"),
    ],
)
def test_the_command_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    assert main(["phantom", str(tmp_path / "made"), *words]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_impossible_groups_are_refused() -> None:
    for wrong in ((0, 2, 3), (1, 1, 3), (1, 2, 4)):
        with pytest.raises(InputError, match=r"^[A-Z].*[.]$"):
            random_groups(*wrong)
