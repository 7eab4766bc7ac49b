"""Real scans where they are at hand, and a full-size pair within its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.volumes.checks import check_image, check_labels_match
from napari_gemini.volumes.grid import (
    StudyGrid,
    choose_grid,
    image_from_grid,
    image_to_grid,
    labels_from_grid,
    labels_to_grid,
    overhang,
    place_by_center_of_mass,
)
from napari_gemini.volumes.intensity import choose_intensity_mode
from napari_gemini.volumes.reading import read_labels, read_volume

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real scans at {DATA}")


@needs_data
def test_hippocampus_scans_reach_a_48_64_48_grid_and_come_back_exactly() -> None:
    files = sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))
    scans = [read_volume(path) for path in files]
    grid = choose_grid(scans)
    assert grid == StudyGrid((48, 64, 48), 1.0)
    for path, scan in list(zip(files, scans, strict=True))[::8]:
        check_image(scan)
        labels = read_labels(DATA / "hippocampus" / "labels" / path.name)
        check_labels_match(scan, labels)
        placement = place_by_center_of_mass(scan, grid)
        assert overhang(scan, grid, placement) == 0
        there = labels_to_grid(labels, grid, placement)
        assert (
            np.bincount(there.ravel()).tolist()[1:] == np.bincount(labels.data.ravel()).tolist()[1:]
        )
        np.testing.assert_array_equal(labels_from_grid(there, grid, placement, labels), labels.data)
        back = image_from_grid(image_to_grid(scan, grid, placement), grid, placement, scan)
        np.testing.assert_allclose(back, scan.data, rtol=1e-4, atol=1e-3)


@needs_data
def test_every_kind_of_real_scan_is_read() -> None:
    modes = {}
    for name in ("volumes/ch2.nii.gz", "volumes/cranium_ct.nii.gz", "volumes/body_ct_3mm.nii.gz"):
        modes[name] = choose_intensity_mode(read_volume(DATA / name))
    assert list(modes.values()) == ["percentile", "ct", "ct"]
    heart = read_volume(next((DATA / "heart2d" / "images").glob("*.png")))
    assert heart.shape == (256, 256)
    assert choose_intensity_mode(heart) == "uint8"


FULL_SIZE = """
import sys
import numpy as np
from napari_gemini.volumes.fields import *
from napari_gemini.volumes.grid import *
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume

rng = np.random.default_rng(0)
scans = []
for n, shape in enumerate([(160, 190, 165), (162, 190, 160)]):
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = [80, -90, -70]
    data = np.tile(rng.integers(0, 1000, (2, 190, 1)).astype(np.int16), (81, 1, 165))
    data = np.asfortranarray(data[: shape[0], : shape[1], : shape[2]])
    write_volume(sys.argv[1] + f"/{n}.nii", data, Volume(data, affine))
    scans.append(read_volume(sys.argv[1] + f"/{n}.nii"))
grid = choose_grid(scans)
places = [place_by_center_of_mass(scan, grid) for scan in scans]
on_grid = image_to_grid(scans[0], grid, places[0])
image_from_grid(on_grid, grid, places[0], scans[0])
u = np.full((3, *grid.shape), 0.25, np.float32)
field = total_field(u, grid, *places, *scans)
write_field(sys.argv[1] + "/field.h5", field)
warped = apply_field(field, scans[1], scans[0], labels=True)
write_labels(sys.argv[1] + "/labels.nii.gz", warped, scans[0])
moving_points(field, scans[0])
# Not getrusage, which begins with the size of the process that forked this one.
status = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(grid.shape, peak / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_full_size_pair_needs_well_below_2_gb(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_SIZE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 1.3


def test_volumes_import_neither_torch_nor_qt_nor_itk() -> None:
    program = """
import importlib, pkgutil, sys
import napari_gemini.volumes as volumes
for module in pkgutil.iter_modules(volumes.__path__):
    importlib.import_module(f"napari_gemini.volumes.{module.name}")
heavy = {"torch", "monai", "qtpy", "PyQt6", "PySide6", "napari", "SimpleITK"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
